"""Lay a table with pizza, steak, or sushi, amid things that may lie beside any of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from visionsweep.data.synthetic.scene import BLOCK, FLAT, ROUND, TAU, Color, Points, Scene, spokes

WOOD = ((186, 138, 92), (128, 84, 52), (214, 178, 130), (74, 48, 34), (96, 99, 106))
PLAIN = ((96, 99, 106), (236, 234, 230), (150, 156, 160), (96, 130, 142), (196, 150, 60),
         (160, 44, 38), (74, 96, 70), (226, 206, 180), (244, 243, 239), (60, 88, 120))  # fmt: skip
FISH = ((244, 130, 82), (178, 36, 48), (246, 190, 160), (246, 206, 88))
RICE, BROWN = (240, 238, 228), (112, 66, 40)
PLATE = np.array([(0.85, 0.4, 0.75), (1, 0.9, 0.92), (0.97, 1, 1), (0.8, 0.6, 0.98), (0.7, 0.3, 1)])


class Thing(NamedTuple):
    """Half sizes and height, colors of the body and of a dotted face to choose from, and form."""

    half: tuple[float, float]
    tall: float
    colors: Sequence[Color]
    face: Sequence[Color] = ()
    layers: Points = ROUND
    power: float = 2.0


THINGS = {
    "pepperoni": Thing((1.2, 1.2), 0.15, [(150, 40, 24)], [(184, 60, 38)]),
    "mozzarella": Thing((1.0, 1.0), 0.3, [(250, 242, 218)], [(248, 236, 206)]),
    "tomato": Thing((1.0, 1.0), 0.3, [(196, 36, 22)], [(216, 74, 46)]),
    "olive": Thing((0.8, 0.8), 0.4, [(38, 32, 34)], [(96, 74, 50)]),
    "onion": Thing((1.0, 1.0), 0.2, [(150, 70, 110)], [(236, 216, 222)]),
    "basil": Thing((1.4, 0.6), 0.2, [(62, 112, 40)]),
    "pepper": Thing((1.4, 0.26), 0.3, [(196, 40, 26), (84, 136, 48)]),
    "cucumber": Thing((1.0, 1.0), 0.3, [(46, 96, 44)], [(206, 226, 160)]),
    "lemon": Thing((1.0, 1.0), 0.3, [(240, 206, 60)], [(250, 236, 150)]),
    "ginger": Thing((1.2, 0.6), 0.2, [(244, 190, 170)]),
    "fry": Thing((2.1, 0.28), 0.5, [(232, 186, 92)], power=6),
    "plate": Thing((1.0, 1.0), 0.1, PLAIN, layers=PLATE),
    "tray": Thing((1.0, 0.8), 0.1, PLAIN, layers=PLATE, power=5),
    "board": Thing((1.1, 0.85), 0.07, WOOD, layers=BLOCK, power=9),
    "napkin": Thing((1.0, 0.7), 0.03, PLAIN, layers=BLOCK, power=12),
    "bowl": Thing((0.4, 0.4), 0.4, PLAIN, PLAIN, PLATE),
    "spoon": Thing((1.2, 0.05), 0.07, WOOD),
    "cheese": Thing((0.5, 0.3), 0.05, [(240, 206, 116), (226, 184, 100)], layers=FLAT),
    "char": Thing((0.25, 0.15), 0.05, [(84, 46, 24), (140, 88, 54)], layers=FLAT),
    "fat": Thing((1.0, 0.7), 0.22, [(232, 208, 164)], layers=BLOCK),
    "steak": Thing((1.0, 0.7), 0.25, [BROWN], layers=BLOCK),
    "slice": Thing((1.0, 0.25), 0.4, [BROWN], [(190, 74, 72)], BLOCK, 3),
    "mark": Thing((1.0, 0.06), 0.01, [(40, 24, 16)], layers=FLAT),
    "roll": Thing((1.0, 1.0), 1.1, [(40, 50, 43), RICE], [RICE], BLOCK),
    "nigiri": Thing((1.6, 0.75), 0.6, [RICE], power=3),
    "fish": Thing((1.75, 0.8), 0.4, FISH, power=3),
    "stripe": Thing((0.5, 0.05), 0, [(255, 214, 184)], layers=FLAT),
}
TOPPINGS, SIDES = tuple(THINGS)[:7], tuple(THINGS)[2:11]
DISHES, CLUTTER = tuple(THINGS)[11:15], tuple(THINGS)[11:17]


def put(s: Scene, kind: str, at: Points, z: float, size: float = 0.09, turn: float = 0) -> float:
    """Paint things of a kind at points, far ones first, and return the height of the last one.

    They are turned at random where `turn` is 0.
    """
    thing, top = THINGS[kind], z
    at = at[None] if thing.layers is FLAT else at[np.argsort(at @ s.view[:, 1])]
    for k, spot in enumerate(at):
        big, angle = size * s.rng.uniform(0.9, 1.1), turn or s.rng.uniform(0, TAU)
        body = s.shape(spot, (thing.half[0] * big, thing.half[1] * big), angle, thing.power)
        high = thing.layers * (1, thing.tall * big, 1)
        top = s.paint(body, z + 0.001 * k, s.pick(thing.colors), high)
        if thing.face:
            face, dots = s.pick(thing.face), (body[::5] - spot) * 0.5 + spot
            s.paint((body - spot) * 0.85 + spot, top, face)
            s.paint(s.shape(dots, (0.12 * big, 0.08 * big), angle), top, face * 0.88)
    return top


def heap(s: Scene, at: Points, z: float) -> None:
    """Paint a heap of small food that goes with any dish."""
    put(s, str(s.rng.choice(SIDES)), at + s.disc(6, 0.2), z)


def line(count: int, step: float, along: Points) -> Points:
    """Return points in a row, centered on the origin, `[count, 2]`."""
    return np.outer(np.arange(count) - (count - 1) / 2, step * along)


def pizza(s: Scene, z: float) -> None:
    """Paint a pizza, whole or with a part missing, or a few slices."""
    rng, radius, kinds = s.rng, s.rng.uniform(0.75, 1), s.rng.choice(TOPPINGS, 3)
    slices, style = int(rng.integers(1, 5)), rng.random()
    width = TAU if style < 0.5 else TAU * (1 - slices / 8) if style < 0.7 else TAU / 8
    crust, sauce, cheese = map(s.pick, ([(204, 148, 84)], [(186, 58, 34)], [(240, 206, 116)]))
    layers = [("cheese", 30, 0, 0.8), ("char", 20, 0.9, 0.98), *((k, 9, 0.1, 0.7) for k in kinds)]
    for turn in rng.uniform(0, TAU) + np.arange(slices if style > 0.7 else 1) * 1.25 * width:
        angle, tip = turn + width * np.linspace(-0.5, 0.5, 48), np.zeros((1, 2))
        edge = spokes(angle, radius * (1 + 0.02 * np.cos(3 * angle)))
        s.paint(np.concatenate([tip, edge]), z, crust, ROUND * (1, 0.1, 1))
        s.paint(np.concatenate([tip, edge * 0.86]), z + 0.05, sauce)
        s.paint(np.concatenate([tip, edge * 0.81]), z + 0.05, cheese)
        span = width if width == TAU else 0.8 * width
        for kind, count, near, far in layers:
            where = turn + span * rng.uniform(-0.5, 0.5, round(count * width / TAU) + 1)
            away = radius * rng.uniform(near, far, len(where)) ** 0.7
            put(s, kind, spokes(where, away), z + 0.06)


def steak(s: Scene, z: float) -> None:
    """Paint a grilled steak, whole, half or wholly carved, with sides."""
    rng, style, turn, long = s.rng, s.rng.random(), s.rng.uniform(0, TAU), s.rng.uniform(0.42, 0.66)
    at, axes, high = s.disc(1, 0.15), spokes([turn, turn + TAU / 4]), z + 0.25 * long
    for spot in spokes(rng.uniform(0, TAU, rng.integers(1, 4)), 0.75):
        heap(s, spot, z)
    if style < 0.8:
        put(s, "fat", at + 0.04 * axes[1], z, long, turn)
        put(s, "steak", at, z, long, turn)
        put(s, "char", at + s.disc(60, 0.85 * long) * (1, 0.7) @ axes, high)
        for slant in turn + TAU / 5 * np.arange(1, rng.integers(1, 4)):
            put(s, "mark", at + line(6, 0.22 * long, axes[0]), high, 0.5 * long, slant)
    if style > 0.5:
        spots = at + line(7, 0.26 * long, axes[0]) + (0 if style > 0.8 else long * axes[0])
        put(s, "slice", spots, z, 0.6 * long, turn + TAU / 4 + 0.2)
    if rng.random() < 0.5:
        heap(s, at, high)


def sushi(s: Scene, z: float) -> None:
    """Paint rows of rolls and nigiri with a garnish."""
    rng, turn, size = s.rng, s.rng.uniform(0, TAU), s.rng.uniform(0.12, 0.18)
    axes, columns = spokes([turn, turn + TAU / 4]), int(rng.integers(2, 6))
    heap(s, 0.8 * axes[1], z)
    for middle in line(int(rng.integers(1, 4)), 3.3 * size, axes[1]):
        row = middle + line(columns, 2.4 * size, axes[0])
        if rng.random() < 0.4:
            top = put(s, "nigiri", row, z, size, turn + TAU / 4)
            top = put(s, "fish", row, top - 0.15 * size, size, turn + TAU / 4)
            for bar in line(6, 0.44 * size, axes[1]):
                put(s, "stripe", row + bar, top, size, turn + 1)
        else:
            top = put(s, "roll", row, z, size)
            for _ in range(int(rng.choice([1, 2, 3, 20]))):  # twenty look like roe
                put(s, "fish", row + s.disc(columns, 0.6 * size), top, 0.18 * size)


def draw_scene(rng: np.random.Generator, label: str, width: int, height: int) -> Image.Image:
    """Return an RGB photograph of a dish amid clutter."""
    s, count = Scene(rng, width, height), int(rng.choice([20, 60, 300]))
    bands = line(count, 10 / count, np.array([0, 1]))[:, None]
    bands = bands + np.multiply([[-5, -6], [5, -6], [5, 6], [-5, 6]], (1, 1 / count))
    color = s.pick(WOOD + PLAIN) + rng.normal(0, rng.uniform(0, 12), (count, 1))
    s.paint(bands, 0, color)  # planks, or a striped cloth
    for spot in spokes(rng.uniform(0, TAU, 2), rng.uniform(1, 1.5, 2)):
        put(s, str(rng.choice(CLUTTER)), spot[None], 0, 0.5)
        heap(s, -spot, 0)
    top = put(s, str(rng.choice(DISHES)), np.zeros((1, 2)), 0, rng.uniform(0.9, 1.1))
    {"pizza": pizza, "steak": steak, "sushi": sushi}[label](s, top)
    return s.photograph()
