"""Supported raster formats: their suffixes, signatures, and decoders."""

import io
import struct
from collections.abc import Callable

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
    features,
)

from visionsweep.errors import UserError

_Open = Callable[[io.BytesIO, str], ImageFile.ImageFile]
# Suffixes and class of each format; an MPO, several JPEGs in one file, is opened as its first.
# No class starts another program, as EPS does; only plain PPM is decoded in pure Python.
_FORMATS: dict[str, tuple[str, _Open | None]] = {
    "JPEG": (".jpg .jpeg .jpe .jfif .mpo", JpegImagePlugin.JpegImageFile),
    "PNG": (".png .apng", PngImagePlugin.PngImageFile),
    "WebP": (".webp", WebPImagePlugin.WebPImageFile),
    "TIFF": (".tif .tiff", TiffImagePlugin.TiffImageFile),
    "GIF": (".gif", GifImagePlugin.GifImageFile),
    "BMP": (".bmp .dib", BmpImagePlugin.BmpImageFile),
    "PPM": (".ppm .pgm .pbm .pnm .pfm", PpmImagePlugin.PpmImageFile),
    "JPEG 2000": (".jp2 .j2k .j2c .jpc .jpf .jpx", Jpeg2KImagePlugin.Jpeg2KImageFile),
    "AVIF": (".avif .avifs", AvifImagePlugin.AvifImageFile),
    "HEIC": (".heic .heif .hif .heics .heifs", None),  # of pillow-heif
    "ICO": (".ico", IcoImagePlugin.IcoImageFile),
    "TGA": (".tga", TgaImagePlugin.TgaImageFile),
}
# Includes HEIC and AVIF even if their decoders are not installed, so that such files are reported.
IMAGE_SUFFIXES = frozenset(suffix for names, _ in _FORMATS.values() for suffix in names.split())
_SIGNATURES: dict[bytes, str] = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\0\0\1\0": "ICO",
} | {b"P" + bytes([kind]): "PPM" for kind in b"123456fF"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1"}
_TGA_HEADER = struct.Struct("<BBB9xHHBB")


class UnreadableImageError(UserError):
    """An image file that cannot be decoded."""


def format_of(content: bytes) -> str | None:
    """Return the format of a file by its first bytes, or None."""
    for signature, name in _SIGNATURES.items():
        if content.startswith(signature):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    if content[4:8] == b"ftyp":
        length = min(int.from_bytes(content[:4], "big"), 256)
        brands = {content[8:12], *(content[i : i + 4] for i in range(16, length, 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIC_BRANDS:
            return "HEIC"
    return "TGA" if _may_be_tga(content) else None


def _may_be_tga(content: bytes) -> bool:
    """Return whether the header fits TGA, which has no signature."""
    if len(content) < _TGA_HEADER.size:
        return False
    _, palette, kind, width, height, depth, _ = _TGA_HEADER.unpack_from(content)
    depths = {1: (8,), 2: (16, 24, 32), 3: (1, 8, 16)}.get(kind & ~8, ())
    return palette == (kind in (1, 9)) and width > 0 and height > 0 and depth in depths


def open_header(content: bytes, kind: str) -> ImageFile.ImageFile:
    """Return an image of which only the header has been read; `load` decodes the pixels.

    `PIL.Image.open` would try every registered format, and refuse sizes that can be decoded at
    reduced resolution.

    Raises:
        UnreadableImageError: if the decoder of the format is not installed.
        Exception: any type, if the header is broken.
    """
    opener = _FORMATS[kind][1]
    if opener is None:
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise UnreadableImageError(
                "HEIC images need the package pillow-heif",
                hint="Install it: pip install pillow-heif (or visionsweep[heic]), or convert them.",
            ) from error
        opened: ImageFile.ImageFile = HeifImageFile(io.BytesIO(content), "")
        return opened
    needs = {"AVIF": "avif", "WebP": "webp", "JPEG 2000": "jpg_2000"}.get(kind)
    if needs and not features.check(needs):
        raise UnreadableImageError(
            f"this Pillow was built without {kind}",
            hint="Install one of the wheels on PyPI: pip install --force-reinstall 'pillow>=11.3'.",
        )
    return opener(io.BytesIO(content), "")
