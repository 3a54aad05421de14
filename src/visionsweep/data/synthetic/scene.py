"""Paint outlines at heights, as a tilted camera sees them, and light them from one side.

A plate has a radius of about 1; x points right, y towards the viewer, z up. Colors are 0 to 255.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Points = NDArray[np.float64]
Color = Sequence[float] | Points
TAU = 2 * np.pi
TALLEST = 0.8  # height that is stored as 255
# Layers of a body, the lowest first: size of the outline, height, and shade.
FLAT = np.array([(1.0, 0, 1)])
ROUND = np.array([(1, 0.4, 0.78), (0.95, 0.7, 0.87), (0.89, 0.92, 0.95), (0.8, 1, 1)])
BLOCK = np.array([(1, 0.15, 0.7), (1, 0.4, 0.75), (1, 0.6, 0.8), (0.99, 0.85, 0.9), (0.95, 1, 1)])


def spokes(angle: ArrayLike, radius: ArrayLike = 1.0) -> Points:
    """Return the points at angles and distances from the origin, `[..., 2]`."""
    return np.asarray(np.stack([np.cos(angle), np.sin(angle)], -1) * np.expand_dims(radius, -1))


CIRCLE = spokes((np.arange(24) + 0.5) * (TAU / 24))
WAVES = np.hstack([spokes((np.arange(24) + 0.5) * (TAU / 24) * k) for k in (2, 3, 5)]).T  # [6, 24]


class Scene:
    """An image with heights, its camera, and the random generator of the scene."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self.rng = rng
        # Twice the final size, against jagged edges; the fourth channel holds heights.
        self._image = Image.new("RGBA", (2 * width, 2 * height))
        self._draw = ImageDraw.Draw(self._image)
        self._scale = min(width, height) * rng.uniform(0.8, 2)  # pixels per unit
        self._middle = np.array([width, height]) + rng.normal(0, 0.25, 2) * self._scale
        self._cos, self._sin = spokes(rng.uniform(0, 0.9))  # of the camera's tilt
        self.view = spokes(rng.uniform(0, TAU) + np.array([0, TAU / 4]))

    def disc(self, count: int, radius: float) -> Points:
        """Return random points of a disc around the origin, `[count, 2]`."""
        away = radius * np.sqrt(self.rng.uniform(0, 1, count))
        return spokes(self.rng.uniform(0, TAU, count), away)

    def pick(self, colors: Sequence[Color]) -> Points:
        """Return one of some colors, slightly varied."""
        light, *tints = self.rng.normal(0, 14, 4)
        chosen = np.asarray(colors[int(self.rng.integers(len(colors)))], np.float64)
        return np.asarray(chosen + light + np.multiply(tints, 0.4))

    def shape(self, at: Points, half: Sequence[float], turn: float = 0, power: float = 2) -> Points:
        """Return bent, wobbly superellipses (`power` 2: ellipses) at points, `[..., 24, 2]`."""
        corner = np.sign(CIRCLE) * np.abs(CIRCLE) ** (2 / power) if power > 2 else CIRCLE
        corner = corner * np.asarray(half) * (1 + self.rng.normal(0, 0.015, 6) @ WAVES)[:, None]
        corner[:, 1] += WAVES[0] * self.rng.normal(0, 0.06) * np.ptp(half)
        return np.asarray(corner @ spokes([turn, turn + TAU / 4]) + at[..., None, :])

    def paint(self, outlines: Points, z: float, color: Color, layers: Points = FLAT) -> float:
        """Paint bodies on outlines `[..., K, 2]` at height `z`; return the height of their top."""
        flat = outlines.reshape(-1, 1, *outlines.shape[-2:])
        middle, (share, high, shade) = flat.mean(-2, keepdims=True), layers.T
        flat = ((flat - middle) * share[:, None, None] + middle) @ self.view
        level = np.broadcast_to(z + high, flat.shape[:2])[..., None]
        flat[..., 1] = flat[..., 1] * self._cos - level * self._sin
        corners = (flat * self._scale + self._middle).reshape(-1, 2 * outlines.shape[-2])
        inks = np.broadcast_to(color, (len(flat), 3))[:, None] * shade[:, None]
        inks = np.concatenate([inks, level * (255 / TALLEST)], -1).clip(0, 255).reshape(-1, 4)
        for polygon, ink in zip(corners.tolist(), inks.astype(int).tolist(), strict=True):
            self._draw.polygon(polygon, tuple(ink))
        return float(z + high[-1])

    def photograph(self) -> Image.Image:
        """Return the scene as RGB: with shadows, gloss, grain, and sometimes out of focus."""
        rng, (*colors, heights) = self.rng, (band.reduce(2) for band in self._image.split())
        far, turn = rng.uniform(0.05, 0.12), rng.uniform(0, TAU)  # of the shadows
        x, y = (spokes(turn) * far * self._scale).tolist()
        tall = np.asarray(heights.filter(ImageFilter.BoxBlur(1)), np.float32)
        down, right = np.gradient(tall)
        light = np.clip(1 - (right * np.float32(x) + down * np.float32(y)) / 50, 0.2, 1.3)
        # Shadows are the heights, moved and blurred, where they exceed those in place.
        moved = heights.transform(heights.size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y))
        moved = moved.filter(ImageFilter.BoxBlur(rng.uniform(0.1, 0.3) * far * self._scale))
        dark = np.asarray(ImageChops.subtract(moved, heights), np.float32)
        light *= np.maximum(1 - dark * np.float32(rng.uniform(0.01, 0.04)), np.float32(0.2))
        grain, strong = np.zeros_like(tall), rng.uniform(0.2, 1)
        for cells, size in ((6, 0.03), (40, 0.02), (110, 0.025)):
            field = Image.fromarray(rng.normal(0, size * strong, (cells, cells)).astype(np.float32))
            grain += np.asarray(field.resize(tall.shape[::-1], Image.Resampling.BICUBIC))
        sky, warm = np.float32(rng.uniform(0.2, 0.5)), rng.normal(0, 0.15)
        lamps = (rng.uniform(0.5, 1) * (1 + warm * np.array([1, 0, -1.2]))).astype(np.float32)
        for k, band in enumerate(colors):  # sRGB is nearly a square root: light adds up on squares
            seen = (np.asarray(band, np.float32) / 255 + grain) ** 2 * (light * lamps[k] + sky)
            seen = np.sqrt(seen / (0.86 + 0.36 * seen))  # the shoulder of a film curve
            colors[k] = Image.fromarray((seen * 255).clip(0, 255).astype(np.uint8))
        soft = ImageFilter.BoxBlur(rng.uniform(0.3, 1.5) * (rng.random() < 0.3))
        return Image.merge("RGB", colors).filter(soft)
