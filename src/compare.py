"""Print the leaderboard of finished runs, best first by validation loss.

python src/compare.py outputs
python src/compare.py outputs/2026-01-31 --top 5 --sort test_accuracy
python src/compare.py outputs --csv > runs.csv
"""

import argparse
import sys
from pathlib import Path

from visionsweep.entry import run_command
from visionsweep.report import leaderboard
from visionsweep.tracking.runs import find_runs


def main(arguments: list[str]) -> int:
    """Print the leaderboard; exit status 1 if there is no completed run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folders", nargs="*", type=Path, default=[Path("outputs")], help="where to look (outputs)"
    )
    parser.add_argument(
        "--sort",
        choices=list(leaderboard.BY_KEY),
        default="val_loss",
        metavar="COLUMN",
        help=f"the column to sort by: {', '.join(leaderboard.BY_KEY)} (val_loss)",
    )
    parser.add_argument("--top", type=_positive, metavar="N", help="show the first N only")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, unrounded")
    form.add_argument("--markdown", action="store_true", help="print Markdown tables")
    asked = parser.parse_args(arguments)
    if not asked.csv:
        finished = leaderboard.show(
            asked.folders, sort=asked.sort, top=asked.top, markdown=asked.markdown
        )
        return 0 if finished else 1
    found = find_runs(asked.folders)
    for line in found.passed_over:
        print(f"passed over {line}", file=sys.stderr)
    runs = leaderboard.ranked(found.runs, asked.sort)
    print(leaderboard.as_csv(runs[: asked.top]), end="")
    return 0 if runs else 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: should be at least 1")
    return number


if __name__ == "__main__":
    run_command(main)
