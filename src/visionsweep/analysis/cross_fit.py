"""Standard errors of cross-fitted scores.

Images of different folds are scored by heads that share training images, so their scores are not
independent, and the variance over images is too small (Bengio & Grandvalet 2004). On real features
intervals hold the truth in 93 to 97% of draws if standard errors are raised by a quarter, and in 86
to 94% if not (`benchmarks/cross_fit.py`).
"""

from dataclasses import replace

import numpy as np

from visionsweep.analysis.run_losses import RunLosses

WIDER = 1.25  # factor by which standard errors over images are raised


def cross_fitted(run: RunLosses, validation: RunLosses) -> RunLosses:
    """Return cross-fitted losses whose deviations from their mean over images are `WIDER` as large.

    Means and differences between replicates stay, and so every interval, test, and comparison over
    images that is computed from these losses has the larger standard error.

    Args:
        run: losses of the replicates out of fold.
        validation: losses on validation images, of which those of heads on bootstrap samples count.
    """
    more = (WIDER - 1) * (run.means - run.means.mean())
    correct = run.correct.mean() + WIDER * (run.correct - run.correct.mean())
    return replace(
        run,
        means=run.means + more,
        by_replicate=(run.by_replicate + more).astype(np.float32),
        correct=correct.astype(np.float32),
        by_sample=validation.by_sample,
        samples=validation.samples,
        sample_groups=validation.groups,
        sample_images=validation.images,
    )


def widened_bounds(
    value: float, low: float, high: float, highest: float = np.inf
) -> tuple[float, float]:
    """Return an interval of a value between 0 and `highest` with distances larger by `WIDER`."""
    # the number first, since max and min return the first of NaN and another
    return max(value - WIDER * (value - low), 0.0), min(value + WIDER * (high - value), highest)
