"""Paint a scene through a tilted camera: its colors, and the surface that light falls on.

Every object is a stack of flat polygons with a height, painted far to near. Colors are painted at
twice the final size, the surface (height, gloss, roughness, wood) at the final size; `light.py`
computes light and shadow of the whole image from the surface.

World units: a plate has a radius of about 1; x points right, y towards the viewer, z up.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from visionsweep.data.synthetic.shapes import TAU, Points, rings

TALLEST = 0.8  # world height of 255 in the surface image


class Paint(NamedTuple):
    """A material: color (sRGB, 0-255), gloss, roughness, and wood grain (0-1)."""

    red: float
    green: float
    blue: float
    gloss: float = 0.1
    rough: float = 0.3
    wood: float = 0.0

    def ink(self, shade: float) -> tuple[int, ...]:
        """Return the color times `shade`, for Pillow."""
        return tuple(min(int(value * shade), 255) for value in self[:3])


class Stage:
    """The two images being painted, the camera, and the random generator of the scene."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng, self.width, self.height = rng, width, height
        self.color = Image.new("RGB", (2 * width, 2 * height))
        # CMYK is Pillow's only mode of four independent channels; RGBA premultiplies.
        self.surface = Image.new("CMYK", (width, height))
        self._inks, self._skins = ImageDraw.Draw(self.color), ImageDraw.Draw(self.surface)
        self.scale = min(width, height) * rng.uniform(0.48, 0.8)  # pixels per world unit
        pitch = rng.uniform(0.0, 0.25) if rng.random() < 0.45 else rng.uniform(0.3, 0.95)
        self._cos, self._sin = math.cos(pitch), math.sin(pitch)
        self._center = rng.normal(0, 0.13, 2)
        turn = rng.uniform(0, TAU)
        self._turn = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])

    @property
    def axis(self) -> tuple[float, float]:
        """Unit vector of the world's x axis in the image, along which wood grain runs."""
        across, down = float(self._turn[0, 0]), float(self._turn[0, 1]) * self._cos
        return across / math.hypot(across, down), down / math.hypot(across, down)

    def depth(self, point: Sequence[float]) -> float:
        """Return how near a world point is to the viewer; small values are painted first."""
        return float(point[0] * self._turn[0, 1] + point[1] * self._turn[1, 1])

    def sees(self, point: Sequence[float]) -> bool:
        """Return whether a point of the table is in the image, or at most 0.4 outside."""
        flat = np.asarray(point) @ self._turn - self._center
        return bool(
            abs(flat[0]) - 0.4 < self.width / 2 / self.scale
            and abs(flat[1]) * self._cos - 0.4 < self.height / 2 / self.scale
        )

    def fill(
        self, outlines: Points, z: float | Points, paint: Paint, shade: float | Points = 1.0
    ) -> None:
        """Paint flat outlines.

        Args:
            outlines: corners, `[N, K, 2]` or `[K, 2]`.
            z: height of all outlines, or of each, `[N]`.
            paint: material.
            shade: factor of the color of all outlines, or of each, `[N]`.
        """
        count, corners = (1, *outlines.shape)[-3:-1]
        tall = np.repeat(np.broadcast_to(z, count), corners)
        flat = outlines.reshape(-1, 2) @ self._turn - self._center
        # Without the lower bound, the table behind the viewer would be mirrored into the image.
        away = np.maximum(1 - (flat[:, 1] * self._sin + tall * self._cos) / 4.5, 0.15)
        near = 2 * self.scale / away
        flat[:, 1] = (flat[:, 1] * self._cos - tall * self._sin) * near + self.height
        flat[:, 0] = flat[:, 0] * near + self.width
        seen = flat.reshape(count, corners * 2)
        inks = map(paint.ink, np.broadcast_to(shade, count).tolist())
        for ink, fine in zip(inks, seen.tolist(), strict=True):
            self._inks.polygon(fine, ink)
        if count > 1 and corners == 6:
            return  # dabs: too small to need a surface, and a third of all polygons
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
        """Paint a body with a rounded edge over an outline `[K, 2]`; return its top height."""
        rise = np.arange(1, layers + 1) / layers
        shares = 1 - inset * (1 - np.cos(rise * TAU / 4))
        self.fill(
            rings(outline, shares), z + tall * np.sin(rise * TAU / 4), paint, 0.72 + 0.28 * rise
        )
        return z + tall

    def vary(self, paint: Paint, amount: float = 14) -> Paint:
        """Return a material in a slightly different color."""
        light, *tints = (self.rng.standard_normal(4) * amount).tolist()
        red, green, blue = (
            min(max(value + light + 0.4 * tint, 3), 252)
            for value, tint in zip(paint[:3], tints, strict=True)
        )
        return paint._replace(red=red, green=green, blue=blue)
