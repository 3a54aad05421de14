"""Classify new images with the best run, or a named one.

    python src/predict.py photo.jpg
    python src/predict.py FOLDER --top 3 --explain
    python src/predict.py FOLDER --min-confidence 0.8 --csv > predictions.csv
    python src/predict.py photo.jpg --run outputs/2026-01-31/12-00-00-000000/effnetb0_10pct_5-epochs

Prints a table and draws the images under their predictions. Files that cannot be read are reported
and do not stop the rest; the exit status is then 1.
"""

import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from visionsweep.cli.entry import command, number, parser, path_argument, positive
from visionsweep.errors import UserError
from visionsweep.runs.paths import default_outputs
from visionsweep.runtime.allocation import keep_freed_memory
from visionsweep.storage.files import explained

if TYPE_CHECKING:
    from visionsweep.data.listing import Listing
    from visionsweep.inference.output import Answer
    from visionsweep.inference.predictor import Prediction, Predictor


@command("predict")
def main(arguments: list[str]) -> int:
    """Classify; exit status 1 if a file could not be read."""
    options = _parse(arguments)
    from visionsweep.cli.selection import choose_run, expand

    listing = expand(options.images)
    run, reason = choose_run(options.run or default_outputs())

    # These import torch: not for what is refused.
    from visionsweep.inference.output import as_json, as_table, csv_lines
    from visionsweep.inference.predictor import load_predictor
    from visionsweep.report.console import wide_console
    from visionsweep.runtime.devices import pick_device

    keep_freed_memory()
    predictor = load_predictor(run, pick_device(options.device))
    for_programs = options.csv or options.json
    stream = sys.stderr if for_programs else sys.stdout
    print(f"Run: {run.directory} ({reason})", file=stream, flush=True)

    drawn = not for_programs or options.explain or options.figures is not None
    predictions: list[Prediction] = []
    counts: Counter[str] = Counter()
    answers = _answers(predictor, listing, options, counts, predictions if drawn else None)
    if options.csv:
        sys.stdout.writelines(csv_lines(answers, predictor.classes))
    elif options.json:
        print(as_json(answers, predictor, options.min_confidence))
    else:
        for _ in answers:
            pass
        if predictions:
            wide_console().print(as_table(predictions, options.top))
    if predictions:
        from visionsweep.inference.figures import prediction_figures

        when = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        folder = options.figures or run.directory / "predictions" / when
        title = f"{run.record.name} on {run.record.dataset}"
        try:
            with explained(folder, "Draw them elsewhere with --figures DIR."):
                files = prediction_figures(predictions, folder, title)
        except UserError as error:
            if options.figures:
                raise
            files = []  # somebody else's run: its directory need not be ours to write to
            print(f"Figures are not drawn: {error}", file=sys.stderr)
        for file in files:
            print(f"Figure: {file}", file=stream)
    if counts["unsure"]:
        print(
            f"{counts['unsure']} of {len(listing.images)} images: unsure, since no class has a "
            f"confidence of {100 * options.min_confidence:g}%.",
            file=stream,
        )
    if counts["unreadable"]:
        count = len(listing.images) + len(listing.left_out)
        print(f"{counts['unreadable']} of {count} files could not be read.", file=sys.stderr)
    if listing.ignored:
        print(
            f"Passed over: {len(listing.ignored)} hidden or system entries and links to folders "
            f"that are listed elsewhere, {listing.ignored[0].path} first.",
            file=sys.stderr,
        )
    return 1 if counts["unreadable"] else 0


def _answers(
    predictor: "Predictor",
    listing: "Listing",
    options: Namespace,
    counts: Counter[str],
    predictions: "list[Prediction] | None",
) -> "Iterator[Answer]":
    """Classify, telling at once which files cannot be read; count both kinds of no answer."""
    from tqdm import tqdm

    from visionsweep.data.formats import UnreadableImageError
    from visionsweep.inference.predictor import Prediction, predict

    outcomes = predict(
        predictor, listing.images, min_confidence=options.min_confidence, explained=options.explain
    )
    bar = tqdm(
        outcomes, "Looking", len(listing.images), leave=False, unit="image",
        disable=options.csv or options.json or None,
    )  # fmt: skip
    for path, outcome in zip(listing.images, bar, strict=True):
        if isinstance(outcome, Prediction):
            counts["unsure"] += outcome.abstained
            if predictions is not None:
                predictions.append(outcome)
        else:
            counts["unreadable"] += 1
            bar.write(str(outcome), file=sys.stderr)
        yield path, outcome
    for path, reason in listing.left_out:
        counts["unreadable"] += 1
        error = UnreadableImageError(reason, where=path)
        print(error, file=sys.stderr)
        yield path, error


def _parse(arguments: list[str]) -> Namespace:
    parse = parser(__doc__)
    add = parse.add_argument
    add("images", nargs="+", type=path_argument, help="image files, or folders of them")
    add(
        "--run", type=path_argument, metavar="DIR",
        help="a run's directory, or a folder of runs whose best is taken (outputs)",
    )  # fmt: skip
    add("--top", type=positive, default=1, metavar="N", help="classes to show (1)")
    add(
        "--min-confidence", type=number(float, 0, 1), default=0.0, metavar="P",
        help="name no class that is less probable than this, 0 to 1; `unsure` stands there (0)",
    )  # fmt: skip
    add(
        "--explain", action="store_true",
        help="draw beside each image where the model sees its class: by Grad-CAM, or by occlusion "
        "where a network has no feature maps (slow)",
    )  # fmt: skip
    form = parse.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, unrounded, all classes")
    form.add_argument("--json", action="store_true", help="print JSON, unrounded, all classes")
    add(
        "--figures", type=path_argument, metavar="DIR",
        help="where the figures go (the run's directory; with --csv and --json, none are drawn)",
    )  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    options = parse.parse_args(arguments)
    if options.explain and find_spec("captum") is None:
        raise UserError(
            "--explain: needs captum, which is not installed; pip install -e '.[explain]'"
        )
    return options
