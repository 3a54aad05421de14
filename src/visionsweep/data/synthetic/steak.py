"""Paint steak: whole, half carved, or in slices, with side dishes, sauce, and a garnish."""

import math
from typing import NamedTuple

import numpy as np

from visionsweep.data.synthetic.bites import bite, pile
from visionsweep.data.synthetic.shapes import TAU, Points, blob, box, inside, place, specks, strip
from visionsweep.data.synthetic.stage import Paint, Stage
from visionsweep.data.synthetic.tableware import SAUCES, bowl, dish

SIDES = (
    *("fry", "asparagus", "cherry", "potato", "rocket", "mushroom", "pea", "onion", "carrot"),
    *("tomato", "parsley", "pepper", "cucumber", "lemon"),
)


class Cut(NamedTuple):
    """A steak: center, half sizes, direction, height below it, thickness, and crust."""

    x: float
    y: float
    long: float
    wide: float
    angle: float
    z: float
    tall: float
    crust: Paint


def grilled(s: Stage, cut: Cut) -> None:
    """Paint a whole steak, often with a rim of fat and grill marks."""
    rng, angle = s.rng, cut.angle
    body, size = blob(rng, 0.13, 40), np.array([cut.long, cut.wide])
    if rng.random() < 0.5:
        aside = (cut.x + 0.03 * math.sin(angle), cut.y - 0.03 * math.cos(angle))
        fat = place(body, *aside, cut.long, cut.wide * 1.06, angle)
        s.solid(fat, cut.z, cut.tall * 0.85, Paint(240, 222, 176, 0.4, 0.5), 0.1, 6)
    whole = place(body, cut.x, cut.y, cut.long, cut.wide, angle)
    top = s.solid(whole, cut.z, cut.tall, cut.crust, 0.16, 8)
    seared = place(inside(rng, 60, 0, 0, 0.86) * size, cut.x, cut.y, 1, 1, angle)
    s.fill(specks(rng, seared, 0.035, 1.5), top - 0.004, s.vary(Paint(84, 46, 28), 12))
    if rng.random() < 0.35:
        return
    tilt, gap = rng.uniform(0.5, 1.2), rng.uniform(0.1, 0.16)
    for crossing in (tilt, tilt + TAU / 4)[: rng.integers(1, 3)]:
        for offset in np.arange(-0.8, 0.81, gap / cut.wide).tolist():
            chord = 0.8 * math.sqrt(1 - offset**2)
            ends = place(np.array([[-chord, offset], [chord, offset]]), 0, 0, 1, 1, crossing)
            (ax, ay), (bx, by) = place(ends * size, cut.x, cut.y, 1, 1, angle).tolist()
            turn, reach = math.atan2(by - ay, bx - ax), math.hypot(bx - ax, by - ay) / 2
            mark = strip((ax + bx) / 2, (ay + by) / 2, reach, rng.uniform(0.014, 0.022), turn, 0)
            s.fill(mark, top - 0.012, s.vary(Paint(44, 26, 18, 0.2, 0.6), 5))


def carved(s: Stage, cut: Cut, offsets: Points, apart: float) -> None:
    """Paint slices that show the pink inside, at offsets along the steak."""
    rng, step = s.rng, 1.0 * cut.long / apart
    flesh, fat = s.vary(Paint(196, 92, 84, 0.7, 0.6), 14), Paint(226, 140, 124, 0.8)
    cos, sin = math.cos(cut.angle), math.sin(cut.angle)
    ways = [(cut.x + at * cut.long * cos, cut.y + at * cut.long * sin, at) for at in offsets]
    for x, y, at in sorted(ways, key=lambda way: s.depth(way[:2])):
        half = cut.wide * math.sqrt(max(1 - at**2 * 0.6, 0.3))
        turn = cut.angle + TAU / 4 + rng.normal(0, 0.07)
        slab = place(box(2.8, 24), x, y, half, step, turn)
        top = s.solid(slab, cut.z, cut.tall * rng.uniform(0.8, 1.05), cut.crust, 0.1, 6)
        for share, tone in ((0.84, 0.72), (0.74, 0.9), (0.6, 1.0)):
            face = place(box(2.8, 24), x, y, half * (share * 0.5 + 0.45), step * share, turn)
            red, green, blue = flesh.red * tone, flesh.green * tone**0.3, flesh.blue * tone**0.5
            s.fill(face, top, Paint(red, green, blue, 0.7, 0.6))
        fibres = place(inside(rng, 14, 0, 0, 1) * (half * 0.8, step * 0.6), x, y, 1, 1, turn)
        s.fill(specks(rng, fibres, 0.012, 2.5), top, s.vary(fat, 8))


