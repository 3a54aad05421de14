"""Files whose pixels are whole are used whatever is wrong beside them; others are refused."""

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from visionsweep.config.schema import DataConfig
from visionsweep.data.decoding import decode
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.split_loading import load_splits

JUNK_EXIF = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 50


def picture(seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 15, 3), np.uint8)
    return Image.fromarray(noise).resize((150, 120), Image.Resampling.BICUBIC)


def saved(kind: str, **options: object) -> bytes:
    stored = io.BytesIO()
    picture().save(stored, kind, **options)
    return stored.getvalue()


def jpeg_with(marker: int, body: bytes, **options: object) -> bytes:
    content = saved("JPEG", **options)
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + content[2:]


def chunk(name: bytes, body: bytes, valid: bool = True) -> bytes:
    checksum = zlib.crc32(name + body) ^ (not valid)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def png_with(*chunks: bytes, **options: object) -> bytes:
    content = saved("PNG", **options)
    return content[:33] + b"".join(chunks) + content[33:]


def webp_with_cut_metadata(cut: int) -> bytes:
    return saved("WEBP", exif=JUNK_EXIF, xmp=b"<x:xmpmeta" * 40)[:-cut]


WHOLE = {
    "JPEG, EXIF": jpeg_with(0xE1, JUNK_EXIF),
    "JPEG, ICC": jpeg_with(0xE2, b"ICC_PROFILE\0"),
    "JPEG, Photoshop": jpeg_with(0xED, b"Photoshop 3.0\x008BIM\x03\xed"),
    "JPEG, progressive, ICC": jpeg_with(0xE2, b"ICC_PROFILE\0", progressive=True),
    "JPEG, no end marker": saved("JPEG")[:-2],
    "JPEG, half an end marker": saved("JPEG")[:-1],
    "JPEG, progressive, no end marker": saved("JPEG", progressive=True)[:-2],
    "JPEG, no end marker, ICC": jpeg_with(0xE2, b"ICC_PROFILE\0")[:-2],
    "JPEG 2000, no end marker": saved("JPEG2000")[:-2],
    "PNG, checksum of a text": png_with(chunk(b"tEXt", b"a\0b", valid=False)),
    "PNG, checksum of gamma": png_with(chunk(b"gAMA", b"\0\0\0\1", valid=False)),
    "PNG, short gamma": png_with(chunk(b"gAMA", b"\0")),
    "PNG, oversized text": png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 5_000_000))),
    "PNG, oversized ICC": png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(b"x" * 5_000_000))),
    "PNG, EXIF": png_with(chunk(b"eXIf", JUNK_EXIF[6:])),
    "PNG, animation": png_with(chunk(b"acTL", bytes(8)), chunk(b"fcTL", b"\0\0\0\7" + bytes(22))),
    "PNG, no end marker": saved("PNG")[:-12],
    "PNG, no end marker, no checksum": saved("PNG")[:-20],
    "PNG, no end marker, text": png_with(chunk(b"tEXt", b"a\0b", valid=False))[:-12],
    "WebP, cut in EXIF": webp_with_cut_metadata(450),
    "WebP, cut in XMP": webp_with_cut_metadata(50),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_all_pixels_are_kept_and_the_fault_is_named(kind: str) -> None:
    form, *faults = kind.split(", ")
    options = {"progressive": True} if "progressive" in faults else {}
    decoded = decode(WHOLE[kind])
    assert (
        decoded.image.tobytes() == decode(saved(form.replace(" ", ""), **options)).image.tobytes()
    )
    assert decoded.repair


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"[:1]])
@pytest.mark.parametrize("cut", [3, 5, 8, 20, 200, 1000])
def test_jpeg_with_missing_pixels_is_refused(cut: int, progressive: bool, end: bytes) -> None:
    content = saved("JPEG", progressive=progressive)
    with pytest.raises(UnreadableImageError) as caught:
        decode(content[:-cut] + end, where="photo")
    assert caught.value.where == "photo" and "JPEG" in caught.value.what


def test_progressive_jpeg_that_ends_between_scans_is_refused() -> None:
    content = saved("JPEG", progressive=True)
    last_scan = content.rindex(b"\xff\xda")
    tables = content.rindex(b"\xff\xc4", 0, last_scan)
    with pytest.raises(UnreadableImageError):
        decode(content[:tables])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "TIFF", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_other_formats_with_missing_pixels_are_refused(kind: str, share: float) -> None:
    content = saved(kind)
    with pytest.raises(UnreadableImageError):
        decode(content[: int(share * len(content))])


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT"])
def test_png_with_a_damaged_critical_chunk_is_refused(name: bytes) -> None:
    content = bytearray(saved("PNG"))
    content[content.index(name) + 24 if name == b"IDAT" else content.index(name) + 7] ^= 0xFF
    with pytest.raises(UnreadableImageError):
        decode(bytes(content))


def test_interlaced_and_palette_png_are_rebuilt_with_transparency() -> None:
    image = picture().quantize(16)
    stored = io.BytesIO()
    image.save(stored, "PNG", transparency=3)
    whole = stored.getvalue()
    broken = whole[:33] + chunk(b"tEXt", b"a\0b", valid=False) + whole[33:]
    assert decode(broken).repair
    assert decode(broken).image.tobytes() == decode(whole).image.tobytes()


def test_orientation_survives_the_repair_of_a_png() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = saved("PNG", exif=exif.tobytes())
    broken = whole[:33] + chunk(b"tEXt", b"a\0b", valid=False) + whole[33:]
    assert decode(broken).image.size == (120, 150)
    assert decode(broken).image.tobytes() == decode(whole).image.tobytes()


def test_repaired_images_are_counted_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(8):
            path = tmp_path / "photos" / name / f"{number}.jpg"
            picture(seed=number + (name == "dog") * 100).save(path)
            if number < 4:
                path.write_bytes(path.read_bytes()[:-2])
    config = DataConfig(label="folder", source="folder", root=str(tmp_path / "photos"))
    memory = tmp_path / "memory" / "m.json"
    with caplog.at_level(logging.WARNING):
        splits = load_splits(config, memory)
        load_splits(config, memory)
    assert sum(splits.counts.values()) == 16 and not splits.skipped
    (warning,) = [r.getMessage() for r in caplog.records if "metadata" in r.getMessage()]
    assert ": 8\n" in warning and warning.count(".jpg: the end marker") == 5


def test_settings_of_pillow_are_unchanged() -> None:
    before = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, sorted(Image.OPEN))
    for content in WHOLE.values():
        decode(content)
    after = (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, sorted(Image.OPEN))
    assert after == before and not before[0]
