"""Decode one image file into upright 8-bit RGB."""

import io
from functools import cache
from pathlib import Path

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from visionsweep.errors import UserError


class UnreadableImageError(UserError):
    """An image file that Pillow cannot decode."""


@cache
def image_suffixes() -> frozenset[str]:
    """Return the file name endings, `.jpg` and the like, of every format Pillow reads."""
    return frozenset(s for s, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def open_rgb(source: Path | bytes) -> Image.Image:
    """Open an image as upright RGB, whatever its mode.

    The EXIF orientation is applied, transparent parts are laid on white, 16-bit and floating-point
    grey values are scaled to 8 bits, and of an animation the first frame is taken.

    Args:
        source: a file, or a file's bytes.

    Raises:
        UnreadableImageError: if there is no such file or it is not an image that Pillow can decode.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # a broken file ends in nearly any exception, SyntaxError included
        name = "the image" if isinstance(source, bytes) else str(source)
        reason = (
            "its content is in no format that Pillow knows"
            if isinstance(error, UnidentifiedImageError)
            else getattr(error, "strerror", None) or str(error) or type(error).__name__
        )
        raise UnreadableImageError(f"{name}: cannot be read as an image: {reason}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow would clip at 255; 16-bit images use 65,535 as white, floating-point ones 1.0.
        _, high = image.getextrema()
        assert isinstance(high, int | float)
        white = 255 if high <= 255 else 65535
        if image.mode == "F" and high <= 1:
            white = 1
        return image.convert("F").point(lambda value: value * (255 / white)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white_sheet = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white_sheet, image).convert("RGB")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    return image.convert("RGB")
