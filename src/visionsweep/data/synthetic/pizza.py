"""Paint pizza: whole, with a piece missing, or a few slices."""

import math
from typing import NamedTuple

import numpy as np

from visionsweep.data.synthetic.bites import bite
from visionsweep.data.synthetic.shapes import TAU, specks, spokes, strip
from visionsweep.data.synthetic.stage import Paint, Stage
from visionsweep.data.synthetic.tableware import dish

TOPPINGS = (
    *("pepperoni", "tomato", "olive", "mozzarella", "mushroom", "basil", "pepper"),
    *("green pepper", "ham", "onion", "rocket"),
)


class Wedge(NamedTuple):
    """A part of a pizza: position of its tip, first angle, and covered angle."""

    x: float
    y: float
    turn: float
    width: float


class Pie(NamedTuple):
    """Properties of a whole pizza; `start` is the direction of a cut, `z` the height below it."""

    radius: float
    start: float
    z: float
    crust: Paint
    sauce: Paint
    cheese: Paint
    toppings: list[str]


def wedges(s: Stage, whole: bool, start: float, pieces: int) -> list[Wedge]:
    """Return the parts of a pizza, far ones first."""
    rng, piece = s.rng, TAU / pieces
    if whole:
        return [Wedge(0.0, 0.0, 0.0, TAU)]
    if rng.random() < 0.45:  # a piece or two missing, perhaps one of them drawn out
        parts = [Wedge(0.0, 0.0, start, TAU - piece * int(rng.integers(1, 3)))]
        if rng.random() < 0.5:
            turn = start - piece / 2
            parts.append(Wedge(0.16 * math.cos(turn), 0.16 * math.sin(turn), start - piece, piece))
    else:
        turns = (start + np.arange(rng.integers(1, 5)) * piece * rng.uniform(1.1, 1.6)).tolist()
        apart = rng.uniform(0.03, 0.15) - (0.35 if len(turns) == 1 else 0)
        tips = [(apart * math.cos(turn + 0.4), apart * math.sin(turn + 0.4)) for turn in turns]
        parts = [Wedge(x, y, turn, piece) for (x, y), turn in zip(tips, turns, strict=True)]
    return sorted(parts, key=lambda part: s.depth((math.cos(part.turn), math.sin(part.turn))))


def baked(s: Stage, pie: Pie, wedge: Wedge) -> None:
    """Paint crust, charred rim, sauce, and cheese of a part."""
    rng, (x, y, turn, width), (radius, start, z, *_) = s.rng, wedge, pie
    angle = turn + np.linspace(0, width, 40)
    ripple = 1 + 0.02 * np.cos(3 * angle + start) + 0.012 * np.cos(7 * angle + radius * 40)
    rim, spot = spokes(angle, ripple * radius), np.array([x, y])
    tip = np.zeros((0 if width == TAU else 1, 2))
    s.solid(np.concatenate([tip, rim * 0.97]) + spot, z, 0.03, pie.crust, 0, 2)
    k = np.arange(7.0)  # the rim is a ring: it rises, then falls towards the middle
    walls = np.stack([np.concatenate([tip, rim * (1 - 0.02 * step)]) for step in k]) + spot
    s.fill(walls, z + 0.035 + 0.06 * np.sin((k + 1) / 8 * TAU / 2), pie.crust, 0.8 + 0.03 * k)
    char = spokes(turn + rng.uniform(0, width, 16), radius * rng.uniform(0.9, 0.98, 16))
    s.fill(specks(rng, char + spot, 0.022, 1.4), z + 0.092, s.vary(Paint(120, 68, 34)))
    s.fill(np.concatenate([tip, rim * 0.86]) + spot, z + 0.055, pie.sauce)
    melted = rim * (0.82 + 0.012 * np.cos(13 * angle))[:, None]
    s.fill(np.concatenate([tip, melted]) + spot, z + 0.06, pie.cheese)


def topped(s: Stage, pie: Pie, wedge: Wedge) -> None:
    """Paint speckles and toppings on a part; toppings do not overlap."""
    rng, (x, y, turn, width), high = s.rng, wedge, pie.z + 0.062
    far = pie.radius * 0.78 * np.sqrt(rng.uniform(0.02, 1, 110))
    spots = spokes(turn + rng.uniform(0.03, 0.97, 110) * width, far) + np.array([x, y])
    share = max(width / TAU, 0.3)
    for tone, first, size in (
        (pie.cheese, 0, 0.05),
        (pie.sauce, 22, 0.05),
        (Paint(252, 230, 170, 0.5, 0.5), 44, 0.05),
        (Paint(190, 112, 44, 0.4, 0.9), 66, 0.025),
    ):
        dabs = spots[int(first * share) : int((first + 22) * share)]
        s.fill(specks(rng, dabs, size), high, s.vary(tone, 10))
    placed: list[list[float]] = []
    most = 30 * width / TAU + 2
    for at in spots[::-1].tolist():
        if len(placed) < most and all(math.dist(at, other) > 0.15 for other in placed):
            placed.append(at)
            size = rng.uniform(0.07, 0.11) * (1.1 if width < TAU / 2 else 1)
            bite(s, pie.toppings[rng.integers(len(pie.toppings))], at[0], at[1], high, size)


def pizza(s: Stage) -> None:
    """Paint a whole pizza, one with a piece missing, or a few slices."""
    rng = s.rng
    radius, start, pieces = rng.uniform(0.66, 0.9), rng.uniform(0, TAU), int(rng.integers(6, 9))
    whole = rng.random() < 0.45
    z = dish(s, 0, 0, radius * rng.uniform(1.1, 1.25))
    crust = s.vary(Paint(212, 158, 92, 0.15, 0.7), 16)
    sauce = s.vary(Paint(190, 58, 26, 0.5, 0.4), 12)
    cheese = s.vary(Paint(240, 198, 108, 0.45, 0.9), 14)
    toppings = rng.choice(TOPPINGS, rng.integers(1, 4), replace=False).tolist()
    pie = Pie(radius, start, z, crust, sauce, cheese, toppings)
    for wedge in wedges(s, whole, start, pieces):
        baked(s, pie, wedge)
        topped(s, pie, wedge)
    if whole and rng.random() < 0.4:
        for cut in np.arange(pieces // 2) / (pieces // 2) * TAU / 2 + start:
            groove = strip(0, 0, radius * 0.96, 0.008, float(cut), 0)
            s.fill(groove, z + 0.05, Paint(120, 60, 30))
