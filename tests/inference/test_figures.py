"""What figures of predictions show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.figures.canvas import Sheet
from visionsweep.inference.explanation import GRAD_CAM, Explanation
from visionsweep.inference.figures import prediction_figures
from visionsweep.inference.predictor import Prediction


@pytest.fixture
def texts(monkeypatch) -> list[str]:
    """What is written on sheets."""
    written: list[str] = []
    write = Sheet.text

    def remember(self, x, y, text, *arguments, **options):
        assert x >= 0
        written.append(text)
        write(self, x, y, text, *arguments, **options)

    monkeypatch.setattr(Sheet, "text", remember)
    return written


def prediction(name: str = "pizza", p: float = 0.8, *, abstained=False, heat=None, size=(50, 30)):
    explanation = None if heat is None else Explanation(GRAD_CAM, heat, (0.0, 0.0, 1.0, 1.0))
    probabilities = [(name, p), ("steak", 0.9997 - p), ("sushi", 0.0003)]
    image = Image.new("RGB", size, (200, 40, 40))
    return Prediction(Path("photos/50 % $name$.png"), image, probabilities, abstained, explanation)


@pytest.mark.parametrize(
    ("images", "explained", "figures"),
    [(1, False, 1), (25, False, 1), (26, False, 2), (12, True, 1), (13, True, 2)],
)
def test_at_most_25_images_stand_in_a_figure_or_12_that_are_explained(
    texts, tmp_path, images, explained, figures
):
    heat = np.eye(8, dtype=np.float32) if explained else None
    drawn = [prediction(heat=heat) for _ in range(images)]
    files = prediction_figures(drawn, tmp_path / "new" / "figures", "a title")
    assert [file.name for file in files] == [f"predictions-{n + 1}.png" for n in range(figures)]
    assert texts.count("pizza  80.0 %") == texts.count("50 % $name$.png") == images
    assert texts.count("a title") == figures
    for file in files:
        with Image.open(file) as figure:
            assert figure.format == "PNG" and figure.convert("L").getextrema() != (255, 255)


def test_verdict_stands_under_each_image_whose_class_is_known(texts, tmp_path):
    (plain,) = prediction_figures([prediction()] * 2, tmp_path / "plain", "title")
    assert "right" not in texts
    (judged,) = prediction_figures(
        [prediction()] * 2, tmp_path / "judged", "title", ["pizza", "steak\x1b"]
    )
    assert "right" in texts and r"wrong: steak\x1b" in texts
    with Image.open(plain) as before, Image.open(judged) as after:
        assert after.height == before.height + 19 and after.width == before.width
        colors = {color for _, color in after.getcolors(1 << 20)}
    assert {(26, 127, 55), (207, 34, 46)} <= colors


def test_an_unsure_prediction_says_so_and_what_it_would_guess(texts, tmp_path):
    prediction_figures([prediction(p=0.41, abstained=True)], tmp_path, "title")
    assert "unsure" in texts and "  (pizza 41.0 %)" in texts
    assert not any(text.startswith("pizza") for text in texts)


def test_nothing_uncertain_reads_as_certain(texts, tmp_path):
    prediction_figures([prediction(p=0.99969)], tmp_path, "title")
    assert "pizza  > 99.9 %" in texts and "then steak < 0.1 %" in texts


def test_long_names_stay_within_their_image(texts, tmp_path):
    for abstained in (False, True):
        prediction_figures([prediction("long" * 50, abstained=abstained)], tmp_path, "title" * 99)
    assert any("…" in text and "80.0 %" in text for text in texts)
    assert max(map(len, texts)) < 80


def test_an_explanation_stands_beside_its_image_with_its_method(texts, tmp_path):
    heat = np.zeros((8, 8), np.float32)
    heat[:, 4:] = 1
    (file,) = prediction_figures([prediction(heat=heat, size=(320, 240))], tmp_path, "title")
    assert "Right: what speaks for the class (Grad-CAM): little" in texts and "much" in texts
    pixels = np.asarray(Image.open(file)).astype(int)
    (left, right), rows = columns_of(pixels, (200, 40, 40)), rows_of(pixels, (200, 40, 40))
    assert right - left == 320
    beside = pixels[rows[0] : rows[1], right + 6 : right + 326]
    assert len(np.unique(beside[:, 20:140].reshape(-1, 3), axis=0)) == 1  # one cold colour
    cold, hot = beside[100, 80], beside[100, 240]
    assert cold[2] > cold[1] and hot[0] > 2 * hot[2]  # violet, yellow


def test_what_the_model_did_not_see_is_explained(texts, tmp_path):
    shown = prediction(heat=np.eye(8, dtype=np.float32))
    cut = replace(shown, explanation=replace(shown.explanation, seen=(0.1, 0.0, 0.9, 1.0)))
    prediction_figures([cut], tmp_path, "title")
    assert "much; grey is cut off" in texts


def test_where_nothing_speaks_for_a_class_that_is_said(texts, tmp_path):
    prediction_figures([prediction(heat=np.zeros((8, 8), np.float32))], tmp_path, "title")
    assert "nothing in it speaks for pizza" in texts


def columns_of(pixels, colour) -> tuple[int, int]:
    found = np.flatnonzero((pixels == colour).all(2).any(0))
    return int(found[0]), int(found[-1]) + 1


def rows_of(pixels, colour) -> tuple[int, int]:
    found = np.flatnonzero((pixels == colour).all(2).any(1))
    return int(found[0]), int(found[-1]) + 1
