"""Overhead of each launcher: once, before the first run, and per run.

    python benchmarks/launchers.py

Seven minutes on two cores. Warm sweeps of resnet18 on small images of the sample, where a run alone
takes a third of a second: 4 runs and 44, to separate the cost per sweep from the cost per run.
submitit_local starts all runs at once, so it has 4 and 12.
"""

import tempfile
from pathlib import Path

from commands import SOURCE, run

TINY = ["model=resnet18", "model.weights=null", "data=sample", "transform.size=64", "epochs=5"]
RUNS = {"basic": (4, 44), "joblib": (4, 44), "ray": (4, 44), "submitit_local": (4, 12)}


def main() -> None:
    """Print, for each launcher, the seconds before the first run and the seconds per run."""
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        run(SOURCE / "train.py", *TINY, folder=here)  # warms the store
        for launcher, (few, many) in RUNS.items():
            seconds = {
                count: run(
                    SOURCE / "train.py", "-m", f"hydra/launcher={launcher}",
                    f"seed=range(0,{count})", *TINY, folder=here,
                )
                for count in (few, many)
            }  # fmt: skip
            per_run = (seconds[many] - seconds[few]) / (many - few)
            once = seconds[few] - few * per_run
            print(
                f"{launcher}: {once:.1f} s once, {per_run:.2f} s per run "
                f"({few} runs {seconds[few]:.1f} s, {many} runs {seconds[many]:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
