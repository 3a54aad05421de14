"""Paint what any dish may be served on or beside: table, plates, boards, bowls, clutter."""

import math

import numpy as np

from visionsweep.data.synthetic.bites import pile
from visionsweep.data.synthetic.shapes import SQUARE, TAU, blob, box, inside, place, rings, specks
from visionsweep.data.synthetic.stage import Paint, Stage

WOODS = (
    Paint(186, 138, 92, 0.1, 0.3, 0.9),
    Paint(128, 84, 52, 0.1, 0.3, 0.9),
    Paint(214, 178, 130, 0.1, 0.3, 0.8),
    Paint(74, 48, 34, 0.15, 0.3, 0.9),
)
SLATE = Paint(96, 99, 106, 0.12, 0.8)
PLAINS = (
    *(SLATE, Paint(236, 234, 230), Paint(150, 156, 160), Paint(96, 130, 142)),
    *(Paint(196, 150, 60), Paint(160, 44, 38), Paint(74, 96, 70), Paint(226, 206, 180)),
)
PORCELAIN = Paint(244, 243, 239, 0.8, 0)
GLAZES = (
    *(PORCELAIN, PORCELAIN, Paint(84, 87, 94, 0.6, 0.1), Paint(60, 88, 120, 0.7, 0.1)),
    *(Paint(214, 196, 166, 0.5, 0.3), Paint(176, 74, 48, 0.6, 0.1)),
)
SAUCES = (
    *(Paint(180, 34, 20, 0.9, 0), Paint(40, 20, 12, 1, 0), Paint(240, 222, 150, 0.6, 0.1)),
    *(Paint(96, 130, 50, 0.5, 0.5), Paint(100, 52, 22, 0.9, 0), Paint(246, 240, 226, 0.6, 0.1)),
)
STEEL = Paint(190, 192, 196, 1.0, 0.0)


def table(s: Stage) -> None:
    """Cover the image with planks, a striped or checkered cloth, or a plain color."""
    rng, kind = s.rng, s.rng.integers(0, 5)
    base = WOODS if kind < 2 else PLAINS
    paint = s.vary(base[rng.integers(len(base))], 16)
    s.fill(place(SQUARE, 0, 0, 9, 9), 0, paint)
    if kind < 2:
        wide = rng.uniform(0.2, 0.5)
        for k in range(-12, 13):
            s.fill(place(SQUARE, 0, k * wide, 9, wide * 0.485), 0.005, s.vary(paint, 9))
    elif kind == 2:
        pale, wide, turn = Paint(238, 234, 226, 0, 0.4), rng.uniform(0.1, 0.4), rng.uniform(0, TAU)
        s.fill(place(SQUARE, 0, 0, 9, 9), 0, pale)
        red, green, blue = ((a + b) / 2 for a, b in zip(pale[:3], paint[:3], strict=True))
        half = pale._replace(red=red, green=green, blue=blue)
        bands = [place(SQUARE, 0, k * wide, 9, wide / 2) for k in range(-26, 27, 2)]
        for axis in (turn, turn + TAU / 4)[: rng.integers(1, 3)]:
            s.fill(np.stack([place(band, 0, 0, 1, 1, axis) for band in bands]), 0, half)
        if axis != turn:  # bands cross in the full color
            both = [
                place(SQUARE, i * wide, k * wide, wide / 2, wide / 2)
                for i in range(-10, 11, 2)
                for k in range(-10, 11, 2)
            ]
            s.fill(np.stack([place(square, 0, 0, 1, 1, turn) for square in both]), 0, paint)


