"""Classify new images with the best run, or a named one.

    python src/predict.py photo.jpg
    python src/predict.py FOLDER --top 3
    python src/predict.py photo.jpg --run outputs/2026-01-31/12-00-00-000000/effnetb0_10pct_5-epochs

Prints a table and draws the images under their predictions. Files that cannot be read are reported
and do not stop the rest; the exit status is then 1.
"""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from visionsweep.entry import run_command


def main(arguments: list[str]) -> int:
    """Classify; exit status 1 if a file could not be read."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, help="image files, or folders of them")
    parser.add_argument(
        "--run", type=Path, metavar="DIR",
        help="a run's directory, or a folder of runs whose best is taken (outputs)",
    )  # fmt: skip
    parser.add_argument("--top", type=int, default=1, metavar="N", help="classes to show (1)")
    parser.add_argument(
        "--figures", type=Path, metavar="DIR", help="where the figures go (the run's directory)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    asked = parser.parse_args(arguments)
    if asked.top < 1:
        parser.error("--top should be at least 1")

    from rich.table import Table  # torch and matplotlib come with what follows: not for --help

    from visionsweep import engine, prediction, selection
    from visionsweep.report.figures import prediction_figures
    from visionsweep.report.leaderboard import wide_console

    paths = selection.expand(asked.images)
    run, reason = selection.choose_run(asked.run or _outputs())
    predictor = prediction.load_predictor(run, engine.pick_device(asked.device))
    print(f"Run: {run.directory} ({reason})")

    table = Table("image", *["class", "probability"] * min(asked.top, len(predictor.classes)))
    done, failed = [], 0
    for outcome in prediction.predict(predictor, paths):
        if isinstance(outcome, prediction.Prediction):
            done.append(outcome)
            best = outcome.probabilities[: asked.top]
            table.add_row(
                str(outcome.path), *(text for name, p in best for text in (name, f"{p:.1%}"))
            )
        else:
            failed += 1
            print(outcome, file=sys.stderr)
    if done:
        wide_console().print(table)
        when = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        folder = asked.figures or run.directory / "predictions" / when
        for file in prediction_figures(done, folder, f"{run.record.name} on {run.record.dataset}"):
            print(f"Figure: {file}")
    if failed:
        print(f"{failed} of {len(paths)} files could not be read.", file=sys.stderr)
    return 1 if failed else 0


def _outputs() -> Path:
    """Return `outputs` of the working directory, or else of the checkout."""
    here = Path("outputs")
    return here if here.is_dir() else Path(__file__).resolve().parent.parent / "outputs"


if __name__ == "__main__":
    run_command(main)
