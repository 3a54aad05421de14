"""Opening images: any format and mode ends as upright RGB, and what is broken is named."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from visionsweep.data import rgb
from visionsweep.data.decoding import open_rgb
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.image_facts import inspect
from visionsweep.data.images import digest_of
from visionsweep.data.listing import list_folder

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ROTATED_FOR_EXIF = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quarters() -> Image.Image:
    """A 40x20 picture with a colour of its own in each quarter."""
    picture = Image.new("RGB", (40, 20), WHITE)
    picture.paste(RED, (0, 0, 20, 10))
    picture.paste(GREEN, (20, 0, 40, 10))
    picture.paste(BLUE, (0, 10, 20, 20))
    return picture


def assert_is_quarters(image: Image.Image, tolerance: int = 0) -> None:
    assert image.mode == "RGB" and image.size == (40, 20)
    corners = {(5, 5): RED, (35, 5): GREEN, (5, 15): BLUE, (35, 15): WHITE}
    for place, colour in corners.items():
        difference = np.subtract(image.getpixel(place), colour)
        assert np.abs(difference).max() <= tolerance, (place, image.getpixel(place))


@pytest.mark.parametrize(
    "suffix", ["png", "bmp", "tiff", "jpg", "webp", "gif", "ppm", "tga", "ico", "jp2", "avif"]
)
def test_every_common_format_opens_as_rgb_with_its_pixels(tmp_path: Path, suffix: str) -> None:
    needs = {"webp": "webp", "jp2": "jpg_2000", "avif": "avif"}
    if suffix in needs and not features.check(needs[suffix]):
        pytest.skip(f"this Pillow was built without {suffix}")
    path = tmp_path / f"picture.{suffix}"
    if suffix == "ico":  # square by nature
        Image.new("RGB", (32, 32), RED).save(path)
        assert open_rgb(path).getpixel((16, 16)) == RED
    else:
        quarters().save(path)
        assert_is_quarters(open_rgb(path), tolerance=12 if suffix in ("jpg", "webp", "avif") else 0)
    assert list_folder(tmp_path).images == [path]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", ROTATED_FOR_EXIF)
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    how = ROTATED_FOR_EXIF[orientation]
    turned = quarters() if how is None else quarters().transpose(how)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{suffix}"
    turned.save(path, exif=exif, quality=95)
    assert_is_quarters(open_rgb(path), tolerance=12)


def test_palette_is_converted_to_its_colors(tmp_path: Path) -> None:
    quarters().convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    with Image.open(tmp_path / "palette.png") as stored:
        assert stored.mode == "P"
    assert_is_quarters(open_rgb(tmp_path / "palette.png"))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "RGB", "L"])
def test_transparent_parts_become_white(tmp_path: Path, mode: str) -> None:
    """Also where transparency is one palette entry or one colour rather than a channel."""
    path = tmp_path / ("picture.tiff" if mode == "PA" else "picture.png")
    black = Image.new("RGB", (8, 8), "black")
    if mode in ("RGBA", "LA"):
        picture = black.convert(mode)
        picture.putalpha(Image.new("L", (8, 8), 0))
        picture.putpixel((0, 0), (0, 255) if mode == "LA" else (0, 0, 0, 255))
        picture.save(path)
    elif mode == "PA":
        picture = black.convert("RGBA")
        picture.putalpha(Image.new("L", (8, 8), 0))
        picture.putpixel((0, 0), (0, 0, 0, 255))
        content = picture.convert("PA")
        assert rgb.to_rgb(content, None).getpixel((4, 4)) == WHITE
        assert rgb.to_rgb(content, None).getpixel((0, 0)) == (0, 0, 0)
        return
    else:
        colour = {"P": 1, "RGB": (9, 9, 9), "L": 9}[mode]
        picture = Image.new(mode, (8, 8), colour)
        if mode == "P":
            picture.putpalette([0, 0, 0, 9, 9, 9])
        picture.putpixel((0, 0), {"P": 0, "RGB": (0, 0, 0), "L": 0}[mode])
        picture.save(path, transparency=colour)
    seen = open_rgb(path)
    assert seen.mode == "RGB"
    assert seen.getpixel((4, 4)) == WHITE and seen.getpixel((0, 0)) == (0, 0, 0)


def test_half_transparent_red_becomes_pink(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 0, 0, 128)).save(tmp_path / "half.png")
    assert open_rgb(tmp_path / "half.png").getpixel((4, 4)) == (255, 127, 127)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grayscale_gives_three_equal_channels(tmp_path: Path, mode: str) -> None:
    Image.linear_gradient("L").convert(mode).save(tmp_path / "grey.png")
    pixels = np.asarray(open_rgb(tmp_path / "grey.png"))
    assert pixels.shape == (256, 256, 3)
    assert (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all()
    assert pixels[0].mean() < 1 and pixels[-1].mean() > 254


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_gray_is_scaled_and_not_clipped(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / f"deep.{suffix}")
    seen = np.asarray(open_rgb(tmp_path / f"deep.{suffix}")).astype(int)
    assert np.abs(seen[0, :, 0] - np.arange(256)).max() <= 1
    assert (seen[..., 0] == seen[..., 2]).all()


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_floating_point_gray_is_scaled_and_not_clipped(tmp_path: Path, white: float) -> None:
    ramp = np.linspace(0, white, 256, dtype=np.float32)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "float.tiff")
    seen = np.asarray(open_rgb(tmp_path / "float.tiff", (0, white))).astype(int)
    assert np.abs(seen[0, :, 0] - np.arange(256)).max() <= 1


def test_sixteen_bit_color_keeps_its_colors(tmp_path: Path) -> None:
    """Pillow writes no 16-bit RGB, so the file is put together by hand."""
    row = b"\0" + struct.pack(">3H", 65535, 32896, 0) * 8
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(row * 8)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    ]
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    assert open_rgb(tmp_path / "deep.png").getpixel((3, 3)) == (255, 128, 0)


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk_is_converted_to_its_colors(tmp_path: Path, suffix: str) -> None:
    quarters().convert("CMYK").save(tmp_path / f"print.{suffix}", quality=95)
    with Image.open(tmp_path / f"print.{suffix}") as stored:
        assert stored.mode == "CMYK"
    assert_is_quarters(open_rgb(tmp_path / f"print.{suffix}"), tolerance=12)


def test_lab_is_converted_to_its_colors(tmp_path: Path) -> None:
    """Photoshop writes such TIFF files; Pillow keeps a and b with 128 as their middle."""
    Image.new("LAB", (8, 8), (140, 190, 160)).save(tmp_path / "lab.tiff")
    with Image.open(tmp_path / "lab.tiff") as stored:
        assert stored.mode == "LAB"
    red, green, blue = open_rgb(tmp_path / "lab.tiff").getpixel((4, 4))
    assert red > green + 50 and red > blue + 50


def test_animation_is_read_as_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "moving.gif") as stored:
        assert stored.n_frames == 3
    assert open_rgb(tmp_path / "moving.gif").getpixel((4, 4)) == RED


def test_bytes_are_decoded_like_their_file(tmp_path: Path) -> None:
    quarters().save(tmp_path / "picture.png")
    assert_is_quarters(open_rgb((tmp_path / "picture.png").read_bytes()))


def broken_files(folder: Path) -> dict[str, Path]:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    made = {"empty": folder / "empty.jpg", "text": folder / "text.png"}
    made["empty"].touch()
    made["text"].write_text("not an image")
    for suffix in ("jpg", "png", "webp", "tiff", "gif", "bmp"):
        path = made[suffix] = folder / f"cut.{suffix}"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return made


@pytest.mark.parametrize("kind", ["empty", "text", "jpg", "png", "webp", "tiff", "gif", "bmp"])
def test_broken_image_is_named_in_the_error(tmp_path: Path, kind: str) -> None:
    path = broken_files(tmp_path)[kind]
    with pytest.raises(UnreadableImageError) as caught:
        open_rgb(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as an image: ")
    error = inspect([path])[path]
    assert isinstance(error, UnreadableImageError)
    assert str(error).startswith(f"{path}: cannot be read as an image: ")
    for message in (str(caught.value), str(error)):
        assert "BytesIO" not in message and not message.endswith(": ")


def test_missing_image_is_named_in_the_error(tmp_path: Path) -> None:
    missing = tmp_path / "gone.jpg"
    with pytest.raises(UnreadableImageError, match=r"gone\.jpg.*No such file"):
        open_rgb(missing)
    assert "gone.jpg: cannot be read: No such file" in str(inspect([missing])[missing])


def test_digest_depends_only_on_content(tmp_path: Path) -> None:
    quarters().save(tmp_path / "a.png")
    (tmp_path / "elsewhere").mkdir()
    copy = tmp_path / "elsewhere" / "another name.PNG"
    copy.write_bytes((tmp_path / "a.png").read_bytes())
    quarters().rotate(180).save(tmp_path / "b.png")
    inspected = inspect([tmp_path / "a.png", tmp_path / "b.png", copy])
    first, second, third = (
        inspected[p].digest for p in (tmp_path / "a.png", tmp_path / "b.png", copy)
    )
    assert first == third != second
    assert first == digest_of(copy.read_bytes())
    assert len(first) == 32 and int(first, 16) >= 0


def test_hidden_and_other_files_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    images = [tmp_path / "B.JPG", tmp_path / "a.png", tmp_path / "deeper" / "c.webp"]
    for path in [*images, tmp_path / ".hidden.jpg", tmp_path / "notes.txt", tmp_path / "Thumbs.db"]:
        path.touch()
    assert list_folder(tmp_path).images == images
