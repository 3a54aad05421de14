"""The page's colours: readable in the light and in the dark, and for colour-blind eyes."""

import itertools
import re

import numpy as np
import pytest

from visionsweep.report.page import write_page
from visionsweep.report.page.colors import LINES

THEMES = {"light": 0, "dark": 1}
# What protanopia, deuteranopia and tritanopia leave of linear RGB (Machado et al. 2009).
EYES = {
    "usual": np.eye(3),
    "protan": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deutan": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritan": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio."""
    light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other))
    return (light[1] + 0.05) / (light[0] + 0.05)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.fixture(params=THEMES)
def theme(request, tmp_path) -> dict[str, str]:
    """The variables of a theme as they stand in a page."""
    page = write_page([], [], tmp_path / "page.html", command=None).read_text()
    found = re.findall(r":root[^{}]*\{([^{}]*?)color-scheme:(light|dark)\}", page)
    themes = {kind: dict(re.findall(r"--([\w-]+):(#\w{6});", body)) for body, kind in found}
    assert set(themes) == set(THEMES)
    return themes[request.param] | {"lines": str(THEMES[request.param])}


@pytest.mark.parametrize(
    ("text", "grounds"),
    [
        ("ink", ("paper", "raised", "tint", "shade", "wrong")),
        ("quiet", ("paper", "raised", "tint")),
        ("accent", ("paper", "tint")),
        ("alert-ink", ("alert",)),
    ],
)
def test_texts_have_a_contrast_of_4_5(theme, text: str, grounds: tuple[str, ...]):
    assert min(contrast(theme[text], theme[ground]) for ground in grounds) >= 4.5


@pytest.mark.parametrize("mark", ["edge", "accent", "possible", "worse"])
def test_marks_and_controls_have_a_contrast_of_3(theme, mark: str):
    assert min(contrast(theme[mark], theme[ground]) for ground in ("paper", "tint")) >= 3


def test_lines_contrast_with_the_background(theme):
    colours = [pair[int(theme["lines"])] for pair in LINES]
    assert min(contrast(colour, theme["paper"]) for colour in colours) >= 3


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("place", THEMES.values(), ids=THEMES)
def test_lines_are_told_apart_with_color_vision_deficiencies(eyes: str, place: int):
    seen = [lab(np.array(EYES[eyes]) @ linear(pair[place])) for pair in LINES]
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)]
    assert min(distances) > 15  # 2 can just be seen side by side
