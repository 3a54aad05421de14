"""Four thousand images against one thousand, cold: does time grow in proportion, and memory hardly?

    python benchmarks/growth.py

Five minutes on two cores, half of it drawing 4,000 scenes at 96 pixels. Peak memory is the largest
resident set seen, sampled every 20 ms; it may grow by three times the size of the added features.
The allocator alone makes it differ by some 15 MB between two equal runs, so the median of five
turns is taken, and every turn is printed.
"""

import statistics
import tempfile
import threading
import time
from pathlib import Path

import psutil
from commands import SOURCE, run

from visionsweep.data.sample import CLASSES, jpeg

WIDTH = 576  # features of mobilenet_v3_small


def measure(images: Path, folder: Path) -> tuple[float, int]:
    """Return the seconds of one cold run and the peak of its resident memory in bytes."""
    folder.mkdir()
    peak = [0]
    done = threading.Event()

    def sample(pid: int) -> None:
        while not done.is_set():
            try:
                peak[0] = max(peak[0], psutil.Process(pid).memory_info().rss)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.02)

    def watch(pid: int, _line: str) -> None:
        if not peak[0]:
            peak[0] = 1
            threading.Thread(target=sample, args=(pid,), daemon=True).start()

    seconds = run(
        SOURCE / "train.py", "data=folder", f"data.root={images}", "model=mobilenet_v3_small",
        "model.weights=null", "epochs=1", folder=folder, on_line=watch,
    )  # fmt: skip
    done.set()
    return seconds, peak[0]


def main() -> None:
    """Print both ratios."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        for label in CLASSES:
            for index in range(1334):
                for count in (1000, 4000):
                    if index < count / 3:
                        path = here / f"{count}" / label / f"{index:04}.jpg"
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(jpeg("train", label, index, 96))
        turns = [
            [measure(here / str(count), here / f"{turn}-{count}") for count in (1000, 4000)]
            for turn in range(5)
        ]
    for turn in turns:
        print(", ".join(f"{seconds:.1f} s {memory / 1e6:.0f} MB" for seconds, memory in turn))
    few, many = (statistics.median(turn[i][0] for turn in turns) for i in (0, 1))
    few_memory, many_memory = (statistics.median(turn[i][1] for turn in turns) for i in (0, 1))
    features = 3000 * WIDTH * 4
    print(f"1,000 images {few:.1f} s, 4,000 images {many:.1f} s, ratio {many / few:.2f}")
    print(
        f"peak memory {few_memory / 1e6:.0f} MB and {many_memory / 1e6:.0f} MB: grown by "
        f"{(many_memory - few_memory) / features:.1f} times the features' {features / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
