"""Figures of a run's predictions: what is drawn, and that any class name can be."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from visionsweep.analysis.metrics import reliability
from visionsweep.figures import confusion, mistakes
from visionsweep.figures import reliability as diagram
from visionsweep.figures.confusion import confusion_figure
from visionsweep.figures.mistakes import Mistake, mistakes_figure
from visionsweep.figures.reliability import reliability_figure
from visionsweep.figures.style import CARD, shortened


@pytest.fixture
def drawn(remember_figures) -> list[Figure]:
    """Figures that were rendered."""
    return remember_figures(confusion, diagram, mistakes)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def has_pixels(pixels: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((np.abs(pixels.astype(int) - color).max(2) <= 2).any())


def assert_on_white(pixels: np.ndarray) -> None:
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 255).all(), "something is cut off, or the background is not white"


def test_rows_of_a_confusion_matrix_are_true_classes_and_columns_predicted_ones(drawn):
    counts = np.array([[5, 2, 0], [0, 7, 0], [1, 0, 9]])
    pixels = confusion_figure(counts, ["a", "b", "c"], "Confusion", "24 images")
    assert_on_white(pixels)
    assert pixels.shape[1] == CARD
    (axes,) = drawn[0].axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "5", (1, 0): "2", (1, 1): "7", (0, 2): "1", (2, 2): "9"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a", "b", "c"]
    shares = axes.images[0].get_array()
    assert np.allclose(shares, [[5 / 7, 2 / 7, 0], [0, 1, 0], [0.1, 0, 0.9]])


def test_a_class_without_images_has_an_empty_row(drawn):
    assert_on_white(confusion_figure(np.array([[4, 0], [0, 0]]), ["here", "missing"], "Confusion"))
    assert not any("nan" in text for text in texts(drawn[0]))


def test_many_classes_list_the_most_frequent_confusions_instead_of_a_matrix(drawn):
    counts = np.eye(101, dtype=int) * 50
    counts[7, 30], counts[64, 2] = 12, 31
    confusion_figure(counts, [f"dish {number}" for number in range(101)], "Confusion")
    words = texts(drawn[0])
    assert "50" not in words
    assert words[words.index("31") + 1 :][:2] == ["dish 64", "predicted dish 2"]
    assert words[words.index("12") + 1 :][:2] == ["dish 7", "predicted dish 30"]


@pytest.mark.parametrize("count", [2, 12, 20, 21, 101, 1000])
def test_class_names_do_not_overlap(count, drawn):
    names = [f"class_{number}_of_them" for number in range(count)]
    assert_on_white(confusion_figure(np.eye(count, dtype=int), names, "Confusion"))
    labels = [label for label in drawn[0].axes[0].get_yticklabels() if label.get_text()]
    bounds = [label.get_window_extent() for label in labels]
    assert all(a.y0 >= b.y1 - 1 for a, b in pairwise(bounds))
    assert len(labels) == count if count <= 21 else 20 <= len(labels) <= 34


@pytest.mark.parametrize("name", ["$x^2$ and $", "寿司", "Überraschung", "a" * 300, "суши", "👍"])
def test_any_class_name_can_be_drawn_literally(name, drawn):
    for count in (2, 30):
        names = [name, *(f"class {number}" for number in range(1, count))]
        pixels = confusion_figure(np.eye(count, dtype=int), names, "Confusion", name)
        assert_on_white(pixels)
        assert pixels.shape[1] <= 960
    assert shortened(name, 18) in texts(drawn[0])


def test_reliability_bars_are_accuracies_and_gaps_reach_to_the_confidence(drawn):
    confidence = np.array([0.95] * 10 + [0.65] * 10)
    correct = np.array([True] * 6 + [False] * 4 + [True] * 9 + [False])
    figure = reliability_figure(reliability(confidence, correct), 0.0432, "Reliability")
    assert_on_white(figure)
    assert "Reliability, ECE 0.043" in texts(drawn[0])
    top, below = drawn[0].axes
    accuracy, gaps = top.containers
    assert [bar.get_height() for bar in accuracy] == pytest.approx([0.9, 0.6])
    assert [bar.get_height() for bar in gaps] == pytest.approx([-0.25, 0.35])
    assert [bar.get_x() for bar in accuracy] == pytest.approx([0.6, 0.9])
    assert [bar.get_height() for bar in below.containers[0]] == [10, 10]
    green, red = (bar.get_facecolor() for bar in gaps)
    assert green[1] > green[0] and red[0] > red[1]


def mistake(number: int = 0, **changes) -> Mistake:
    image = Image.new("RGB", (160, 120), (200, 40, 40))
    fields = {
        "image": image, "file": f"b/{number}.jpg", "path": f"/photos/b/{number}.jpg", "true": "b",
        "predicted": "a", "confidence": 0.961,
    }  # fmt: skip
    return Mistake(**fields | changes)


def test_mistake_is_drawn_with_true_and_predicted_class(drawn):
    pixels = mistakes_figure([mistake(), mistake(1, image=None)], "Mistakes", "2 of 9 are wrong")
    assert_on_white(pixels)
    assert pixels.shape[1] == CARD and has_pixels(pixels, (200, 40, 40))
    words = texts(drawn[0])
    assert {"Mistakes", "2 of 9 are wrong", "a 96%", "true: b", "b/0.jpg", "b/1.jpg"} <= set(words)


def test_at_most_twelve_mistakes_are_drawn_and_none_is_valid(drawn):
    mistakes_figure([mistake(number) for number in range(30)], "Mistakes")
    assert texts(drawn[0]).count("true: b") == 12
    assert_on_white(mistakes_figure([], "Mistakes", "0 of 9 are wrong"))


def test_long_names_stay_in_their_column(drawn):
    names = {"true": "strawberry shortcake with cream", "predicted": "macaroni and cheese " * 9}
    mistakes_figure([mistake(number, **names) for number in range(3)], "Mistakes")
    boxes = [text.get_window_extent() for text in drawn[0].findobj(Text) if "…" in text.get_text()]
    assert boxes and all(box.width <= CARD / 3 + 2 and box.x1 <= CARD for box in boxes)


def test_a_text_is_shortened_in_its_middle_by_its_width():
    assert shortened("steak", 12) == "steak"
    assert shortened("a-very-long-name-of-a-class", 9) == "a-ve…lass"
    assert shortened("寿司" * 9, 9) == "寿司…寿司"
    assert shortened("a\x1bb", 12) == r"a\x1bb"


def test_matplotlib_is_imported_only_when_a_figure_is_drawn():
    code = (
        "import sys, visionsweep.experiment, visionsweep.report.figures, visionsweep.report.page;"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
