"""Gray images of more than 8 bits are scaled by one range that the training images decide."""

import io
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from visionsweep.config.schema import DataConfig
from visionsweep.data.dataset import ImageDataset
from visionsweep.data.decoding import examine, open_rgb
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.gray import GrayFacts, recorded_range
from visionsweep.data.split_loading import load_splits
from visionsweep.data.splits import Splits
from visionsweep.data.thumbnails import thumbnails
from visionsweep.data.transforms import resized
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.runs import fingerprint

Write = Callable[..., Path]
BACKBONE = BackboneSpec("resnet18", "random", "none", "abc", None, None)


def deep(values: Any, kind: str = "uint16") -> Image.Image:
    return Image.fromarray(np.asarray(values, dtype=kind))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write images, six of each class, that show a ramp from the lowest value to the highest."""

    def write(low: float, high: float, kind: str = "uint16", suffix: str = "tiff") -> Path:
        for name in ("cat", "dog"):
            folder = tmp_path / "scans" / name
            folder.mkdir(parents=True)
            for number in range(6):
                ramp = np.linspace(low, high, 64).reshape(8, 8)
                ramp[1, number] += (high - low) / 7 * (1 if name == "cat" else 2)  # each another
                ramp = np.clip(ramp, low, high)
                deep(ramp, kind).save(folder / f"{number}.{suffix}")
        return tmp_path / "scans"

    return write


def splits_of(root: Path, **settings: Any) -> Splits:
    settings = {"label": "folder", "source": "folder", "root": str(root)} | settings
    return load_splits(DataConfig(**settings))


def pixels(image: Image.Image, limits: tuple[float, float] | None) -> NDArray[np.uint8]:
    stored = io.BytesIO()
    image.save(stored, "TIFF")
    return np.asarray(open_rgb(stored.getvalue(), limits))[..., 0]


@pytest.mark.parametrize(
    "low, high, kind, suffix, expected",
    [
        (0, 65_000, "uint16", "png", (0, 65_535)),
        (10, 4000, "uint16", "tiff", (0, 4095)),
        (0, 1000, "uint16", "png", (0, 1023)),
        (3, 200, "uint16", "png", (0, 255)),
        (0, 4000, ">u2", "tiff", (0, 4095)),
        (-1024, 3071, "int32", "tiff", (-1024, 3071)),
        (0, 0.9, "float32", "tiff", (0, 1)),
        (0, 200, "float32", "tiff", (0, 255)),
        (-2.5, 7.5, "float32", "tiff", (-2.5, 7.5)),
        (0.25, 0.375, "float32", "tiff", (0.25, 0.375)),
    ],
)
def test_bit_depth_or_the_training_images_decide_the_range(
    write: Write, low: float, high: float, kind: str, suffix: str, expected: tuple[float, float]
) -> None:
    assert splits_of(write(low, high, kind, suffix)).gray_range == expected


def test_equal_values_look_equal_in_all_images() -> None:
    """Each image was scaled from its own maximum."""
    dark, bright = deep([[100, 200], [100, 250]]), deep([[100, 200], [100, 4000]])
    seen = [pixels(image, (0, 4095)) for image in (dark, bright)]
    assert (seen[0][:, 0] == seen[1][:, 0]).all() and seen[0][0, 1] == seen[1][0, 1] == 12
    assert [pixels(image, None)[0, 1] for image in (dark, bright)] == [1, 1]  # by 65,535


def test_gray_values_out_of_range_are_clipped_and_nan_is_black() -> None:
    values = [[np.nan, -np.inf, np.inf], [-7, 0.5, 9]]
    assert pixels(deep(values, "float32"), (0, 1)).tolist() == [[0, 0, 255], [0, 128, 255]]
    assert pixels(deep([[-1024, 1024, 3071]], "int32"), (-1024, 3072)).tolist() == [[0, 128, 255]]


def test_big_and_little_endian_files_give_the_same_pixels(tmp_path: Path) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 63
    little, big = (pixels(deep(values, kind), (0, 4095)) for kind in ("<u2", ">u2"))
    assert (little == big).all() and little.max() == 247
    (tmp_path / "a.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    assert (np.asarray(open_rgb(tmp_path / "a.pgm", (0, 4095)))[..., 0] == little).all()


def test_non_finite_gray_values_are_not_measured(write: Write) -> None:
    root = write(-2.5, 7.5, "float32")
    for path in root.glob("*/*.tiff"):
        values = np.array(Image.open(path))
        values[7, 6], values[7, 5] = np.nan, np.inf
        Image.fromarray(values).save(path)
    assert splits_of(root).gray_range == (-2.5, 7.5)


def test_configured_gray_range_is_used_and_has_no_effect_without_deep_images(
    write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert splits_of(write(0, 4000), gray_range=[100, 900]).gray_range == (100, 900)
    for path in (tmp_path / "scans").glob("*/*.tiff"):
        Image.fromarray(np.asarray(open_rgb(path, (0, 4095)))).save(path)
    with caplog.at_level(logging.WARNING):
        assert splits_of(tmp_path / "scans", gray_range=[100, 900]).gray_range is None
    assert "data.gray_range" in caplog.text


def test_gray_range_affects_fingerprint_and_key_only_if_there_is_one(
    write: Write, make_config: Callable[..., Any]
) -> None:
    config, splits = make_config(), splits_of(write(0, 4000))
    plain = replace(splits, gray_range=None)
    other = replace(config, data=replace(config.data, gray_range=[1.0, 2.0]))
    assert fingerprint.of(config, plain, BACKBONE) == fingerprint.of(other, plain, BACKBONE)
    assert fingerprint.of(config, plain, BACKBONE) != fingerprint.of(config, splits, BACKBONE)
    ordinary = resized(32)
    assert ordinary.facts() == {k: v for k, v in asdict(ordinary).items() if k != "gray_range"}
    recorded = replace(ordinary, gray_range=splits.gray_range).facts()
    assert recorded_range(recorded) == (0, 4095) and recorded_range(ordinary.facts()) is None
    for broken in ("x", [1], [2, 1], [0, float("nan")], {"a": 1}):
        assert recorded_range(recorded | {"gray_range": broken}) is None


def test_training_and_thumbnails_use_the_range(write: Write, tmp_path: Path) -> None:
    root = write(0, 4000)
    splits = splits_of(root)
    pixels_of = resized(8).pixels
    item, _ = ImageDataset(splits.val, pixels_of, splits.gray_range)[0]
    assert (item == pixels_of(open_rgb(splits.val[0].path, splits.gray_range))).all()
    assert item.max() > 230 > ImageDataset(splits.val, pixels_of)[0][0].max()
    bright, dark = (
        np.asarray(thumbnails(splits.val, tmp_path / "cache", limits).squares([0])[0]).max()
        for limits in (splits.gray_range, None)
    )
    assert bright > 200 > 50 > dark


def test_transparent_gray_value_becomes_white(tmp_path: Path) -> None:
    deep([[0, 7], [4095, 7]]).save(tmp_path / "a.png", transparency=7)
    seen = np.asarray(open_rgb(tmp_path / "a.png", (0, 4095)))[..., 0]
    assert seen.tolist() == [[0, 255], [255, 255]]


def test_image_without_a_finite_value_is_refused() -> None:
    stored = io.BytesIO()
    deep([[np.nan, np.inf], [-np.inf, np.nan]], "float32").save(stored, "TIFF")
    with pytest.raises(UnreadableImageError) as error:
        examine(stored.getvalue(), "empty.tif")
    assert error.value.where == "empty.tif" and "finite" in error.value.what


@pytest.mark.parametrize(
    "planted", ["[1,0,true]", "[0,1e308,true]", "[0,1e12,false]", "[0,NaN,true]", '["0",1,true]']
)
def test_impossible_gray_values_are_refused(planted: str) -> None:
    assert msgspec.json.decode("[0,4095,false]", type=GrayFacts) == GrayFacts(0, 4095, False)
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(planted, type=GrayFacts)
