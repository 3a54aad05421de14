"""What figures of predictions show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from visionsweep.figures import style
from visionsweep.inference import figures
from visionsweep.inference.explanation import GRAD_CAM, Explanation
from visionsweep.inference.figures import prediction_figures
from visionsweep.inference.predictor import Prediction


@pytest.fixture
def drawn(remember_figures) -> list[Figure]:
    """Figures that were rendered."""
    return remember_figures(figures)


def texts(drawn: list[Figure]) -> list[str]:
    return [t.get_text() for figure in drawn for t in figure.findobj(Text) if t.get_text()]


def prediction(name: str = "pizza", p: float = 0.8, *, abstained=False, heat=None, size=(50, 30)):
    explanation = None if heat is None else Explanation(GRAD_CAM, heat, (0.0, 0.0, 1.0, 1.0))
    probabilities = [(name, p), ("steak", 0.9997 - p), ("sushi", 0.0003)]
    image = Image.new("RGB", size, (200, 40, 40))
    return Prediction(Path("photos/50 % $name$.png"), image, probabilities, abstained, explanation)


@pytest.mark.parametrize(
    ("images", "explained", "count"),
    [(1, False, 1), (25, False, 1), (26, False, 2), (12, True, 1), (13, True, 2)],
)
def test_figure_holds_at_most_25_images_or_12_explanations(
    drawn, tmp_path, images, explained, count
):
    heat = np.eye(8, dtype=np.float32) if explained else None
    files = prediction_figures(
        [prediction(heat=heat)] * images, tmp_path / "new" / "figures", "a title"
    )
    assert [file.name for file in files] == [f"predictions-{n + 1}.png" for n in range(count)]
    assert texts(drawn).count("pizza  80.0%") == texts(drawn).count("50 % $name$.png") == images
    assert texts(drawn).count("a title") == count
    for file in files:
        with Image.open(file) as figure:
            assert figure.format == "PNG" and figure.convert("L").getextrema() != (255, 255)


def test_verdict_is_shown_below_each_image_of_known_class(drawn, tmp_path):
    prediction_figures([prediction()] * 2, tmp_path / "plain", "title")
    assert "right" not in texts(drawn)
    prediction_figures([prediction()] * 2, tmp_path / "judged", "title", ["pizza", "steak\x1b"])
    assert "right" in texts(drawn) and r"wrong: steak\x1b" in texts(drawn)
    colors = {text.get_color() for text in drawn[-1].findobj(Text)}
    assert {style.GREEN, style.RED} <= colors


def test_unsure_prediction_is_marked_with_its_best_guess(drawn, tmp_path):
    prediction_figures([prediction(p=0.41, abstained=True)], tmp_path, "title")
    assert "unsure (pizza 41.0%)" in texts(drawn)


def test_confidence_is_never_rounded_up_to_certainty(drawn, tmp_path):
    prediction_figures([prediction(p=0.99969)], tmp_path, "title")
    assert "pizza  > 99.9%" in texts(drawn) and "then steak < 0.1%" in texts(drawn)


def test_long_names_stay_within_their_image(drawn, tmp_path):
    for abstained in (False, True):
        prediction_figures([prediction("long" * 50, abstained=abstained)], tmp_path, "title" * 99)
    assert any("…" in text and "80.0%" in text for text in texts(drawn))
    assert max(map(len, texts(drawn))) < 80


def test_an_explanation_stands_beside_its_image_with_its_method(drawn, tmp_path):
    heat = np.zeros((8, 8), np.float32)
    heat[:, 4:] = 1
    (file,) = prediction_figures([prediction(heat=heat, size=(320, 240))], tmp_path, "title")
    assert "evidence for the class, right (Grad-CAM)" in texts(drawn) and "much" in texts(drawn)
    image = drawn[0].axes[0].images[0].get_array()
    assert image.shape == (240, 320 + 6 + 320, 3) and (image[:, :320] == (200, 40, 40)).all()
    beside = image[:, 326:].astype(int)
    assert len(np.unique(beside[:, 20:140].reshape(-1, 3), axis=0)) == 1  # no evidence
    cold, hot = beside[100, 80], beside[100, 240]
    assert cold[2] > cold[1] and hot[0] > 2 * hot[2]  # violet, yellow
    assert Image.open(file).width >= 646


def test_cropped_margin_is_explained_in_the_caption(drawn, tmp_path):
    shown = prediction(heat=np.eye(8, dtype=np.float32))
    cut = replace(shown, explanation=replace(shown.explanation, seen=(0.1, 0.0, 0.9, 1.0)))
    prediction_figures([cut], tmp_path, "title")
    assert "much; gray is cut off" in texts(drawn)


def test_missing_evidence_is_stated(drawn, tmp_path):
    prediction_figures([prediction(heat=np.zeros((8, 8), np.float32))], tmp_path, "title")
    assert "no part of the image supports pizza" in texts(drawn)
