"""What an image may be and cost: formats, kinds of files, numbers of pixels, memory."""

import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from ast import literal_eval
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionsweep.data import decoding, rgb
from visionsweep.data.decoding import open_rgb
from visionsweep.data.formats import IMAGE_SUFFIXES, UnreadableImageError
from visionsweep.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, resized

PRETRAINED = Preprocessing((256,), 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of_zeros(width: int, height: int, colors: int = 0) -> bytes:
    """A gray (0) or RGB (2) PNG whose rows are packed a thousand times smaller."""
    header = struct.pack(">IIBBBBB", width, height, 8, colors, 0, 0, 0)
    row = bytes(1 + width * (3 if colors else 1))
    packer = zlib.compressobj(1)
    data = b"".join([packer.compress(row) for _ in range(height)]) + packer.flush()
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


LINES = {"1 x 4000": (1, 4000), "4000 x 1": (4000, 1), "1 x 60,000": (1, 60_000)} | {
    "1 x 1,000,000": (1, 1_000_000)
}
MEASURE = """
import sys
from pathlib import Path
from PIL import Image
from visionsweep.data.decoding import open_rgb
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, resized

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1000

pretrained = Preprocessing((256,), 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
transforms = [pretrained.pixels, resized(224).pixels]
[transform(Image.new("RGB", (8, 8))) for transform in transforms]
for path in sorted(Path(sys.argv[1]).iterdir()):
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = peak()
    try:
        image = open_rgb(path)
        report = [image.size, *(tuple(transform(image).shape) for transform in transforms)]
    except UnreadableImageError as error:
        report = [error.what, error.hint]
    image = None
    print(repr((path.stem, peak() - before, report)))
"""


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[float, list[object]]]:
    """Megabytes that images cost in a process of its own, and what became of them."""
    folder = tmp_path_factory.mktemp("large")
    for name, size in LINES.items():
        (folder / f"{name}.png").write_bytes(png_of_zeros(*size))
    Image.linear_gradient("L").resize((12_000, 9_000)).save(folder / "JPEG.jpg", quality=50)
    (folder / "PNG.png").write_bytes(png_of_zeros(11_000, 8_500, 2))
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return {
        name: (growth, said) for name, growth, said in map(literal_eval, done.stdout.splitlines())
    }


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".eps"])
def test_postscript_starts_no_ghostscript_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    """With a program called gs that leaves a mark when it is run."""
    mark = tmp_path / "ran"
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    path = tmp_path / f"photo{suffix}"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(UnreadableImageError) as caught:
        open_rgb(path)
    assert caught.value.where == str(path)
    assert not mark.exists()
    code = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"
    subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, check=False)
    assert mark.exists() or shutil.which("gs") != str(program)  # so that it would have been seen


@pytest.mark.parametrize(
    "head", [b"8BPS\0\1" + bytes(40), b"SIMPLE  =" + b" " * 100, b"\xd7\xcd\xc6\x9a" + bytes(40)]
)
def test_formats_outside_the_list_are_refused(head: bytes) -> None:
    """Photoshop, FITS, Windows metafile: Pillow knows all of them."""
    with pytest.raises(UnreadableImageError):
        open_rgb(head)
    assert not IMAGE_SUFFIXES & {".psd", ".fits", ".wmf", ".eps", ".pdf"}


