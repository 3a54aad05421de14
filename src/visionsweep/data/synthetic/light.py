"""Turn a painted stage into a photograph: light, shadows, highlights, and grain.

All are computed for the whole image from the surface that was painted along with the colors.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from visionsweep.data.synthetic.shapes import TAU
from visionsweep.data.synthetic.stage import TALLEST, Stage

Floats = NDArray[np.float32]


class Relief(NamedTuple):
    """The surface: height in pixels, gloss, and stains of dirt and grain, each `float32[H, W]`."""

    tall: Floats
    gloss: Floats
    stain: Floats


class Light(NamedTuple):
    """The light: of the lamp, of the sky, and mirrored, each `float32[H, W]`."""

    direct: Floats
    ambient: Floats
    shine: Floats


@cache
def _noise() -> tuple[Floats, Image.Image]:
    """Return noise of several scales with mean 0, `float32[512, 512]`, also as an image."""
    rng = np.random.default_rng(20)
    sheet = np.zeros((512, 512), np.float32)
    for cells, weight in ((16, 0.4), (48, 0.5), (120, 0.6), (256, 0.6), (512, 0.35)):
        field = Image.fromarray(rng.normal(0, weight, (cells, cells)).astype(np.float32))
        sheet += np.asarray(field.resize((512, 512), Image.Resampling.BICUBIC))
    return sheet, Image.fromarray((sheet * 40 + 128).clip(0, 255).astype(np.uint8))


def _soften(field: Floats, times: int) -> Floats:
    """Return a field `float32[H, W]` after `times` blurs by the 3-tap binomial filter."""
    for _ in range(times):
        wide = np.pad(field, 1, "edge")
        wide = wide[:, :-2] + wide[:, 2:] + (wide[:, 1:-1] + wide[:, 1:-1])
        field = (wide[:-2] + wide[2:] + (wide[1:-1] + wide[1:-1])) * np.float32(1 / 16)
    return field


def _enlarge(field: Floats, width: int, height: int) -> Floats:
    """Return a coarse field resized to `float32[height, width]`."""
    picture = Image.fromarray(field).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)


def _shade(tall: Floats, towards: tuple[float, float], low: float, soft: int) -> Floats:
    """Return the blocked share of the lamp's light, `float32[H, W]`, by marching towards it.

    A shadow is `low` long per pixel of height, and its edge is blurred `soft` times.
    """
    small, pad = np.ascontiguousarray(tall[::2, ::2]), 26
    wide = np.pad(small, pad, "edge")
    rows, columns = small.shape
    blocked = np.zeros_like(small)
    for step in (2, 4, 7, 11, 16, 24):
        right, down = pad + round(towards[0] * step), pad + round(towards[1] * step)
        rise = wide[down : down + rows, right : right + columns] - small
        rise -= np.float32(step * 2 / low)
        rise *= np.float32(1 / (1 + 0.35 * step))  # far edges throw a softer shadow
        np.maximum(blocked, rise, out=blocked)
    return _enlarge(_soften(np.minimum(blocked, 1), soft), tall.shape[1], tall.shape[0])


def _relief(stage: Stage) -> Relief:
    """Return the surface of a stage with roughness and wood grain."""
    rng, width, height, one = stage.rng, stage.width, stage.height, np.float32
    heights, gloss, rough, wood = (
        np.asarray(channel, np.float32) * one(1 / 255) for channel in stage.surface.split()
    )
    top, left = rng.integers(0, 512 - height), rng.integers(0, 512 - width)
    grain = _noise()[0][top : top + height, left : left + width]
    ax, ay = stage.axis
    ax, ay, along = ax * 0.9, ay * 0.9, 0.08  # noise stretched twelvefold along the wood
    matrix = (ax * along, ay * along, 60.0, -ay, ax, 250.0)
    fibres = _noise()[1].transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    streak: Floats = (np.asarray(fibres, np.float32) - one(128)) * one(1 / 40) * wood
    rubbed: Floats = rough * grain
    tall = _soften(heights * one(TALLEST * stage.scale), 2) + rubbed * one(0.5) + streak * one(0.1)
    return Relief(tall, gloss, rubbed * one(0.2) + streak * one(0.16))


def _light(rng: np.random.Generator, relief: Relief) -> Light:
    """Return the light of a lamp at the side, and of the sky, on a surface."""
    tall, one = relief.tall, np.float32
    height, width = tall.shape
    turn, low = rng.uniform(0, TAU), rng.uniform(0.5, 1.3)
    tx, ty, norm = math.cos(turn), math.sin(turn), 1 / math.sqrt(1 + low * low)
    gx, gy = np.zeros_like(tall), np.zeros_like(tall)
    np.subtract(tall[:, 2:], tall[:, :-2], out=gx[:, 1:-1])
    np.subtract(tall[2:], tall[:-2], out=gy[1:-1])
    slope = (gx * one(tx) + gy * one(ty)) * one(0.5)
    steep = one(1) / np.sqrt(one(1) + (gx * gx + gy * gy) * one(0.25))
    direct = np.maximum(one(1) - slope * one(low), 0) * steep * one(norm)
    middle = math.sqrt(2 + 2 * norm)  # of the half-way vector between light and viewer (Blinn 1977)
    shine = np.maximum(one((norm + 1) / middle) - slope * one(low * norm / middle), 0) * steep
    for _ in range(5):
        shine *= shine
    lit = one(1) - _shade(tall, (tx, ty), low, int(rng.integers(1, 4))) * one(rng.uniform(0.7, 1))
    ramp = np.linspace(-tx, tx, width) + np.linspace(-ty, ty, height)[:, None]
    direct *= lit * (1 + rng.uniform(0, 0.3) * ramp).astype(np.float32)
    shine *= lit * relief.gloss * one(rng.uniform(0.3, 0.8))
    coarse = np.ascontiguousarray(tall[::4, ::4])
    hollow = np.maximum(_soften(coarse, 6) - coarse, 0) * one(0.035)
    ambient = one(1) - np.minimum(_enlarge(hollow, width, height), one(0.5))
    return Light(direct, ambient, shine)


def _expose(stage: Stage, stain: Floats, light: Light) -> Image.Image:
    """Return the painted colors as film records them in this light, with grain."""
    rng, one = stage.rng, np.float32
    warm, exposure = rng.normal(0, 0.13), rng.uniform(0.8, 1.2)
    fill, contrast = rng.uniform(0.3, 0.55), rng.uniform(0.88, 1.12)
    bright = 0.5 * (1 - contrast) + rng.normal(0.02, 0.03)
    speckle = rng.integers(-128, 128, stain.shape, np.int8) * one(rng.uniform(0, 0.00035))
    speckle += one(bright)
    planes = []
    for channel, brown, gain in zip(
        stage.color.reduce(2).split(), (0.75, 1.05, 1.3), (1, 0, -1.2), strict=True
    ):
        plane = np.asarray(channel, np.float32) * (one(1 / 255) - stain * one(brown / 255))
        plane *= plane  # sRGB is close to a square root: light adds up on the squares
        key, sky = one(exposure * (1 + warm * gain)), one(fill * (1 - warm * gain / 2))
        plane *= light.direct * key + light.ambient * sky
        plane += light.shine
        # The shoulder of the film curve: white plates keep their relief.
        plane /= one(0.86) + one(0.36) * plane
        seen = np.sqrt(np.maximum(plane, 0)) * one(contrast) + speckle
        planes.append(Image.fromarray((seen * one(255)).clip(0, 255).astype(np.uint8)))
    return Image.merge("RGB", planes)


def photograph(stage: Stage) -> Image.Image:
    """Return a stage as an RGB photograph, lit from one side, and sometimes out of focus."""
    relief = _relief(stage)
    light = _light(stage.rng, relief)
    photo = _expose(stage, relief.stain, light)
    if stage.rng.random() < 0.3:
        photo = photo.filter(ImageFilter.BoxBlur(stage.rng.uniform(0.4, 1.0)))
    return photo
