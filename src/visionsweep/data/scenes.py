"""Draw pizza, steak and sushi scenes from a random generator, with Pillow and numpy alone.

A scene is built like a stage set: every object is a stack of flat polygons with a height, seen by
a tilted camera and painted far to near. Two pictures are painted at once: the colours, at twice the
final size, and the surface (height, gloss, roughness, wood). Light, cast shadows, highlights and
grain are then computed once for the whole picture from the surface, in sample.py: no object needs a
shadow of its own.

World units: the plate has a radius of about 1, x right, y towards the viewer, z up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = NDArray[np.float64]
TALLEST = 0.8  # world height that the 8-bit surface picture can hold
TAU = 2 * math.pi
SQUARE = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


class Paint(NamedTuple):
    """A material: its colour (sRGB, 0-255) and its gloss, roughness and wood grain (0-1)."""

    red: float
    green: float
    blue: float
    gloss: float = 0.1
    rough: float = 0.3
    wood: float = 0.0


class Stage:
    """The two pictures being painted, the camera that sees them and the dice of this scene."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng, self.width, self.height = rng, width, height
        self.colour = Image.new("RGB", (2 * width, 2 * height))
        # CMYK only because it is Pillow's one mode of four plain channels (RGBA premultiplies).
        self.surface = Image.new("CMYK", (width, height))
        self._inks, self._skins = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.surface)
        self.scale = min(width, height) * rng.uniform(0.48, 0.8)  # pixels a world unit
        pitch = rng.uniform(0.0, 0.25) if rng.random() < 0.45 else rng.uniform(0.3, 0.95)
        self._cos, self._sin = math.cos(pitch), math.sin(pitch)
        self._centre = rng.normal(0, 0.13, 2)
        turn = rng.uniform(0, TAU)
        self._turn = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])

    @property
    def axis(self) -> tuple[float, float]:
        """The direction in the picture of the world's x, along which wood grows (length 1)."""
        across, down = float(self._turn[0, 0]), float(self._turn[0, 1]) * self._cos
        return across / math.hypot(across, down), down / math.hypot(across, down)

    def depth(self, point: Sequence[float]) -> float:
        """Return how near the viewer a world point lies: paint small values first."""
        return float(point[0] * self._turn[0, 1] + point[1] * self._turn[1, 1])

    def sees(self, point: Sequence[float], margin: float = 0.4) -> bool:
        """Return whether a point of the table lies in the picture, or within margin beside it."""
        flat = np.asarray(point) @ self._turn - self._centre
        return bool(
            abs(flat[0]) - margin < self.width / 2 / self.scale
            and abs(flat[1]) * self._cos - margin < self.height / 2 / self.scale
        )

    def fill(
        self, outlines: Points, z: float | Points, paint: Paint, shade: float | Points = 1.0
    ) -> None:
        """Paint flat outlines [N, K, 2] or [K, 2] at height z, darkened by shade (or each [N])."""
        count, corners = (1, *outlines.shape)[-3:-1]
        tall = np.repeat(z, corners if isinstance(z, np.ndarray) else count * corners)
        flat = outlines.reshape(-1, 2) @ self._turn - self._centre
        # The table reaches behind the viewer: without a floor its far end would come out mirrored.
        away = np.maximum(1 - (flat[:, 1] * self._sin + tall * self._cos) / 4.5, 0.15)
        near = 2 * self.scale / away
        flat[:, 1] = (flat[:, 1] * self._cos - tall * self._sin) * near + self.height
        flat[:, 0] = flat[:, 0] * near + self.width
        seen = flat.reshape(count, corners * 2)
        inks = [
            (min(int(red * part), 255), min(int(green * part), 255), min(int(blue * part), 255))
            for red, green, blue in (paint[:3],)
            for part in (shade.tolist() if isinstance(shade, np.ndarray) else (shade,) * count)
        ]
        for ink, fine in zip(inks, seen.tolist(), strict=True):
            self._inks.polygon(fine, ink)
        if count > 1 and corners == 6:
            return  # dabs are too small to have a surface of their own, and they are a third of all
        skin = tuple(int(value * 255) for value in paint[3:])
        seen *= 0.5
        for plain, level in zip(seen.tolist(), tall[::corners].tolist(), strict=True):
            self._skins.polygon(plain, (min(int(level * 255 / TALLEST), 255), *skin))

    def solid(
        self,
        outline: Points,
        z: float,
        tall: float,
        paint: Paint,
        inset: float = 0.2,
        layers: int = 4,
    ) -> float:
        """Stack an outline [K, 2] into a body with a rounded edge; return the height of its top."""
        rise = np.arange(1, layers + 1) / layers
        shares = 1 - inset * (1 - np.cos(rise * TAU / 4))
        self.fill(
            rings(outline, shares), z + tall * np.sin(rise * TAU / 4), paint, 0.72 + 0.28 * rise
        )
        return z + tall

    def vary(self, paint: Paint, amount: float = 14) -> Paint:
        """Return the paint in a slightly different colour."""
        light, *tints = (self.rng.standard_normal(4) * amount).tolist()
        red, green, blue = (
            min(max(value + light + 0.4 * tint, 3), 252)
            for value, tint in zip(paint[:3], tints, strict=True)
        )
        return paint._replace(red=red, green=green, blue=blue)