def test_pipes_and_devices_are_refused_without_waiting_and_links_to_files_are_followed(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "real.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    for name in ("pipe.jpg", "zero.jpg"):
        with pytest.raises(UnreadableImageError) as caught:
            open_rgb(tmp_path / name)
        assert caught.value.where == str(tmp_path / name) and "regular" in caught.value.what
    assert open_rgb(tmp_path / "link.png").getpixel((0, 0)) == (255, 0, 0)


def test_file_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(decoding.MAX_FILE_BYTES + 1)
    with pytest.raises(UnreadableImageError, match="limit is 256,000,000"):
        open_rgb(path)


def test_decompression_bomb_is_refused_by_its_header(costs) -> None:
    growth, (what, hint) = costs["bomb"]
    assert "30,000 x 30,000 pixels" in what and "limit is 600 MB" in what and hint
    assert growth < 50


@pytest.mark.parametrize("name", LINES)
def test_line_of_pixels_needs_little_memory(costs, name: str) -> None:
    growth, (_, *shapes) = costs[name]
    assert shapes == [(3, 224, 224)] * 2 and growth < 200


def test_jpeg_of_108_million_pixels_is_reduced_during_decoding(costs) -> None:
    growth, (size, *_) = costs["JPEG"]
    assert size == (6000, 4500) and growth < 300


def test_png_of_94_million_pixels_needs_less_than_600_megabytes(costs) -> None:
    growth, (size, *_) = costs["PNG"]
    assert size == (5500, 4250) and growth < 600


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "I;16", "F"])
def test_tiles_and_reduction_do_not_change_images_of_ordinary_size(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 4), np.uint8)
    if mode in ("I;16", "F"):
        image = Image.fromarray(noise[..., 0].astype("uint16" if mode != "F" else "float32") * 9)
    else:
        image = Image.fromarray(noise).convert("RGB" if mode == "P" else mode)
        image = image.quantize(64) if mode == "P" else image
    stored = io.BytesIO()
    image.save(stored, "TIFF")
    whole = open_rgb(stored.getvalue(), (0, 2295))
    monkeypatch.setattr(rgb, "_TILE_PIXELS", 100)
    assert open_rgb(stored.getvalue(), (0, 2295)).tobytes() == whole.tobytes()
    monkeypatch.setattr(rgb, "LARGE_PIXELS", 2000)
    small = open_rgb(stored.getvalue(), (0, 2295))
    assert small.tobytes() == whole.reduce(2).tobytes()


def test_only_elongated_images_are_cropped_before_resizing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 630, 3), np.uint8)
    image, longer = Image.fromarray(noise), Image.fromarray(np.concatenate([noise] * 3, 1))
    ordinary = Preprocessing((256,), 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD).pixels(image)
    resize = image.resize((4032, 256), Image.Resampling.BILINEAR)
    left = round((4032 - 224) / 2)
    expected = np.asarray(resize.crop((left, 16, left + 224, 240))).transpose(2, 0, 1)
    assert (ordinary.numpy() == expected).all()
    assert PRETRAINED.pixels(longer).shape == resized(224).pixels(longer).shape == (3, 224, 224)
    middle = longer.crop((630, 0, 1260, 40))
    far = (PRETRAINED.pixels(longer).float() - PRETRAINED.pixels(middle).float()).abs().max()
    assert far <= torch.tensor(130.0)


def test_heic_photograph_is_read_or_refused_with_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    heif.from_pillow(Image.new("RGB", (64, 48), (255, 0, 0))).save(path, quality=95)
    seen = open_rgb(path)
    assert (
        seen.size == (64, 48) and np.abs(np.subtract(seen.getpixel((9, 9)), (255, 0, 0))).max() < 9
    )
    assert "HEIF" not in Image.OPEN and {".heic", ".avif"} <= IMAGE_SUFFIXES
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImageError) as caught:
        open_rgb(path)
    assert "pillow-heif" in caught.value.what and "pip install pillow-heif" in str(
        caught.value.hint
    )


def test_jpeg_with_too_many_scans_is_refused_and_a_progressive_one_is_read() -> None:
    stored = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(stored, "JPEG", progressive=True)
    content = stored.getvalue()
    assert open_rgb(content).size == (256, 256)
    last_scan = content[content.rfind(b"\xff\xda") : content.rfind(b"\xff\xd9")]
    with pytest.raises(UnreadableImageError) as error:
        open_rgb(content[:-2] + 300 * last_scan + content[-2:], where="scans.jpg")
    assert error.value.where == "scans.jpg" and "scans" in error.value.what
