"""Time and peak memory of a cold run on 4,000 images, compared with 1,000.

    python benchmarks/growth.py

Four minutes on two cores, one of them for rendering 4,000 scenes at 96 pixels. Peak memory is the
kernel's peak resident set size. The allocator alone makes it differ by some 15 MB between two equal
runs, so the median of five turns is reported and every turn is printed.
"""

import json
import statistics
import tempfile
from pathlib import Path

from commands import SOURCE, Measured, measured

from visionsweep.data.synthetic.sample import CLASSES, jpeg

COUNTS = (1000, 4000)


def render(folder: Path) -> None:
    """Render one folder per number of images; the smaller one holds the first of the larger."""
    for label in CLASSES:
        for index in range(-(-max(COUNTS) // len(CLASSES))):
            picture = jpeg("train", label, index, 96)
            for count in COUNTS:
                if index < count / len(CLASSES):
                    path = folder / f"{count}" / label / f"{index:04}.jpg"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(picture)


def train(images: Path, folder: Path) -> Measured:
    """Train one cold run in a new folder."""
    folder.mkdir()
    return measured(
        SOURCE / "train.py", "data=folder", f"data.root={images}", "model=mobilenet_v3_small",
        "model.weights=null", "epochs=1", folder=folder,
    )  # fmt: skip


def main() -> None:
    """Print both ratios."""
    few, many = COUNTS
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        render(here)
        turns = []
        for turn in range(5):
            done = [train(here / str(count), here / f"{turn}-{count}") for count in COUNTS]
            turns.append(done)
            print(", ".join(f"{run.seconds:.1f} s {run.memory / 1e6:.0f} MB" for run in done))
        (record, *_) = here.glob("*/outputs/**/result.json")
        width = json.loads(record.read_bytes())["model"]["width"]
    seconds = [statistics.median(turn[i].seconds for turn in turns) for i in (0, 1)]
    memory = [statistics.median(turn[i].memory for turn in turns) for i in (0, 1)]
    features = (many - few) * width * 4
    print(
        f"{few:,} images {seconds[0]:.1f} s, {many:,} images {seconds[1]:.1f} s, "
        f"ratio {seconds[1] / seconds[0]:.2f}"
    )
    print(
        f"peak memory {memory[0] / 1e6:.0f} MB and {memory[1] / 1e6:.0f} MB: grown by "
        f"{(memory[1] - memory[0]) / features:.1f} times the {features / 1e6:.1f} MB of added "
        f"features, {width} numbers per image"
    )


if __name__ == "__main__":
    main()
