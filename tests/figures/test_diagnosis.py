"""Figures of what a run gets wrong: what is on them, and where."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visionsweep.analysis.metrics import Reliability, per_replicate
from visionsweep.analysis.predictions import Predictions
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.thumbnails import SIDE, Thumbnails, thumbnails
from visionsweep.figures import canvas as sheet_module
from visionsweep.figures.canvas import CARD, Sheet, shortened, width_of
from visionsweep.figures.confusion import confusion_figure
from visionsweep.figures.diagnosis import diagnosis_figures
from visionsweep.figures.mistakes import mistakes_figure, worst_mistakes
from visionsweep.figures.reliability import reliability_figure

DEEPEST = (8, 64, 129)
BLUE, RED, GREEN = (76, 134, 184), (246, 201, 197), (168, 213, 194)


@pytest.fixture
def written(monkeypatch):
    """Every text that is written on a sheet, with its place and size."""
    texts = []
    write = Sheet.text

    def noting(self, x, y, text, size=12, **style):
        texts.append((text, x, y, size))
        write(self, x, y, text, size, **style)

    monkeypatch.setattr(Sheet, "text", noting)
    return texts


def words(written) -> list[str]:
    return [text for text, *_ in written]


def where(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The rows and columns of the pixels of a colour, `[P, 2]`."""
    return np.argwhere((pixels == colour).all(2))


def assert_figure(pixels: np.ndarray) -> None:
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3 and pixels.shape[2] == 3
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all(), "something is cut off, or the ground is not white"


# -------------------------------------------------------------------------- the confusion matrix


