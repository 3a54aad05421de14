"""Paint small food by name: round, long, and leafy bites, alone or in a pile."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from visionsweep.data.synthetic.shapes import TAU, blob, inside, place, rings, specks, spokes, strip
from visionsweep.data.synthetic.stage import Paint, Stage

GREEN = Paint(62, 112, 40, 0.3, 0.3)


class Round(NamedTuple):
    """A round bite: thickness relative to its radius, rim, face, and dabs on the face."""

    thick: float
    rim: Paint
    face: Paint | None = None
    share: float = 0.85  # radius of the face relative to the rim
    dab: Paint | None = None
    dabs: int = 0


ROUNDS = {
    "butter": Round(0.5, Paint(250, 224, 130, 0.7, 0.1), dab=GREEN, dabs=6),
    "cherry": Round(1.0, Paint(204, 34, 24, 1.0, 0.0)),
    "cucumber": Round(
        0.2, Paint(46, 96, 44, 0.4), Paint(206, 226, 160, 0.5), 0.88, Paint(236, 240, 200), 9
    ),
    "lemon": Round(
        0.25, Paint(240, 206, 60, 0.4), Paint(250, 240, 190, 0.4), 0.9, Paint(246, 216, 84, 0.8), 9
    ),
    "mozzarella": Round(0.25, Paint(250, 242, 218, 0.5), dab=Paint(226, 190, 120), dabs=3),
    "mushroom": Round(
        0.3, Paint(160, 118, 78, 0.2), Paint(226, 204, 168, 0.1), 0.82, Paint(150, 110, 76), 4
    ),
    "olive": Round(0.4, Paint(38, 32, 34, 0.7, 0.1), Paint(196, 150, 84), 0.42),
    "onion": Round(
        0.15, Paint(150, 70, 110, 0.5), Paint(236, 216, 222, 0.5), 0.86, Paint(170, 110, 140), 5
    ),
    "pea": Round(1.2, Paint(110, 160, 50, 0.6, 0.1)),
    "pepperoni": Round(
        0.14, Paint(150, 40, 24, 0.5), Paint(184, 60, 38, 0.6), 0.84, Paint(214, 110, 78, 0.5), 9
    ),
    "potato": Round(0.8, Paint(226, 182, 92, 0.3, 0.5), dab=Paint(170, 116, 50), dabs=4),
    "roe": Round(1.0, Paint(240, 104, 30, 1.0, 0.0), dab=Paint(255, 190, 110, 1.0), dabs=1),
    "tomato": Round(
        0.2, Paint(196, 36, 22, 0.8), Paint(216, 74, 46, 0.8), 0.84, Paint(238, 190, 110, 0.8), 8
    ),
}
# Long bites: paint, half length, half width, bend, thickness (of the bite's size).
STRIPS: dict[str, tuple[Paint, float, float, float, float]] = {
    "pepper": (Paint(196, 40, 26, 0.7), 1.4, 0.26, 0.4, 0.3),
    "green pepper": (Paint(84, 136, 48, 0.7), 1.4, 0.24, 0.5, 0.3),
    "ham": (Paint(226, 142, 128, 0.4), 1.0, 0.6, 0.1, 0.15),
    "fry": (Paint(232, 186, 92, 0.3, 0.4), 2.1, 0.28, 0.06, 0.5),
    "asparagus": (Paint(104, 138, 58, 0.4), 4.2, 0.27, 0.05, 0.5),
    "carrot": (Paint(230, 120, 34, 0.5), 2.0, 0.26, 0.1, 0.4),
    "ginger": (Paint(244, 190, 170, 0.7), 1.3, 0.6, 0.5, 0.2),
    "straw": (Paint(176, 92, 132, 0.5), 1.3, 0.1, 0.7, 0.15),
    "chive": (GREEN, 1.2, 0.1, 0.2, 0.1),
}  # fmt: skip
LEAVES = {"basil": 0.55, "rocket": 0.3, "parsley": 0.7}


def bite(s: Stage, kind: str, x: float, y: float, z: float, size: float) -> None:
    """Paint a bite of half size `size` at (x, y, z)."""
    rng, angle = s.rng, s.rng.uniform(0, TAU)
    if kind in ROUNDS:
        thick, rim, face, share, dab, dabs = ROUNDS[kind]
        outline = place(blob(rng, 0.04, 14), x, y, size, size * rng.uniform(0.85, 1), angle)
        inset, layers = (0.85, 4) if face is None else (0.12, 2)
        top = s.solid(outline, z, thick * size, s.vary(rim), inset, layers)
        if face is not None:
            s.fill(rings(outline, (share,)), top - 0.15 * thick * size, s.vary(face))
        if dab is not None:
            around = angle + np.arange(float(dabs)) * (TAU / dabs)
            spots = spokes(around, size * (0.5 if dabs > 1 else 0.2)) + np.array([x, y])
            s.fill(specks(rng, spots, size * 0.13, 1.5), top, dab)
    elif kind in STRIPS:
        paint, long, wide, bend, thick = STRIPS[kind]
        outline = strip(x, y, long * size, wide * size, angle, bend * rng.normal())
        s.solid(outline, z, thick * size, s.vary(paint), 0.12, 3)
    else:
        for turn in rng.uniform(0, TAU, 1 if kind == "basil" else 3):
            leaf = place(blob(rng, 0.1, 10), x, y, size * 1.3, size * 1.3 * LEAVES[kind], turn)
            s.solid(leaf, z, 0.012, s.vary(GREEN, 18), 0.3, 2)
            s.fill(strip(x, y, size, size * 0.04, turn, 0), z + 0.014, Paint(130, 170, 90))


def pile(
    s: Stage,
    kinds: Sequence[str],
    count: int,
    x: float,
    y: float,
    z: float,
    spread: float,
    size: float,
) -> None:
    """Paint a pile of mixed bites around (x, y), nearer ones a little higher."""
    spots = inside(s.rng, count, x, y, spread).tolist()
    for k, (bx, by) in enumerate(sorted(spots, key=s.depth)):
        kind = kinds[int(s.rng.integers(len(kinds)))]
        bite(s, kind, bx, by, z + size * k / count * 0.6, size * s.rng.uniform(0.8, 1.2))
