"""Predict three test images of the best run, one of each class: the demo's last step.

python scripts/predict_test_images.py [OUTPUTS]
"""

import csv
import subprocess
import sys
from pathlib import Path

from visionsweep.entry import run_command
from visionsweep.selection import choose_run


def main(arguments: list[str]) -> int:
    """Call `src/predict.py` on the first test image of up to three classes."""
    run, _ = choose_run(Path(arguments[0] if arguments else "outputs"))
    first: dict[str, str] = {}
    with (run.directory / "predictions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["split"] == "test":
                first.setdefault(row["true"], row["image"])
    predict = Path(__file__).resolve().parent.parent / "src" / "predict.py"
    images = list(first.values())[:3]
    return subprocess.run(
        [sys.executable, predict, *images, "--run", run.directory, "--top", "3"], check=False
    ).returncode


if __name__ == "__main__":
    run_command(main)