def test_rows_are_true_classes_and_columns_predicted_ones():
    taken = np.zeros((3, 3))
    taken[0, 2] = taken[1, 0] = taken[2, 1] = 10
    pixels = confusion_figure(taken, ["a", "b", "c"], "Confusion")
    places = where(pixels, DEEPEST)
    top, left = places.min(0)
    cell = (places.max(0) + 1 - (top, left)) / 3
    cells = {tuple(place) for place in ((places - (top, left)) // cell).astype(int)}
    assert cells == {(0, 2), (1, 0), (2, 1)}


def test_a_colour_is_the_share_of_its_row():
    pixels = confusion_figure(np.array([[1000.0, 0], [3, 0]]), ["many", "few"], "Confusion")
    rows = where(pixels, DEEPEST)[:, 0]
    assert np.ptp(rows) > 200  # both cells of the first column, however few images a row has


def test_cells_hold_the_mean_number_of_images(written):
    counts = np.array([[40.2, 4.8], [5, 1250.4]])
    confusion_figure(counts, ["no", "yes"], "Confusion", "135 images")
    assert {"40.2", "4.8", "5", "1250"} <= set(words(written))
    assert {"Confusion", "135 images", "true class", "predicted class"} <= set(words(written))


def test_a_class_without_images_has_an_empty_row(written):
    assert_figure(confusion_figure(np.array([[4.0, 0], [0, 0]]), ["here", "missing"], "Confusion"))
    assert "nan" not in "".join(words(written))
    assert "0" not in words(written)


@pytest.mark.parametrize("count", [2, 3, 6, 12, 20, 21, 101, 1000])
def test_no_two_class_names_touch_and_nothing_leaves_the_figure(count, written):
    rng = np.random.default_rng(0)
    names = [f"class_{number}_of_them" for number in range(count)]
    pixels = confusion_figure(rng.uniform(0, 9, (count, count)), names, "Confusion")
    assert_figure(pixels)
    left = min(x for text, x, *_ in written if text in names)
    heights = sorted(y for text, x, y, _ in written if text in names and x == left)
    assert len(heights) == count if count <= 20 else 20 < len(heights) < count or count == 21
    size = next(size for text, *_, size in written if text == names[0])
    assert min(np.diff(heights)) >= 1.2 * size


def test_a_few_classes_make_a_figure_as_wide_as_tensorboard_shows_it():
    for count in (2, 3, 6):
        pixels = confusion_figure(np.eye(count), [f"class {n}" for n in range(count)], "Confusion")
        assert pixels.shape[1] == CARD


def test_with_many_classes_the_pairs_confused_most_are_named_instead_of_numbers(written):
    counts = np.eye(101) * 50
    counts[7, 30], counts[64, 2] = 12.4, 31
    confusion_figure(counts, [f"dish {number}" for number in range(101)], "Confusion")
    said = words(written)
    assert "50" not in said
    assert said[said.index("31") + 1 :][:2] == ["dish 64", "taken for dish 2"]
    assert said[said.index("12.4") + 1 :][:2] == ["dish 7", "taken for dish 30"]
    assert sum(text.startswith("taken for") for text in said) == 2


@pytest.mark.parametrize("name", ["$x^2$ and $", "寿司", "Überraschung", "a" * 300, "суши", "👍"])
def test_any_class_name_can_be_drawn(name):
    for count in (2, 30):
        names = [name, *(f"class {number}" for number in range(1, count))]
        pixels = confusion_figure(np.eye(count), names, "Confusion", name)
        assert_figure(pixels)
        assert pixels.shape[1] < 1200


def test_a_dollar_is_a_dollar(written):
    plain = confusion_figure(np.eye(2), ["xyx", "b"], "Confusion")
    dollars = confusion_figure(np.eye(2), ["$y$", "b"], "Confusion")
    assert "$y$" in words(written)
    assert abs(plain.shape[0] - dollars.shape[0]) < 2
    assert width_of("$y$", 12) > width_of("y", 12) + 2 * 5


# -------------------------------------------------------------------------- the reliability diagram


def reliable(confidence: dict[int, float], accuracy: dict[int, float]) -> Reliability:
    """Ten bins, of which some hold images."""

    def row(values, otherwise):
        return np.array([values.get(bin_, otherwise) for bin_ in range(10)])

    images = row(dict.fromkeys(confidence, 12.0), 0.0)
    return Reliability(
        np.linspace(0, 1, 11), row(confidence, np.nan), row(accuracy, np.nan), images
    )


def test_a_bar_is_as_high_as_the_accuracy_and_its_gap_reaches_to_the_confidence():
    pixels = reliability_figure(reliable({9: 0.95}, {9: 0.6}), 0.35, "Reliability")
    assert_figure(pixels)
    bar, gap = (where(pixels[:, 280:], colour)[:, 0] for colour in (BLUE, RED))
    full = (bar.max() + 1 - bar.min()) / 0.6
    assert (gap.max() - gap.min()) / full == pytest.approx(0.35, abs=0.02)
    assert gap.max() < bar.min()


def test_too_sure_is_red_and_not_sure_enough_green():
    legend = reliability_figure(reliable({}, {}), 0, "Reliability")
    assert not len(where(legend, BLUE))
    for accuracy, colour, other in ((0.3, RED, GREEN), (0.9, GREEN, RED)):
        pixels = reliability_figure(reliable({6: 0.65}, {6: accuracy}), 0.1, "Reliability")
        assert len(where(pixels, colour)) > len(where(legend, colour)) + 500
        assert len(where(pixels, other)) == len(where(legend, other))


def test_bins_without_images_are_left_out(written):
    pixels = reliability_figure(
        reliable({2: 0.25, 9: 0.99}, {2: 0.3, 9: 0.99}), 0.02, "Reliability"
    )
    columns = np.unique(where(pixels, BLUE)[:, 1])
    assert (np.diff(columns) > 1).sum() == 1  # two bars
    assert words(written).count("12") == 2
    assert "nan" not in "".join(words(written))


def test_the_calibration_error_stands_in_the_title(written):
    reliability_figure(reliable({9: 0.9}, {9: 0.8}), 0.0432, "Reliability")
    assert "Reliability, ECE 0.043" in words(written)


# -------------------------------------------------------------------------- the worst mistakes


@pytest.fixture
def thumbnails_of(tmp_path):
    """Make thumbnails of images of one colour each."""

    def make(colours: list[tuple[int, int, int]], indices=None) -> Thumbnails:
        files = []
        for place, colour in enumerate(colours):
            path = tmp_path / f"photo-{place}.jpg"
            Image.new("RGB", (SIDE, SIDE), colour).save(path)
            files.append(ImageFile(path, 0, digest_of(path.read_bytes())))
        made = thumbnails(files, tmp_path / "cache")
        return replace(made, indices=tuple(indices or made.indices))

    return make


def test_the_most_confident_mistakes_come_first_and_nothing_else():
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.3, 0.7], [0.95, 0.05], [0.2, 0.8]])
    labels = np.array([1, 0, 0, 0, 1])
    assert worst_mistakes(probabilities, labels, 9).tolist() == [1, 2, 0]
    assert worst_mistakes(probabilities, labels, 2).tolist() == [1, 2]


def test_each_mistake_shows_its_image_and_what_it_is_taken_for(written, thumbnails_of):
    probabilities = np.array([[0.04, 0.96], [0.5, 0.5], [0.7, 0.3]])
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    pixels = mistakes_figure(
        probabilities, np.array([0, 0, 1]), ["pizza", "steak"], thumbnails_of(colours), "Mistakes"
    )
    assert_figure(pixels)
    assert pixels.shape[1] == CARD
    said = words(written)
    assert said[2:5] == ["steak 96%", "is pizza", "photo-0.jpg"]
    assert said[5:8] == ["pizza 70%", "is steak", "photo-2.jpg"]
    assert len(said) == 8
    assert "2 of 3 images" in said[1]
    x, y = next((x, y) for text, x, y, _ in written if text == "steak 96%")
    assert np.abs(pixels[int(y) - 50, int(x) + 50].astype(int) - colours[0]).max() < 10
    x, y = next((x, y) for text, x, y, _ in written if text == "pizza 70%")
    assert np.abs(pixels[int(y) - 50, int(x) + 50].astype(int) - colours[2]).max() < 10


