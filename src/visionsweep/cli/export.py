"""Export a run's model for other programs, verify it, and describe it in a model card.

    python src/export.py                                  # the recommended run below outputs/
    python src/export.py outputs/2026-01-31/12-00-00-000000/effnetb0_10pct_5-epochs
    python src/export.py RUN --format torch_export --to FOLDER --force
    python src/export.py RUN --images FOLDER              # the validation images have moved

Writes a folder ready to upload: the whole deployed predictor from pixels to probabilities, labels,
preprocessing, predict.py, which runs it without this package, and README.md, the model card. The
file is loaded anew and compared with the recorded predictions of the validation images; a model
that predicts otherwise is not written.
"""

import sys
from typing import TYPE_CHECKING

from visionsweep.cli.entry import command, parser, path_argument
from visionsweep.runs.paths import RECORD, default_outputs
from visionsweep.text.escaping import listed, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from visionsweep.export.card import Facts
    from visionsweep.runs.discovery import Run


@command("export")
def main(arguments: list[str]) -> int:
    """Export a model and print how it compares with the original."""
    parse = parser(__doc__)
    add = parse.add_argument
    add(
        "run", nargs="?", type=path_argument,
        help="a run's directory, or a folder of runs whose best is taken (outputs)",
    )  # fmt: skip
    add("--format", default="onnx", metavar="NAME", help="onnx or torch_export (onnx)")
    add("--to", type=path_argument, metavar="FOLDER", help="(export-FORMAT in the run's directory)")
    add("--images", type=path_argument, metavar="FOLDER", help="where the validation images are")
    add("--force", action="store_true", help="replace an exported model")
    options = parse.parse_args(arguments)

    from visionsweep.cli.selection import choose_run, named_run
    from visionsweep.export.folder import refuse_taken
    from visionsweep.export.formats import format_named
    from visionsweep.runs.paths import refuse_no_folder

    form = format_named(options.format)
    if options.images is not None:
        refuse_no_folder(options.images)
    place = options.run or default_outputs()
    if (place / RECORD).is_file():
        named_run(place, "export")  # says why a run has no model
    run, reason = choose_run(place)
    _refuse_run(run)
    folder = options.to or run.directory / f"export-{form.name}"
    refuse_taken(folder, force=options.force)

    # This imports torch: not for --help and refusals.
    from visionsweep.export.exporting import export_run

    print(visible(f"Run: {run.directory} ({reason})"), flush=True)
    done = export_run(run, form, folder, _choice(run, reason), options.images)
    _print(done)
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    print(visible(f"Written: {folder}/ ({files})"))
    return 0


def _refuse_run(run: "Run") -> None:
    """Refuse a completed run whose predictor is not in its weights alone, or without weights."""
    from visionsweep.errors import UserError
    from visionsweep.runs.recorded_config import config_of

    facts = run.record.model
    if facts is None or not (run.directory / facts.checkpoint).is_file():
        raise UserError(
            f"its weights, {facts.checkpoint if facts else 'of no model'}, are missing",
            where=run.directory,
            hint="Train it again: python src/reproduce.py",
        )
    views = config_of(run.record).augmentation.test_views
    if views > 1:
        raise UserError(
            "its predictions are means over random views of each image, which are made outside the "
            "network, so an exported file would predict otherwise",
            where=f"{run.directory}: augmentation.test_views={views}",
            hint="Export a run with augmentation.test_views=1; augmentation.views may stay.",
        )


def _choice(run: "Run", reason: str) -> str:
    """Return how a run was chosen, and whether it is recommended among the runs of its sweep."""
    from visionsweep.cli.selection import choose_run
    from visionsweep.errors import UserError

    if reason == "as named":
        try:
            chosen, why = choose_run(run.directory.parent)
        except UserError:
            return "It was named by hand."
        if chosen.directory.resolve() != run.directory.resolve():
            return (
                f"It was named by hand. Of its sweep, {chosen.record.name} would be chosen: {why}."
            )
        reason = why
    return f"How it was chosen: {reason}."


def _print(done: "Facts") -> None:
    from visionsweep.report.numbers import counted

    verification = done.verification
    recorded = f"{verification.recorded} validation images"
    if missing := verification.missing:
        _note(f"{len(missing)} of {recorded} are left out of the verification", missing)
    print(
        f"Verified on {verification.compared} of {recorded}: largest difference in probability "
        f"{verification.difference:.1e}, {verification.rounding:g} being rounding."
    )
    if verification.ties:
        _note("Another class by rounding", verification.ties)
    if others := verification.other_pixels:
        _note(f"predict.py decodes {len(others)} of them to other pixels", others)
    threads = counted(done.threads, "thread")
    names = done.form.file, "original"
    print(f"{'':<12} {'MB':>8} {'ms/image':>9}   single images, in turns, {threads}")
    for name, size, time in zip(names, done.sizes, done.times, strict=True):
        print(f"{name:<12} {size:>8.1f} {time:>9.2f}")
    if done.license.non_commercial:
        print(f"Not for commercial use: the license of the weights is {done.license.name}.")


def _note(what: str, images: "Sequence[str]") -> None:
    """Print on standard error what is to be said of some images."""
    print(visible(f"{what}:{listed(images)}", lines=True), file=sys.stderr)
