"""predict.py of an exported model reads images to the pixels that training saw."""

import io
import runpy

import numpy as np
import pytest
from PIL import Image

from visionsweep.data.decoding import open_rgb
from visionsweep.data.transforms import Preprocessing
from visionsweep.export.card import code_of
from visionsweep.export.formats import FORMATS
from visionsweep.text.escaping import json_text

MEAN = STD = (0.5, 0.5, 0.5)
STEPS = {
    "square": Preprocessing((48, 48), None, "bilinear", MEAN, STD),
    "crop": Preprocessing((51,), 44, "bicubic", MEAN, STD),
    "odd crop": Preprocessing((40,), 37, "bilinear", MEAN, STD),
    "12 bits": Preprocessing((48,), 48, "bicubic", MEAN, STD, (0.0, 4095.0)),
}


def noise(mode: str, size: tuple[int, int] = (70, 93)) -> Image.Image:
    random = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(random.integers(0, 5000, size[::-1], np.uint16))
    if mode == "F":
        return Image.fromarray(random.random(size[::-1], np.float32))
    return Image.fromarray(random.integers(0, 256, (*size[::-1], 4), np.uint8)).convert(mode)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(noise("RGB"), "JPEG", exif=exif)


IMAGES = {
    "jpeg": saved(noise("RGB"), "JPEG"),
    "turned jpeg": turned(),
    "cmyk": saved(noise("CMYK"), "JPEG"),
    "gray": saved(noise("L"), "PNG"),
    "transparent": saved(noise("RGBA"), "PNG"),
    "gray and alpha": saved(noise("LA"), "PNG"),
    "palette": saved(noise("RGB").quantize(16), "PNG", transparency=3),
    "16 bits": saved(noise("I;16"), "PNG"),
    "float": saved(noise("F"), "TIFF"),
    "wide": saved(noise("RGB", (2000, 21)), "PNG"),
    "tall": saved(noise("RGB", (21, 500)), "PNG"),
}


@pytest.fixture(scope="module", params=STEPS)
def reader(request, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    folder, steps = tmp_path_factory.mktemp("code"), STEPS[request.param]
    (folder / "predict.py").write_text(code_of(FORMATS["onnx"]))
    (folder / "labels.json").write_text('["a", "b"]')
    (folder / "preprocessing.json").write_text(json_text(steps.facts()))
    return steps, runpy.run_path(str(folder / "predict.py"))["pixels_of"]


@pytest.mark.parametrize("name", IMAGES)
def test_pixels_are_those_of_training(reader, name):
    steps, pixels_of = reader
    expected = steps.pixels(open_rgb(IMAGES[name], steps.gray_range)).numpy()
    pixels = pixels_of(io.BytesIO(IMAGES[name]))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, expected)