# --- outlines -------------------------------------------------------------------------------------


def rings(outline: Points, shares: Points | Sequence[float]) -> Points:
    """Return the outline [K, 2] shrunk about its middle to each share: [N, K, 2]."""
    middle = outline.sum(0) / len(outline)
    return np.asarray((outline - middle) * np.asarray(shares)[:, None, None] + middle)


def blob(rng: np.random.Generator, wobble: float = 0.05, points: int = 20) -> Points:
    """Return a closed outline [points, 2] around the origin with a mean radius of 1."""
    angle = np.arange(points) * (TAU / points)
    outline = np.stack([np.cos(angle), np.sin(angle)], -1)
    if not wobble:
        return outline
    waves, turns = np.array([2, 3, 5]), rng.uniform(0, TAU, 3)
    sizes = 1.6 * wobble * rng.standard_normal(3) / waves
    return np.asarray(outline * (1 + np.cos(angle[:, None] * waves + turns) @ sizes)[:, None])


def box(squareness: float = 4, points: int = 20) -> Points:
    """Return a rounded square [points, 2] of half side 1 (a superellipse)."""
    angle = (np.arange(points) + 0.5) * (TAU / points)
    corner = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.asarray(np.sign(corner) * np.abs(corner) ** (2 / squareness))


def place(
    shape: Points, x: float, y: float, long: float, wide: float | None = None, angle: float = 0
) -> Points:
    """Return the unit shape scaled to half sizes long and wide, turned and moved to (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.asarray(shape * (long, long if wide is None else wide) @ turn + (x, y))


def strip(x: float, y: float, long: float, wide: float, angle: float, bend: float) -> Points:
    """Return a bent band [12, 2] of half sizes long and wide around (x, y)."""
    along = np.linspace(-1, 1, 5)
    edge = np.stack([along * long, bend * long * (along**2 - 0.33)], -1)
    side = np.array([0.0, wide])
    tip = np.array([[long + wide, edge[-1, 1]]])
    outline = np.concatenate([edge - side, tip, (edge + side)[::-1], tip * (-1, 1)])
    return place(outline, x, y, 1, 1, angle)


def spokes(angle: Points, radius: float | Points) -> Points:
    """Return points [N, 2] at the given angles [N] and distance from the origin."""
    return np.asarray(np.stack([np.cos(angle), np.sin(angle)], -1) * np.reshape(radius, (-1, 1)))


def specks(
    rng: np.random.Generator, centres: Points, radius: float, stretch: float = 1.0
) -> Points:
    """Return one small six-cornered dab [N, 6, 2] for each centre [N, 2], randomly turned."""
    angle = rng.uniform(0, TAU, (len(centres), 1))
    corner = np.arange(6) * (TAU / 6)
    size = radius * rng.uniform(0.6, 1.3, (len(centres), 1))
    a, b = size * stretch * np.cos(corner), size * np.sin(corner)
    turned = [a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)]
    return np.asarray(np.stack(turned, -1) + centres[:, None])


def inside(rng: np.random.Generator, count: int, x: float, y: float, radius: float) -> Points:
    """Return points [count, 2] spread evenly over a disc."""
    angle, far = rng.uniform(0, TAU, count), radius * np.sqrt(rng.uniform(0, 1, count))
    return np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], -1)


# --- things on the table --------------------------------------------------------------------------

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
STEEL, GREEN = Paint(190, 192, 196, 1.0, 0.0), Paint(62, 112, 40, 0.3, 0.3)


class Round(NamedTuple):
    """A round bite: thickness as a share of its radius, then what is painted on it."""

    thick: float
    rim: Paint
    face: Paint | None = None
    share: float = 0.85  # of the radius that the face covers
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
    """Paint one round, long or leafy bite of half size `size` lying at (x, y, z)."""
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
    """Heap bites of mixed kinds around (x, y), each a little higher than the one before."""
    spots = inside(s.rng, count, x, y, spread).tolist()
    for k, (bx, by) in enumerate(sorted(spots, key=s.depth)):
        kind = kinds[int(s.rng.integers(len(kinds)))]
        bite(s, kind, bx, by, z + size * k / count * 0.6, size * s.rng.uniform(0.8, 1.2))


def table(s: Stage) -> None:
    """Cover the whole picture with planks, a striped or chequered cloth, or a plain colour."""
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
        if axis != turn:  # where two bands cross, the full colour
            both = [
                place(SQUARE, i * wide, k * wide, wide / 2, wide / 2)
                for i in range(-10, 11, 2)
                for k in range(-10, 11, 2)
            ]
            s.fill(np.stack([place(square, 0, 0, 1, 1, turn) for square in both]), 0, paint)


def dish(s: Stage, x: float, y: float, radius: float) -> float:
    """Paint what the food lies on (plate, board, slate, tray or nothing); return its height."""
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
            s.solid(
                place(box(4), *ear, radius * 0.35, radius * 0.13, angle), 0, 0.06, paint, 0.02, 3
            )
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
    """Paint one thing that may stand on any table and says nothing of the dish."""
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
        pile(
            s,
            (str(rng.choice(["cherry", "lemon", "olive", "mushroom", "onion"])),),
            4,
            x,
            y,
            0,
            0.22,
            0.11,
        )
    elif kind == 6:  # crumbs, salt, pepper
        grain = s.vary(SLATE, 60)
        s.fill(specks(rng, inside(rng, 40, x, y, 0.5), 0.012), 0.008, grain)
    else:
        dish(s, x + 0.3 * math.cos(angle), y + 0.3 * math.sin(angle), 0.5)


# --- the three dishes -----------------------------------------------------------------------------

PIZZA_TOPPINGS = (
    *("pepperoni", "tomato", "olive", "mozzarella", "mushroom", "basil", "pepper"),
    *("green pepper", "ham", "onion", "rocket"),
)
STEAK_SIDES = (
    *("fry", "asparagus", "cherry", "potato", "rocket", "mushroom", "pea", "onion", "carrot"),
    *("tomato", "parsley", "pepper", "cucumber", "lemon"),
)


Wedge = tuple[float, float, float, float]  # where its tip lies (x, y), first angle, angle covered


def wedges(s: Stage, whole: bool, start: float, pieces: int) -> list[Wedge]:
    """Return which parts of a pizza lie where, far ones first."""
    rng, each = s.rng, TAU / pieces
    if whole:
        return [(0.0, 0.0, 0.0, TAU)]
    if rng.random() < 0.45:  # a piece or two missing, perhaps one of them drawn out
        parts = [(0.0, 0.0, start, TAU - each * int(rng.integers(1, 3)))]
        if rng.random() < 0.5:
            turn = start - each / 2
            parts.append((0.16 * math.cos(turn), 0.16 * math.sin(turn), start - each, each))
    else:
        turns = (start + np.arange(rng.integers(1, 5)) * each * rng.uniform(1.1, 1.6)).tolist()
        apart = rng.uniform(0.03, 0.15) - (0.35 if len(turns) == 1 else 0)
        tips = [(apart * math.cos(turn + 0.4), apart * math.sin(turn + 0.4)) for turn in turns]
        parts = [(x, y, turn, each) for (x, y), turn in zip(tips, turns, strict=True)]
    return sorted(parts, key=lambda part: s.depth((math.cos(part[2]), math.sin(part[2]))))


def pizza(s: Stage) -> None:
    """Paint a whole pizza, one with a piece missing, or a few slices."""
    rng = s.rng
    radius, start, pieces = rng.uniform(0.66, 0.9), rng.uniform(0, TAU), int(rng.integers(6, 9))
    whole = rng.random() < 0.45
    z = dish(s, 0, 0, radius * rng.uniform(1.1, 1.25))
    crust = s.vary(Paint(212, 158, 92, 0.15, 0.7), 16)
    sauce = s.vary(Paint(190, 58, 26, 0.5, 0.4), 12)
    cheese = s.vary(Paint(240, 198, 108, 0.45, 0.9), 14)
    toppings = rng.choice(PIZZA_TOPPINGS, rng.integers(1, 4), replace=False).tolist()
    for x, y, turn, width in wedges(s, whole, start, pieces):
        angle = turn + np.linspace(0, width, 40)
        ripple = 1 + 0.02 * np.cos(3 * angle + start) + 0.012 * np.cos(7 * angle + radius * 40)
        rim, spot = spokes(angle, ripple * radius), np.array([x, y])
        tip = np.zeros((0 if width == TAU else 1, 2))
        s.solid(np.concatenate([tip, rim * 0.97]) + spot, z, 0.03, crust, 0, 2)
        k = np.arange(7.0)  # the rim is a ring: it rises, then falls towards the middle
        walls = np.stack([np.concatenate([tip, rim * (1 - 0.02 * step)]) for step in k]) + spot
        s.fill(walls, z + 0.035 + 0.06 * np.sin((k + 1) / 8 * TAU / 2), crust, 0.8 + 0.03 * k)
        char = spokes(turn + rng.uniform(0, width, 16), radius * rng.uniform(0.9, 0.98, 16))
        s.fill(specks(rng, char + spot, 0.022, 1.4), z + 0.092, s.vary(Paint(120, 68, 34)))
        s.fill(np.concatenate([tip, rim * 0.86]) + spot, z + 0.055, sauce)
        melted = rim * (0.82 + 0.012 * np.cos(13 * angle))[:, None]
        s.fill(np.concatenate([tip, melted]) + spot, z + 0.06, cheese)
        far = radius * 0.78 * np.sqrt(rng.uniform(0.02, 1, 110))
        spread = spokes(turn + rng.uniform(0.03, 0.97, 110) * width, far) + spot
        share = max(width / TAU, 0.3)
        for tone, first, size in (
            (cheese, 0, 0.05),
            (sauce, 22, 0.05),
            (Paint(252, 230, 170, 0.5, 0.5), 44, 0.05),
            (Paint(190, 112, 44, 0.4, 0.9), 66, 0.025),
        ):
            dabs = spread[int(first * share) : int((first + 22) * share)]
            s.fill(specks(rng, dabs, size), z + 0.062, s.vary(tone, 10))
        placed: list[list[float]] = []
        most = 30 * width / TAU + 2
        for at in spread[::-1].tolist():
            if len(placed) < most and all(math.dist(at, other) > 0.15 for other in placed):
                placed.append(at)
                size = rng.uniform(0.07, 0.11) * (1.1 if width < TAU / 2 else 1)
                bite(s, toppings[rng.integers(len(toppings))], at[0], at[1], z + 0.062, size)
    if whole and rng.random() < 0.4:
        for cut in np.arange(pieces // 2) / (pieces // 2) * TAU / 2 + start:
            groove = strip(0, 0, radius * 0.96, 0.008, float(cut), 0)
            s.fill(groove, z + 0.05, Paint(120, 60, 30))


class Cut(NamedTuple):
    """A steak on its plate: middle, half sizes, direction, height of its foot, thickness, crust."""

    x: float
    y: float
    long: float
    wide: float
    angle: float
    z: float
    tall: float
    crust: Paint


def grilled(s: Stage, cut: Cut) -> None:
    """Paint a whole steak, often with a rim of fat and the marks of the grill."""
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
    """Paint slices that lie on their sides and show the pink inside, at offsets along the steak."""
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

    beside = angle + TAU / 4 * (1 if rng.random() < 0.5 else -1)
    heaps: list[tuple[str, float, float]] = []
    for k, kind in enumerate(rng.choice(STEAK_SIDES, rng.integers(1, 4), replace=False).tolist()):
        turn = beside + (k - 1) * rng.uniform(0.7, 1.1)
        heaps.append((kind, 0.6 * math.cos(turn), 0.6 * math.sin(turn)))
    heaps.sort(key=lambda heap: s.depth(heap[1:]))
    behind = [heap for heap in heaps if s.depth(heap[1:]) <= s.depth((x, y))]
    for kind, hx, hy in behind:
        pile(s, (kind,), int(rng.integers(5, 13)), hx, hy, z, 0.17, rng.uniform(0.06, 0.1))
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
    extra, top = rng.random(), z + cut.tall
    if extra < 0.25:
        bite(s, "butter", x, y, top, 0.12)
    elif extra < 0.5:
        pile(s, ("parsley", "basil") if extra < 0.4 else ("chive",), 4, x, y, top, 0.15, 0.07)
    elif extra < 0.68:
        kind = ("tomato", "mushroom", "onion", "cherry")[rng.integers(4)]
        pile(s, (kind,), 5, x, y, top, 0.26, 0.1)
    s.fill(specks(rng, inside(rng, 30, x, y, long * 0.8), 0.008), top, Paint(236, 230, 220))
    for kind, hx, hy in heaps[len(behind) :]:
        pile(s, (kind,), int(rng.integers(5, 13)), hx, hy, z, 0.17, rng.uniform(0.06, 0.1))
    if rng.random() < 0.3:
        far = (-x * 2 - 0.55 * math.cos(angle), -y * 2 - 0.55 * math.sin(angle))
        bowl(s, *far, 0.17, z, SAUCES[rng.integers(len(SAUCES))])


NORI, RICE = Paint(46, 56, 48, 0.5, 0.5), Paint(240, 238, 228, 0.35, 0.15)
FILLINGS = (
    *(Paint(240, 128, 84, 0.7, 0.2), Paint(176, 34, 44, 0.7, 0.2), Paint(140, 176, 74, 0.5, 0.2)),
    *(Paint(246, 204, 84, 0.4, 0.3), Paint(250, 246, 240, 0.5, 0.1), Paint(110, 150, 60, 0.5)),
)
# What lies on a nigiri and its stripes: salmon, tuna, prawn, omelette, eel, sea bream.
FISH: tuple[tuple[Paint, Paint | None], ...] = (
    (Paint(244, 130, 82, 0.8, 0.1), Paint(255, 196, 160, 0.8)),
    (Paint(178, 36, 48, 0.7, 0.1), None),
    (Paint(246, 190, 160, 0.8, 0.1), Paint(232, 104, 60, 0.8)),
    (Paint(246, 206, 88, 0.4, 0.3), None),
    (Paint(122, 66, 30, 1.0, 0.3), Paint(90, 44, 20, 1.0)),
    (Paint(240, 226, 214, 0.8, 0.1), Paint(222, 150, 140, 0.8)),
)


def roll(s: Stage, kind: str, filling: Paint, x: float, y: float, z: float, size: float) -> None:
    """Paint an upright roll: nori outside (maki), rice outside (uramaki) or roe on top (gunkan)."""
    rng, angle, spot = s.rng, s.rng.uniform(0, TAU), np.array([x, y])
    long = size * (1.3 if kind == "gunkan" else 1)
    body = place(blob(rng, 0.03, 26), x, y, long, size, angle)
    wall = s.vary(RICE if kind == "uramaki" else NORI, 5)
    top = s.solid(body, z, size * rng.uniform(1.0, 1.3), wall, 0.03, 8)
    s.fill(rings(body, (0.9,)), top - 0.004, s.vary(RICE, 5))
    if kind == "gunkan":
        heap = place(inside(rng, 16, 0, 0, 0.75) * (long, size), x, y, 1, 1, angle).tolist()
        for rx, ry in sorted(heap, key=s.depth):
            bite(s, "roe", rx, ry, top, size * 0.24)
        return
    for tone in (0.93, 1.05):
        grains = specks(rng, inside(rng, 16, x, y, size * 0.84), size * 0.1, 2.0)
        s.fill(grains, top + 0.004 * tone, RICE, tone)
    if kind == "uramaki":
        s.fill(rings(body, (0.58,)), top, NORI)
        sesame = Paint(30, 26, 24, 0.4) if filling.red < 200 else Paint(236, 200, 130, 0.4)
        seeds = spokes(rng.uniform(0, TAU, 26), size * rng.uniform(0.62, 0.98, 26)) + spot
        s.fill(specks(rng, seeds, size * 0.05, 1.7), top + 0.004, sesame)
    for k in range(int(rng.integers(1, 4))):
        px, py = (spot + rng.normal(0, 0.1, 2) * size * min(k, 1)).tolist()
        part = place(box(3, 16), px, py, size * 0.4, size * 0.36 / (k + 1), rng.uniform(0, TAU))
        core = s.vary(FILLINGS[rng.integers(len(FILLINGS))] if k else filling, 8)
        s.fill(part, top + 0.005, core)


def nigiri(s: Stage, kind: int, x: float, y: float, z: float, size: float, angle: float) -> None:
    """Paint an oblong of rice with a slice of fish, prawn, omelette or eel over it."""
    rng, (fish, stripe) = s.rng, FISH[kind]
    long, wide = size * 1.75, size * 0.82
    top = s.solid(place(box(3), x, y, long, wide, angle), z, size * 0.6, s.vary(RICE, 5), 0.12, 6)
    grains = place(box(3, 36), x, y, long, wide, angle)
    s.fill(specks(rng, grains, size * 0.11, 2.0), z + size * 0.25, RICE, 0.95)
    drape = box(3)
    drape[:, 1] += 0.12 * drape[:, 0] ** 2
    cover = place(drape, x, y, long * 1.1, wide * 1.02, angle)
    peak = s.solid(cover, top - size * 0.12, size * 0.36, s.vary(fish, 9), 0.3, 6)
    if stripe is not None:
        slant = angle + rng.uniform(0.9, 1.3)
        for far in (np.linspace(-0.72, 0.72, 7) * long).tolist():
            sx, sy = x + far * math.cos(angle), y + far * math.sin(angle)
            s.fill(strip(sx, sy, wide * 0.62, size * 0.045, slant, 0.25), peak - 0.015, stripe)
    if kind >= 3 and rng.random() < 0.7:
        band = place(box(8), x, y, size * 0.28, wide * 1.04, angle)
        s.solid(band, top, size * 0.27, NORI, 0.06, 3)


def arrangement(rng: np.random.Generator, size: float) -> list[tuple[float, float, int]]:
    """Return where pieces lie and of which of three kinds each is: rows, a ring, or scattered."""
    layout = rng.random()
    if layout < 0.55:
        across, down = int(rng.integers(2, 6)), int(rng.integers(1, 4))
        step, row = size * rng.uniform(2.1, 2.5), size * rng.uniform(2.6, 3.2)
        rows = [
            ((i - (across - 1) / 2) * step, (k - (down - 1) / 2) * row, k)
            for k in range(down)
            for i in range(across)
        ]
        return [piece for piece in rows if math.hypot(*piece[:2]) < 0.72]
    if layout < 0.8:
        count = int(rng.integers(5, 10))
        ring = spokes(np.arange(count) * TAU / count, max(size * 2.4 * count / TAU, 0.3)).tolist()
        return [(0.0, 0.0, 1), *((x, y, i % 2) for i, (x, y) in enumerate(ring))]
    pieces: list[tuple[float, float, int]] = []
    for x, y in inside(rng, 40, 0, 0, 0.62).tolist():
        if all(math.dist((x, y), other[:2]) > size * 2.5 for other in pieces):
            pieces.append((x, y, len(pieces) % 3))
    return pieces


def sushi(s: Stage) -> None:
    """Paint rolls and nigiri, with wasabi, ginger, garnish or chopsticks."""
    rng = s.rng
    z = dish(s, 0, 0, rng.uniform(0.85, 1.1))
    size, angle = rng.uniform(0.13, 0.19), rng.uniform(0, TAU)
    cos, sin = math.cos(angle), math.sin(angle)
    pieces = [(x * cos - y * sin, x * sin + y * cos, k) for x, y, k in arrangement(rng, size)]
    kinds = rng.choice(["maki", "maki", "uramaki", "gunkan", "nigiri", "nigiri"], 3).tolist()
    fish, filling = rng.integers(0, len(FISH), 3), rng.integers(0, len(FILLINGS), 3)
    for k, (x, y) in enumerate(spokes(rng.uniform(0, TAU, 3), rng.uniform(0.5, 0.75, 3)).tolist()):
        crowded = any(math.dist((x, y), piece[:2]) < size * 2.2 for piece in pieces)
        if crowded or rng.random() < 0.5:
            continue
        if k == 0:
            wasabi = Paint(150, 180, 90, 0.2, 0.9)
            s.solid(place(blob(rng, 0.15), x, y, 0.09, 0.08), z, 0.06, wasabi, 0.7, 5)
        else:
            kind = ("ginger",) if k == 1 else ("cucumber", "basil", "lemon")
            pile(s, kind, 6 if k == 1 else 3, x, y, z, 0.08, 0.08)
    for x, y, k in sorted(pieces, key=lambda piece: s.depth(piece[:2])):
        if kinds[k] == "nigiri":
            askew = angle + TAU / 4 + rng.normal(0, 0.08)
            nigiri(s, int(fish[k]), x, y, z, size * 0.86, askew)
        else:
            roll(s, kinds[k], FILLINGS[filling[k]], x, y, z, size)
    if rng.random() < 0.35:
        turn, far = rng.uniform(0, TAU), rng.uniform(0.7, 0.95)
        lacquer = Paint(120, 40, 30, 0.6, 0.1) if rng.random() < 0.5 else WOODS[2]
        for aside in (-0.035, 0.035):
            x, y = (far + aside) * math.cos(turn), (far + aside) * math.sin(turn)
            stick = strip(x, y, 1.1, 0.022, turn + TAU / 4 + aside, 0)
            s.solid(stick, z + 0.06, 0.04, lacquer, 0.1, 2)


DISHES: dict[str, Callable[[Stage], None]] = {"pizza": pizza, "steak": steak, "sushi": sushi}


def set_scene(rng: np.random.Generator, label: str, width: int, height: int) -> Stage:
    """Return a painted stage [height, width] with the labelled dish amid clutter, not yet lit."""
    s = Stage(rng, width, height)
    table(s)
    count = int(rng.integers(1, 6))
    spots = spokes(rng.uniform(0, TAU, count), rng.uniform(1.05, 1.5, count)).tolist()
    spots.sort(key=s.depth)
    spots = [spot for spot in spots if s.sees(spot)]
    for spot in (p for p in spots if s.depth(p) < 0.4):
        distractor(s, *spot)
    DISHES[label](s)
    for spot in (p for p in spots if s.depth(p) >= 0.4):
        distractor(s, *spot)
    return s