class Heap(NamedTuple):
    """A side dish: its kind of bite, and its position."""

    kind: str
    x: float
    y: float


def sides(s: Stage, beside: float) -> list[Heap]:
    """Return one to three side dishes around a direction, far ones first."""
    kinds = s.rng.choice(SIDES, s.rng.integers(1, 4), replace=False).tolist()
    turns = [beside + (k - 1) * s.rng.uniform(0.7, 1.1) for k in range(len(kinds))]
    spots = [(0.6 * math.cos(turn), 0.6 * math.sin(turn)) for turn in turns]
    heaps = [Heap(kind, *spot) for kind, spot in zip(kinds, spots, strict=True)]
    return sorted(heaps, key=lambda heap: s.depth(heap[1:]))


def serve(s: Stage, heaps: list[Heap], z: float) -> None:
    """Paint side dishes on a plate of height z."""
    for kind, x, y in heaps:
        pile(s, (kind,), int(s.rng.integers(5, 13)), x, y, z, 0.17, s.rng.uniform(0.06, 0.1))


def seasoned(s: Stage, cut: Cut) -> None:
    """Paint butter, herbs, vegetables, or nothing on the steak, and coarse salt."""
    x, y, top, extra = cut.x, cut.y, cut.z + cut.tall, s.rng.random()
    if extra < 0.25:
        bite(s, "butter", x, y, top, 0.12)
    elif extra < 0.5:
        pile(s, ("parsley", "basil") if extra < 0.4 else ("chive",), 4, x, y, top, 0.15, 0.07)
    elif extra < 0.68:
        kind = ("tomato", "mushroom", "onion", "cherry")[s.rng.integers(4)]
        pile(s, (kind,), 5, x, y, top, 0.26, 0.1)
    salt = specks(s.rng, inside(s.rng, 30, x, y, cut.long * 0.8), 0.008)
    s.fill(salt, top, Paint(236, 230, 220))


def steak(s: Stage) -> None:
    """Paint a grilled steak, whole, half or wholly carved, with sides, sauce and toppings."""
    rng, style = s.rng, s.rng.random()
    z = dish(s, 0, 0, rng.uniform(0.85, 1.1))
    angle, long = rng.uniform(0, TAU), rng.uniform(0.42, 0.64)
    wide = long * (rng.uniform(0.8, 0.98) if style < 0.2 else rng.uniform(0.5, 0.72))
    away = rng.uniform(-0.2, 0.2)
    x, y = -math.sin(angle) * away, math.cos(angle) * away
    crust = s.vary(Paint(112, 66, 40, 0.45, 1.0), 14)
    cut = Cut(x, y, long, wide, angle, z, rng.uniform(0.09, 0.17), crust)

    heaps = sides(s, angle + TAU / 4 * (1 if rng.random() < 0.5 else -1))
    behind = [heap for heap in heaps if s.depth(heap[1:]) <= s.depth((x, y))]
    serve(s, behind, z)
    if rng.random() < 0.35:
        pool = place(blob(rng, 0.12, 32), x, y, long * 1.15, wide * 1.25, angle)
        s.solid(pool, z, 0.01, s.vary(SAUCES[rng.integers(len(SAUCES))]), 0.03, 2)
    if style < 0.5 or style > 0.8:
        grilled(s, cut)
    slices = int(rng.integers(5, 9))
    if style > 0.8:
        carved(s, cut, np.linspace(0.45, 1.25, slices // 2), slices)
    elif style >= 0.5:
        carved(s, cut, np.linspace(-1, 1, slices), slices)
    seasoned(s, cut)
    serve(s, heaps[len(behind) :], z)
    if rng.random() < 0.3:
        far = (-x * 2 - 0.55 * math.cos(angle), -y * 2 - 0.55 * math.sin(angle))
        bowl(s, *far, 0.17, z, SAUCES[rng.integers(len(SAUCES))])
