"""What each launcher costs: once, before the first run begins, and for every run.

    python benchmarks/launchers.py

Seven minutes on two cores. Warm sweeps of resnet18 on small images of the sample, a run of which
takes a third of a second by itself: of 4 runs and of 44, so that what is paid once and what is paid
for each run can be told apart. submitit_local starts all at once, so it has 4 runs and 12.
"""

import tempfile
from pathlib import Path

from commands import SOURCE, run

TINY = ["model=resnet18", "model.weights=null", "data=sample", "transform.size=64", "epochs=5"]
RUNS = {"basic": (4, 44), "joblib": (4, 44), "ray": (4, 44), "submitit_local": (4, 12)}


def main() -> None:
    """Print, for each launcher, the seconds before the first run and the seconds of each."""
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
            each = (seconds[many] - seconds[few]) / (many - few)
            once = seconds[few] - few * each
            print(
                f"{launcher}: {once:.1f} s once, {each:.2f} s a run "
                f"({few} runs {seconds[few]:.1f} s, {many} runs {seconds[many]:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
