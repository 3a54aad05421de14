"""Perceptual hashes: alike for copies of an image, and not for other images."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from visionsweep.data.decoding import examine
from visionsweep.data.perceptual_hash import BITS, perceptual_hash


def scene(seed: int, width: int = 400, height: int = 300) -> Image.Image:
    """Smooth random colors, as different from those of other seeds as photographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stored = io.BytesIO()
    image.save(stored, kind, **options)
    return stored.getvalue()


def hash_of(content: bytes) -> int:
    found = examine(content, "an image").phash
    assert found is not None
    return found


def differing(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_reencoded_resized_and_gray_copies_have_nearly_the_same_hash():
    image = scene(0)
    original = hash_of(encoded(image))
    copies = {
        "JPEG": encoded(image, "JPEG", quality=30),
        "small": encoded(image.resize((100, 75)), "JPEG"),
        "stretched": encoded(image.resize((128, 128))),
        "alpha": encoded(image.convert("RGBA")),
        "palette": encoded(image.quantize(64)),
    }
    bits = {name: differing(original, hash_of(copy)) for name, copy in copies.items()}
    assert max(bits.values()) <= 4, bits
    gray = image.convert("L")
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    assert differing(hash_of(encoded(gray)), hash_of(encoded(deep, "TIFF"))) <= 2


def test_hashes_of_other_images_differ_in_about_half_of_the_bits():
    hashes = [hash_of(encoded(scene(seed))) for seed in range(30)]
    distances = [differing(a, b) for k, a in enumerate(hashes) for b in hashes[:k]]
    assert min(distances) > 12 and 28 < np.mean(distances) < 36


def test_mirroring_changes_the_bits_of_odd_horizontal_frequencies_alone():
    odd = sum(1 << bit for bit in range(0, BITS, 2))  # frequency 1, 3, ... of each row
    image = scene(1)
    mirrored = perceptual_hash(ImageOps.mirror(image))
    assert differing(mirrored, perceptual_hash(image) ^ odd) <= 2  # by rounding
    assert differing(mirrored, perceptual_hash(image)) > 20


def test_image_is_turned_upright_before_it_is_hashed():
    image, exif = scene(2), Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees to the right
    turned = image.transpose(Image.Transpose.ROTATE_90)
    assert differing(hash_of(encoded(turned, "JPEG", exif=exif)), hash_of(encoded(image))) <= 4
    assert differing(hash_of(encoded(turned, "JPEG")), hash_of(encoded(image))) > 12


@pytest.mark.parametrize("color", ["black", "white", "red"])
def test_image_of_one_color_has_no_frequency(color):
    assert hash_of(encoded(Image.new("RGB", (50, 40), color))) == 0
