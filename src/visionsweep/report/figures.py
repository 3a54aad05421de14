"""Figures of runs, written when a command ends to event files of their own.

Drawing takes matplotlib a second per run, more than a warm run takes altogether. So figures are
drawn for the runs worth looking at, and once.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from visionsweep.errors import UserError
from visionsweep.report.evidence import Evidence
from visionsweep.runs import predictions_csv
from visionsweep.runs.discovery import Run

log = logging.getLogger(__name__)

MOST_POSSIBLE = 4  # runs that could be the best and have figures by default
_SUFFIX = ".figures"  # of the event file


def runs_to_draw(groups: Iterable[Evidence], figures: str) -> list[Run]:
    """Return the runs of comparable groups that get figures, by the setting `figures`.

    `auto` are the best, the recommended, and up to 4 runs that could be best.
    """
    runs: dict[Path, Run] = {}
    for evidence in (e for e in groups if e.rows and figures != "none"):
        rows = evidence.rows
        if figures == "auto":
            possible = [row for row in rows if row.mark == "possible"][:MOST_POSSIBLE]
            rows = [*rows[:1], *possible]
            runs[evidence.chosen.directory] = evidence.chosen
        runs |= {row.run.directory: row.run for row in rows}
    return list(runs.values())


def draw_figures(runs: Sequence[Run], cache_dir: str | None = None) -> None:
    """Draw the figures of completed runs that have none yet.

    A run that fails is skipped with a warning. Figures of training images are kept in the cache
    folder, if there is one.
    """
    missing = [run for run in runs if not any(run.directory.glob(f"events.*{_SUFFIX}"))]
    if not missing:
        return
    from tqdm import tqdm

    for run in tqdm(missing, "Drawing figures", unit="run", leave=False, disable=None):
        try:
            _write(run, cache_dir)
        except (UserError, OSError, ValueError, RuntimeError) as error:
            log.warning("%s: figures were not drawn: %s", run.record.name, error)


def _write(run: Run, cache_dir: str | None) -> None:
    """Write the confusion matrix, reliability diagram, mistakes, and training images of a run."""
    predictions = predictions_csv.read(run, "val")
    if predictions is None or run.record.metrics is None:
        return
    if not np.isfinite(predictions.probabilities).all():  # training diverged
        return
    from torch.utils.tensorboard import SummaryWriter

    from visionsweep.analysis.metrics import ECE_BINS, reliability
    from visionsweep.figures.confusion import confusion_figure
    from visionsweep.figures.mistakes import COLUMNS, ROWS, mistakes_figure
    from visionsweep.figures.reliability import reliability_figure
    from visionsweep.report.mistakes import mistakes_of
    from visionsweep.report.training_images import write_training_images

    wrong, images = int((~predictions.correct).sum()), len(predictions.images)
    note = f"{images} validation images, {images - wrong} right"
    confidence, correct, classes = predictions.confidence, predictions.correct, predictions.classes
    ece = reliability(confidence, correct, ECE_BINS).ece
    mistakes = mistakes_of(run, "val", predictions, COLUMNS * ROWS)
    wrong_note = f"{wrong} of {images} validation images are wrong"
    figures = {
        "confusion": confusion_figure(predictions.confusion, classes, "Confusion matrix", note),
        "reliability": reliability_figure(
            reliability(confidence, correct), ece, "Reliability", note
        ),
        "mistakes": mistakes_figure(mistakes, "Most confident mistakes", wrong_note),
    }
    tagged = {f"{name}/val": pixels for name, pixels in figures.items()}
    if (sheet := write_training_images(run, cache_dir)) is not None:
        tagged["training_images/train"] = sheet
    with SummaryWriter(run.directory, filename_suffix=_SUFFIX) as events:
        for tag, pixels in tagged.items():
            events.add_image(tag, pixels, run.record.metrics.final.epoch, dataformats="HWC")
