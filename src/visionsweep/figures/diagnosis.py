"""Figures of what a run gets wrong on the images of one split, from its predictions."""

from collections.abc import Sequence

import numpy as np

from visionsweep.analysis.metrics import confusion, per_replicate, reliability
from visionsweep.analysis.predictions import Predictions
from visionsweep.data.thumbnails import Thumbnails
from visionsweep.figures.canvas import Pixels
from visionsweep.figures.confusion import confusion_figure
from visionsweep.figures.mistakes import mistakes_figure
from visionsweep.figures.reliability import reliability_figure

_NAMES = {"train": "training", "val": "validation", "test": "test"}


def diagnosis_figures(
    split: str, predictions: Predictions, classes: Sequence[str], thumbnails: Thumbnails | None
) -> dict[str, Pixels]:
    """Draw the confusion matrix, the reliability diagram and the most confident mistakes.

    Args:
        split: "train", "val" or "test".
        predictions: of that split; every logit is finite.
        classes: names.
        thumbnails: of the images of the split, in the order of the predictions; None leaves out the
            mistakes.

    Returns:
        "confusion", "reliability", "mistakes" as `uint8[H, W, 3]`.
    """
    replicates, images, _ = predictions.logits.shape
    what = f"{images} {_NAMES[split]} images" + (
        f", mean over {replicates} replicates" if replicates > 1 else ""
    )
    ece = float(per_replicate(predictions)["ece"].mean())
    figures = {
        "confusion": confusion_figure(confusion(predictions), classes, "Confusion matrix", what),
        "reliability": reliability_figure(reliability(predictions), ece, "Reliability", what),
    }
    if thumbnails is not None:
        probabilities = np.exp(predictions.log_probabilities).mean(0)
        figures["mistakes"] = mistakes_figure(
            probabilities, predictions.labels, classes, thumbnails, "Most confident mistakes"
        )
    return figures
