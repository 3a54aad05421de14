"""Decoded images to upright 8-bit RGB, tile by tile, so that memory stays bounded."""

import math
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, ImageCms

from visionsweep.data import gray
from visionsweep.data.gray import GrayRange

LARGE_PIXELS = 50_000_000  # larger images are reduced by a whole factor to at most that many
MAX_SIDE = 65_535  # pixels; resizing needs memory for the product of old and new sides
_TILE_PIXELS = 1 << 21

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> tuple[Image.Transpose | None, str | None]:
    """Return what turns an image upright, and what is broken in its EXIF."""
    broken = "EXIF metadata cannot be read"
    try:
        exif = image.getexif()
        upright = _UPRIGHT.get(exif.get(ExifTags.Base.Orientation, 1))
        return upright, broken if image.info.get("exif") and not exif else None
    except Exception:  # as many kinds as there are for pixels
        return None, broken


def tiles_of(
    image: Image.Image, multiples: tuple[int, int]
) -> Iterator[tuple[tuple[int, int], Image.Image]]:
    """Cut an image into tiles, with their places; all but the last ones have sides of multiples."""
    width, height = image.size
    step_x = max(1, min(width, _TILE_PIXELS) // multiples[0]) * multiples[0]
    step_y = max(1, _TILE_PIXELS // step_x // multiples[1]) * multiples[1]
    if step_x >= width and step_y >= height:
        yield (0, 0), image
        return
    for top in range(0, height, step_y):
        for left in range(0, width, step_x):
            box = (left, top, min(left + step_x, width), min(top + step_y, height))
            yield (left, top), image.crop(box)


def to_rgb(
    image: Image.Image, gray_range: GrayRange | None, upright: Image.Transpose | None = None
) -> Image.Image:
    """Convert an image to RGB tile by tile, reduced if it is large, and turn it upright.

    Returns:
        The image itself if nothing is to be changed.
    """
    width, height = image.size
    factor = math.ceil(math.sqrt(width * height / LARGE_PIXELS))
    factors = (max(factor, -(-width // MAX_SIDE)), max(factor, -(-height // MAX_SIDE)))
    if factors == (1, 1) and image.mode == "RGB" and not image.has_transparency_data:
        return image if upright is None else image.transpose(upright)
    result = Image.new("RGB", (-(-width // factors[0]), -(-height // factors[1])))
    for (left, top), tile in tiles_of(image, factors):
        rgb = _tile_to_rgb(tile, gray_range)
        small = rgb if factors == (1, 1) else rgb.reduce(factors)
        result.paste(small, (left // factors[0], top // factors[1]))
    return result if upright is None else result.transpose(upright)


def _tile_to_rgb(image: Image.Image, gray_range: GrayRange | None) -> Image.Image:
    if gray.is_deep(image.mode):
        values = np.asarray(image)
        whole_depth = 0.0, 1.0 if image.mode == "F" else 65535.0
        scaled = gray.to_8_bit(values, gray_range or whole_depth)
        if isinstance(clear := image.info.get("transparency"), int):
            scaled[values == clear] = 255
        return Image.fromarray(scaled).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        if converted is None:
            raise ValueError("LAB colors cannot be converted")
        return converted
    return image.convert("RGB")