def test_twelve_mistakes_are_shown_at_most(written, thumbnails_of):
    probabilities = np.tile([0.1, 0.9], (30, 1))
    made = thumbnails_of([(90, 90, 90)] * 30)
    mistakes_figure(probabilities, np.zeros(30, int), ["a", "b"], made, "Mistakes")
    assert words(written).count("is a") == 12


def test_an_image_without_a_thumbnail_is_not_shown_in_anothers_place(written, thumbnails_of):
    probabilities = np.array([[0.1, 0.9], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    made = thumbnails_of([(200, 40, 40), (40, 40, 200)], indices=[1, 3])
    mistakes_figure(probabilities, np.zeros(4, int), ["a", "b"], made, "Mistakes")
    assert words(written)[2:] == ["b 70%", "is a", "photo-1.jpg"]


def test_a_run_without_mistakes_says_so(written, thumbnails_of):
    made = thumbnails_of([(90, 90, 90)])
    pixels = mistakes_figure(np.array([[1.0, 0]]), np.array([0]), ["a", "b"], made, "Mistakes")
    assert_figure(pixels)
    assert "0 of 1 images" in words(written)[1]


def test_long_names_stay_in_their_column(written, thumbnails_of):
    names = ["strawberry shortcake with extra cream", "macaroni and cheese of the house"]
    made = thumbnails_of([(90, 90, 90)] * 3)
    mistakes_figure(np.tile([0.0, 1.0], (3, 1)), np.zeros(3, int), names, made, "Mistakes")
    for text, x, _, size in written[2:]:
        assert width_of(text, size, bold="%" in text) <= 106, text
        assert x + 106 <= CARD
    assert sum(text.endswith(" 100%") for text, *_ in written) == 3


# -------------------------------------------------------------------------- of predictions


@pytest.fixture
def predictions() -> Predictions:
    rng = np.random.default_rng(3)
    labels = np.arange(45) % 3
    logits = rng.normal(size=(5, 45, 3)) * 2
    logits[:, np.arange(45), labels] += 2
    return Predictions(logits.astype(np.float32), labels, tuple(map(str, range(45))))


def test_a_diagnosis_has_the_numbers_of_the_outcomes(predictions, written, thumbnails_of):
    made = thumbnails_of([(90, 90, 90)] * 45)
    figures = diagnosis_figures("val", predictions, ["pizza", "steak", "sushi"], made)
    assert list(figures) == ["confusion", "reliability", "mistakes"]
    for pixels in figures.values():
        assert_figure(pixels)
        assert pixels.shape[1] == CARD
    said = words(written)
    assert said.count("45 validation images, mean over 5 replicates") == 2
    assert f"Reliability, ECE {per_replicate(predictions)['ece'].mean():.3f}" in said
    right = np.mean(predictions.correct & (predictions.labels == 1), 0).sum()
    assert f"{right:.1f}".removesuffix(".0") in said
    wrong = (np.exp(predictions.log_probabilities).mean(0).argmax(1) != predictions.labels).sum()
    assert f"{wrong} of 45 images are taken for another class" in said


def test_without_thumbnails_there_is_no_figure_of_mistakes(predictions):
    assert list(diagnosis_figures("val", predictions, list("abc"), None)) == [
        "confusion",
        "reliability",
    ]


# -------------------------------------------------------------------------- lettering


def test_a_text_is_shortened_in_its_middle_only_if_it_must_be():
    assert shortened("steak", 12, 100) == "steak"
    short = shortened("a-very-long-name-of-a-class", 12, 80)
    assert width_of(short, 12) <= 80
    assert short.startswith("a-v") and short.endswith("ss") and "…" in short


def test_letters_that_the_usual_font_lacks_come_from_another(monkeypatch):
    letter = "\u2a6d"  # in matplotlib's STIX, not in DejaVu
    stix = Path(sheet_module._dejavu(False)).with_name("STIXGeneral.ttf")
    monkeypatch.setattr(sheet_module, "_other_fonts", lambda: [stix])
    assert sheet_module._font(f"a {letter}", 12, False).getname()[0] == "STIXGeneral"
    assert sheet_module._font("Füße, суши, ψωμί", 12, False).getname()[0] == "DejaVu Sans"


def test_drawing_imports_no_matplotlib():
    drawing = (
        "import sys; import numpy as np; from visionsweep.figures import confusion, mistakes;"
        "confusion.confusion_figure(np.eye(2), ['a', 'b'], 'Confusion');"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", drawing]).returncode == 0
