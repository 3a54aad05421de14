"""Predict three test images of the best run's own data set, one of each class: the demo's last step.

    python scripts/predict_test_images.py [OUTPUTS]
"""

import csv
import subprocess
import sys
from pathlib import Path

from visionsweep.errors import UserError
from visionsweep.prediction import choose_run


def main(outputs: Path) -> int:
    """Call `src/predict.py` on the first test image of up to three classes."""
    run, _ = choose_run(outputs)
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
    try:
        sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs")))
    except UserError as error:
        sys.exit(str(error))
