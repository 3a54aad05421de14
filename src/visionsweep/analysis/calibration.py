"""Temperature scaling, so that confidence agrees with accuracy."""

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from visionsweep.analysis.predictions import Floats, Predictions

LOWEST, HIGHEST = 0.05, 20.0
_LOGS = np.linspace(np.log(LOWEST), np.log(HIGHEST), 25)
_GRID = np.exp(_LOGS)  # temperatures that are tried first; between the best's neighbors, all

SMALLEST = float(np.finfo(np.float32).tiny)  # probability, so that its logarithm is finite

log = logging.getLogger(__name__)


def calibrated(logits: NDArray[np.floating], temperature: float) -> Floats:
    """Return the deployed probabilities: the mean over replicates of softmax(logits / temperature).

    Args:
        logits: logits of each replicate, `float[R, N, C]`.
        temperature: divisor of the logits; above 1 lowers the confidence.

    Returns:
        Probabilities, `float64[N, C]`.
    """
    result: Floats = softmax(np.asarray(logits, np.float64) / temperature, axis=2).mean(0)
    return result


def deployed_predictions(predictions: Predictions, temperature: float) -> Predictions:
    """Return the predictions of the deployed predictor, the calibrated mean over replicates.

    Args:
        predictions: predictions of all replicates.
        temperature: divisor of the logits.

    Returns:
        One replicate; its logits are the logarithms of the mean probabilities, `float32[1, N, C]`.
    """
    mean = np.log(np.maximum(calibrated(predictions.logits, temperature), SMALLEST))
    return replace(predictions, logits=mean.astype(np.float32)[None])


def fit_temperature(predictions: Predictions) -> float:
    """Return the temperature that maximizes the likelihood of the labels, from 0.05 to 20.

    Guo et al. 2017, for the mean over replicates. If every image is predicted correctly, or if the
    likelihood grows down to the lowest temperature, it does not bound the confidence: wrong
    predictions on new images would be as confident as right ones. Labels are then smoothed: if N
    images are all correct, N + 1 of N + 2 are expected to be (the rule of succession; Platt 1999
    smooths targets in the same way).

    Args:
        predictions: predictions of the validation images.

    Returns:
        The temperature; 1 if a logit is not finite.
    """
    if not predictions.finite.all():
        return 1.0
    images, classes = predictions.logits.shape[1:]
    temperature = _minimum(predictions, 0.0)
    predicted = calibrated(predictions.logits, temperature).argmax(1)
    if (predicted == predictions.labels).all() or temperature <= _GRID[1]:
        # The labelled class has 1 - s + s / C, which should be (N + 1) / (N + 2).
        temperature = _minimum(predictions, classes / ((classes - 1) * (images + 2)))
    if temperature >= HIGHEST / 1.01:
        log.warning("Validation images are predicted no better than by guessing.")
    return float(np.float32(temperature))  # as the weights file holds it


def _minimum(predictions: Predictions, smoothing: float) -> float:
    """Return the temperature of the lowest cross-entropy with smoothed labels."""
    from scipy.optimize import minimize_scalar  # slow to import, and predict does without

    rows = np.arange(len(predictions.labels))
    tiny = np.finfo(np.float64).tiny

    def loss(log_temperature: float) -> float:
        means = calibrated(predictions.logits, np.exp(log_temperature))
        right = np.log(np.maximum(means[rows, predictions.labels], tiny)).mean()
        if not smoothing:
            return -float(right)
        return float(-(1 - smoothing) * right - smoothing * np.log(np.maximum(means, tiny)).mean())

    best = int(np.argmin([loss(each) for each in _LOGS]))
    bounds = _LOGS[max(best - 1, 0)], _LOGS[min(best + 1, len(_LOGS) - 1)]
    minimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(minimum.x))
