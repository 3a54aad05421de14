"""Time of an epoch and size of a run with 1,000 classes, and a cold sweep over 20,000 images.

    python benchmarks/many_classes.py [--before WORKTREE] [--turns 3]

Five minutes on two cores, with `--before` ten. The images are colored patterns of 64 pixels, alike
within a class. A run of 1,000 classes with 10 images each has 6,000 training images. Its second
epoch is timed: of the five replicates alone, and with eight heads on bootstrap samples, as by
default. With `--before`, the folder of another checkout, both train in turns on the same features.
The cold sweep, `epochs=1,2` on 10 classes with 2,000 images each, includes Python's start,
decoding, extraction, and the report.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from commands import SOURCE, run
from PIL import Image

PIXELS = 64
SETTINGS = ("data=folder", "model=effnetlite0", "transform=resize", f"transform.size={PIXELS}")


def draw(root: Path, classes: int, images: int) -> Path:
    """Draw images of each class: a pattern of 4 x 4 colors, changed for each image, enlarged."""
    for label in range(classes):
        pattern = np.random.default_rng(label).integers(0, 256, (4, 4, 3))
        folder = root / f"class_{label:04}"
        folder.mkdir(parents=True)
        for index in range(images):
            changes = np.random.default_rng((label, index)).integers(-90, 91, pattern.shape)
            colors = np.clip(pattern + changes, 0, 255).astype(np.uint8)
            image = Image.fromarray(colors).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC)
            image.save(folder / f"{index:04}.jpg", quality=90)
    return root


def train(source: Path, images: Path, folder: Path, *settings: str) -> float:
    """Train with a checkout's `src`, and return the seconds it took."""
    return run(source / "train.py", *SETTINGS, f"data.root={images}", *settings, folder=folder)


def second_epoch(source: Path, images: Path, here: Path, bootstrap: int) -> tuple[float, int]:
    """Return the seconds of a run's second epoch, and the bytes of its directory."""
    with tempfile.TemporaryDirectory(dir=here) as outputs:
        heads = f"evidence.training_bootstrap={bootstrap}"
        train(source, images, here, "epochs=2", heads, f"outputs_dir={outputs}")
        [record] = Path(outputs).glob("**/result.json")
        size = sum(file.stat().st_size for file in record.parent.glob("**/*") if file.is_file())
        return json.loads(record.read_bytes())["history"][1]["seconds"], size


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    sources = {"now": SOURCE} | ({"before": options.before / "src"} if options.before else {})
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        many = draw(here / "many", 1000, 10)
        for bootstrap in (0, 8):
            turns = [
                {
                    name: second_epoch(source, many, here, bootstrap)
                    for name, source in sources.items()
                }
                for _ in range(options.turns)
            ]
            for name in sources:
                seconds = statistics.median(turn[name][0] for turn in turns)
                size = turns[0][name][1] / 1e6
                print(f"{name}: {5 + bootstrap} heads {seconds:.1f} s per epoch, run {size:.1f} MB")
            if options.before:
                ratio = statistics.median(turn["before"][0] / turn["now"][0] for turn in turns)
                print(f"before / now, median of the turns: {ratio:.2f}", flush=True)
        cold = draw(here / "cold", 10, 2000)
        (here / "empty").mkdir()
        sweep = ("-m", "epochs=1,2", "outputs_dir=outputs")
        seconds = train(SOURCE, cold, here / "empty", *sweep)
        print(f"cold sweep of two runs, 20,000 images of {PIXELS} pixels: {seconds:.1f} s")


if __name__ == "__main__":
    main()
