"""The stage of a scene: materials, a tilted camera, and the two pictures painted through it.

Every object is a stack of flat polygons with a height, painted far to near. The colours are painted
at twice the final size, the surface (height, gloss, roughness, wood) at the final size; light.py
computes light and shadow for the whole picture from the surface.

World units: the plate has a radius of about 1, x right, y towards the viewer, z up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from visionsweep.data.synthetic.shapes import TAU, Points, rings

TALLEST = 0.8  # world height that the 8-bit surface picture can hold


class Paint(NamedTuple):
    """A material: its colour (sRGB, 0-255) and its gloss, roughness and wood grain (0-1)."""

    red: float
    green: float
    blue: float
    gloss: float = 0.1
    rough: float = 0.3
    wood: float = 0.0

    def ink(self, shade: float) -> tuple[int, int, int]:
        """Return the colour darkened (or lightened) by shade, as Pillow takes it."""
        red, green, blue = self[:3]
        return min(int(red * shade), 255), min(int(green * shade), 255), min(int(blue * shade), 255)


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
        inks = (
            [paint.ink(part) for part in shade.tolist()]
            if isinstance(shade, np.ndarray)
            else [paint.ink(shade)] * count
        )
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
