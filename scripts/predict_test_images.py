"""Predict test images of the best run and compare with the truth: the last step of the demo.

    python scripts/predict_test_images.py [OUTPUTS]

Takes the first three test images of each class. Prints a table and draws a figure of image, true
class, predicted class, confidence and verdict.
"""

import sys
from pathlib import Path

from visionsweep.cli.entry import parser, run
from visionsweep.errors import UserError

PER_CLASS = 3


def main(arguments: list[str]) -> int:
    """Predict, and say what is right; exit status 1 if an image could not be read."""
    parse = parser(__doc__)
    parse.add_argument(
        "outputs", nargs="?", type=Path, default=Path("outputs"), metavar="OUTPUTS",
        help="a run's directory, or a folder of runs whose best is taken (outputs)",
    )  # fmt: skip
    outputs = parse.parse_args(arguments).outputs

    from visionsweep.cli.selection import choose_run
    from visionsweep.inference.figures import prediction_figures
    from visionsweep.inference.output import verdict_line, verdict_table
    from visionsweep.inference.predictor import Prediction, load_predictor, predict
    from visionsweep.report.console import wide_console
    from visionsweep.runs import predictions_csv
    from visionsweep.runtime.devices import pick_device  # these import torch: not for --help

    run, reason = choose_run(outputs)
    rows = predictions_csv.read(run, "test")
    if rows is None:
        raise UserError("no readable predictions of test images", where=run.directory)
    print(f"Run: {run.directory} ({reason})", flush=True)
    predictor = load_predictor(run, pick_device("auto"))
    chosen: list[tuple[Path, str]] = []
    for label, name in enumerate(predictor.classes):
        of_class = [p for p, k in zip(rows.images, rows.labels.tolist(), strict=True) if k == label]
        chosen += [(Path(path), name) for path in of_class[:PER_CLASS]]

    found: list[Prediction] = []
    truths: list[str] = []
    unreadable = 0
    answers = predict(predictor, [path for path, _ in chosen])
    for (_, true), answer in zip(chosen, answers, strict=True):
        if isinstance(answer, Prediction):
            found.append(answer)
            truths.append(true)
        else:
            unreadable += 1
            print(answer, file=sys.stderr)
    if found:
        wide_console().print(verdict_table(found, truths))
        print(
            f"{verdict_line(found, truths)} Accuracy on all {len(rows.images)} test "
            f"images: {100 * rows.correct.mean():.1f}%."
        )
        title = f"{run.record.name} on {run.record.dataset}"
        for file in prediction_figures(found, run.directory / "predictions", title, truths):
            print(f"Figure: {file}")
    return 1 if unreadable else 0


if __name__ == "__main__":
    sys.exit(run(main))
