"""Predict three test images of the best run, one of each class: the demo's last step.

python scripts/predict_test_images.py [OUTPUTS]
"""

import subprocess
import sys
from pathlib import Path

from visionsweep.entry import run_command
from visionsweep.errors import UserError
from visionsweep.selection import choose_run
from visionsweep.tracking import predictions


def main(arguments: list[str]) -> int:
    """Call `src/predict.py` on the first test image of up to three classes."""
    run, _ = choose_run(Path(arguments[0] if arguments else "outputs"))
    rows = predictions.read(run.directory, "test")
    if rows is None:
        raise UserError("no readable predictions of test images", where=run.directory)
    first: dict[int, str] = {}
    for image, label in zip(rows.images, rows.labels.tolist(), strict=True):
        first.setdefault(label, image)
    predict = Path(__file__).resolve().parent.parent / "src" / "predict.py"
    images = list(first.values())[:3]
    return subprocess.run(
        [sys.executable, predict, *images, "--run", run.directory, "--top", "3"], check=False
    ).returncode


if __name__ == "__main__":
    run_command(main)