def dish(s: Stage, x: float, y: float, radius: float) -> float:
    """Paint a plate, board, slate, or nothing under the food; return its height."""
    rng, kind = s.rng, s.rng.integers(0, 6)
    if kind < 3:
        glaze = s.vary(GLAZES[rng.integers(len(GLAZES))], 8)
        round_plate = place(blob(rng, 0, 48), x, y, radius, radius)
        if rng.random() < 0.2:
            round_plate = place(box(rng.uniform(3, 8), 48), x, y, radius, radius * 0.85)
        shares = (0.85, 1, 0.98, 0.9, 0.8, 0.73, 0.7)
        high = np.array([0.04, 0.085, 0.09, 0.078, 0.06, 0.045, 0.03])
        shade = np.array([0.75, 0.92, 1, 1, 1, 0.96, 1])
        s.fill(rings(round_plate, shares), high, glaze, shade)
        return 0.03
    if kind < 5:
        paint = s.vary(WOODS[rng.integers(len(WOODS))] if kind == 3 else SLATE)
        shape = blob(rng, 0, 48) if rng.random() < 0.4 else box(14, 48)
        angle = rng.uniform(0, TAU)
        wide = radius * (1 if len(shape) == 48 and rng.random() < 0.5 else 0.8)
        if kind == 3 and rng.random() < 0.5:
            ear = (x + radius * 1.2 * math.cos(angle), y + radius * 1.2 * math.sin(angle))
            handle = place(box(4), *ear, radius * 0.35, radius * 0.13, angle)
            s.solid(handle, 0, 0.06, paint, 0.02, 3)
        return s.solid(place(shape, x, y, radius, wide, angle), 0, 0.06, paint, 0.02, 4)
    return 0.006


def bowl(s: Stage, x: float, y: float, radius: float, z: float, sauce: Paint) -> None:
    """Paint a small bowl of sauce."""
    glaze, ring = s.vary(GLAZES[s.rng.integers(len(GLAZES))]), blob(s.rng, 0, 28)
    high = np.array([0.2, 0.5, 0.75, 1, 1.03, 0.98])
    walls = rings(place(ring, x, y, radius), (0.7, 0.82, 0.92, 1, 0.97, 0.9))
    s.fill(walls, z + radius * 0.7 * high, glaze, 0.6 + 0.4 * high)
    s.fill(place(ring, x, y, radius * 0.88, radius * 0.88), z + radius * 0.5, s.vary(sauce, 6))


def distractor(s: Stage, x: float, y: float) -> None:
    """Paint an object that may be on any table, independent of the dish."""
    rng, angle = s.rng, s.rng.uniform(0, TAU)
    kind = rng.integers(0, 8)
    if kind == 0:  # napkin
        cloth = s.vary(PLAINS[rng.integers(len(PLAINS))], 20)
        z = s.solid(place(box(12), x, y, 0.5, 0.34, angle), 0, 0.02, cloth, 0.01, 1)
        s.solid(place(box(12), x + 0.02, y + 0.02, 0.47, 0.16, angle), z, 0.02, cloth, 0.03, 2)
    elif kind == 1:  # fork, knife or spoon
        s.solid(place(box(3, 16), x, y, 0.55, 0.03, angle), 0.01, 0.025, STEEL, 0.3, 2)
        head = (x + 0.62 * math.cos(angle), y + 0.62 * math.sin(angle))
        shape = (0.16, 0.075) if rng.random() < 0.5 else (0.3, 0.045)
        s.solid(place(blob(rng, 0, 20), *head, *shape, angle), 0.01, 0.03, STEEL, 0.4, 3)
    elif kind == 2:  # tumbler
        drink = s.vary(SAUCES[rng.integers(len(SAUCES))], 30)
        ring, k = place(blob(rng, 0, 32), x, y, 1), np.arange(14.0)
        for glass, part in ((drink, k[:10]), (STEEL, k[10:])):
            s.fill(rings(ring, 0.19 + 0.004 * part), 0.035 * part, glass, 0.55 + 0.03 * part)
        s.fill(rings(ring, (0.225,)), 0.35, drink, 0.9)
    elif kind == 3:
        bowl(s, x, y, rng.uniform(0.14, 0.26), 0, SAUCES[rng.integers(len(SAUCES))])
    elif kind == 4:
        pile(s, ("basil", "parsley", "rocket"), 5, x, y, 0, 0.16, 0.09)
    elif kind == 5:
        snack = str(rng.choice(["cherry", "lemon", "olive", "mushroom", "onion"]))
        pile(s, (snack,), 4, x, y, 0, 0.22, 0.11)
    elif kind == 6:  # crumbs, salt, pepper
        grain = s.vary(SLATE, 60)
        s.fill(specks(rng, inside(rng, 40, x, y, 0.5), 0.012), 0.008, grain)
    else:
        dish(s, x + 0.3 * math.cos(angle), y + 0.3 * math.sin(angle), 0.5)
