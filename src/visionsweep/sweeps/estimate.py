"""Estimate the remaining time of a sweep from its finished runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean

from visionsweep.sweeps.endings import Ending

# Settings that determine the time of an epoch or of feature extraction.
_COSTLY = ("model", "data", "transform", "training", "augmentation", "batch_size", "replicates")
_FEATURES = ("model", "data", "transform", "augmentation")
_TRAINING_SHARE = 0.7  # of all images, usually; the others have augmentation.test_views


class Estimate:
    """Remaining work of a sweep.

    Args:
        planned: settings of each run by key, `{"model": "effnetb0", "epochs": "5"}`; all runs
            have the same keys.
    """

    def __init__(self, planned: Sequence[Mapping[str, str]]) -> None:
        self._varied = [key for key in planned[0] if len({run[key] for run in planned}) > 1]
        self._left = Counter(map(self._key, planned))
        self._rates: dict[tuple[str, ...], list[float]] = {}  # seconds per epoch
        self._views = {self._key(run)[0]: _views(run) for run in planned}
        self._extraction: dict[tuple[str, ...], float] = {}  # seconds per view, of the first run
        self._fixed: list[float] = []  # seconds beside training and features

    def _key(self, run: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...], int]:
        def values(of: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(run.get(k, "") for k in self._varied if k.partition(".")[0] in of)

        epochs = run.get("epochs", "") if "epochs" in self._varied else ""
        return values(_FEATURES), values(_COSTLY), int(epochs) if epochs.isdigit() else 0

    def ended(self, settings: Mapping[str, str], ending: Ending, overhead: float = 0.0) -> None:
        """Account for a run that ended `overhead` seconds after the previous one started to end."""
        features, costly, epochs = self._key(settings)
        self._left[features, costly, epochs] -= 1
        if ending.status != "completed" or ending.note:
            return
        parts = ending.seconds
        training, extraction = parts.get("training", 0.0), parts.get("features", 0.0)
        self._rates.setdefault(costly, []).append(training / max(ending.epochs, 1))
        self._extraction.setdefault(features, extraction / self._views[features])
        self._fixed.append(max(parts.get("total", 0.0) - training - extraction, 0.0) + overhead)
        self._epochs = ending.epochs

    def seconds_left(self) -> float | None:
        """Return the seconds of work of the remaining runs, or None before the first has ended.

        Extraction for new combinations of backbone and images is assumed to take as long per view
        as the first extractions; epochs are assumed to take as long as those of similar runs.
        """
        if not self._rates:
            return None
        usual = fmean(fmean(rates) for rates in self._rates.values())
        first, fixed = fmean(self._extraction.values()), fmean(self._fixed)
        seconds, seen = 0.0, set(self._extraction)
        for (features, costly, epochs), count in self._left.items():
            if count <= 0:
                continue
            rate = fmean(self._rates[costly]) if costly in self._rates else usual
            seconds += count * (fixed + rate * (epochs or self._epochs))
            if features not in seen:
                seen.add(features)
                seconds += first * self._views[features]
        return seconds


def _views(run: Mapping[str, str]) -> float:
    """Return the number of stored views per image, the mean over all images."""
    if run.get("augmentation", "none") == "none":
        return 1.0
    views, test_views = (
        float(count) if (count := run.get(f"augmentation.{name}", "")).isdigit() else 1.0
        for name in ("views", "test_views")
    )
    return _TRAINING_SHARE * max(views, 1.0) + (1 - _TRAINING_SHARE) * test_views


def in_words(seconds: float) -> str:
    """Return a rough duration: `about 20 s`, `about 3 min`, `about 1.5 h`."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 55:
        return f"about {5 * round(seconds / 5)} s"
    if seconds < 90 * 60:
        return f"about {max(1, round(seconds / 60))} min"
    return f"about {round(seconds / 1800) / 2:g} h"
