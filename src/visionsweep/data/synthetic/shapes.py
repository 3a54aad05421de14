"""Flat outlines, points, and dabs as arrays of world coordinates, `float64[..., 2]`."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
TAU = 2 * math.pi
SQUARE = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


def rings(outline: Points, shares: Points | Sequence[float]) -> Points:
    """Return an outline `[K, 2]` scaled about its center by each share, `[N, K, 2]`."""
    middle = outline.sum(0) / len(outline)
    return np.asarray((outline - middle) * np.asarray(shares)[:, None, None] + middle)


def blob(rng: np.random.Generator, wobble: float = 0.05, points: int = 20) -> Points:
    """Return a wobbly circle of mean radius 1 around the origin, `[points, 2]`."""
    angle = np.arange(points) * (TAU / points)
    outline = np.stack([np.cos(angle), np.sin(angle)], -1)
    if not wobble:
        return outline
    waves, turns = np.array([2, 3, 5]), rng.uniform(0, TAU, 3)
    sizes = 1.6 * wobble * rng.standard_normal(3) / waves
    return np.asarray(outline * (1 + np.cos(angle[:, None] * waves + turns) @ sizes)[:, None])


def box(squareness: float = 4, points: int = 20) -> Points:
    """Return a superellipse of half side 1, a rounded square, `[points, 2]`."""
    angle = (np.arange(points) + 0.5) * (TAU / points)
    corner = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.asarray(np.sign(corner) * np.abs(corner) ** (2 / squareness))


def place(
    shape: Points, x: float, y: float, long: float, wide: float | None = None, angle: float = 0
) -> Points:
    """Return a unit shape scaled to half sizes `long` and `wide`, rotated, and moved to (x, y)."""
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.asarray(shape * (long, long if wide is None else wide) @ turn + (x, y))


def strip(x: float, y: float, long: float, wide: float, angle: float, bend: float) -> Points:
    """Return a bent band of half sizes `long` and `wide` around (x, y), `[12, 2]`."""
    along = np.linspace(-1, 1, 5)
    edge = np.stack([along * long, bend * long * (along**2 - 0.33)], -1)
    side = np.array([0.0, wide])
    tip = np.array([[long + wide, edge[-1, 1]]])
    outline = np.concatenate([edge - side, tip, (edge + side)[::-1], tip * (-1, 1)])
    return place(outline, x, y, 1, 1, angle)


def spokes(angle: Points, radius: float | Points) -> Points:
    """Return points at some angles `[N]` and distances from the origin, `[N, 2]`."""
    return np.asarray(np.stack([np.cos(angle), np.sin(angle)], -1) * np.reshape(radius, (-1, 1)))


def specks(
    rng: np.random.Generator, centers: Points, radius: float, stretch: float = 1.0
) -> Points:
    """Return a small, randomly rotated hexagon for each center `[N, 2]`, `[N, 6, 2]`."""
    angle = rng.uniform(0, TAU, (len(centers), 1))
    corner = np.arange(6) * (TAU / 6)
    size = radius * rng.uniform(0.6, 1.3, (len(centers), 1))
    a, b = size * stretch * np.cos(corner), size * np.sin(corner)
    turned = [a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)]
    return np.asarray(np.stack(turned, -1) + centers[:, None])


def inside(rng: np.random.Generator, count: int, x: float, y: float, radius: float) -> Points:
    """Return points uniformly distributed over a disc, `[count, 2]`."""
    angle, far = rng.uniform(0, TAU, count), radius * np.sqrt(rng.uniform(0, 1, count))
    return np.stack([x + far * np.cos(angle), y + far * np.sin(angle)], -1)
