"""The most confident mistakes of a run, with their images.

The paths stand in a file that somebody else may have written. So an image is opened only if its
bytes have the digest that the run's `logits.safetensors` names in the same place, which nobody can
know without the image.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from visionsweep.data.decoding import open_rgb
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.gray import GrayRange, recorded_range
from visionsweep.data.images import digest_of
from visionsweep.figures.mistakes import Mistake
from visionsweep.runs import logits
from visionsweep.runs.discovery import Run
from visionsweep.runs.predictions_csv import SplitPredictions
from visionsweep.storage.untrusted import MB, read_regular

NO_DIGEST = "no digest recorded"
_LARGEST = 256 * MB  # of an image file
_ESCAPE = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4})")


def mistakes_of(run: Run, split: str, predictions: SplitPredictions, most: int) -> list[Mistake]:
    """Return the most confident mistakes of a run in a split, from its `predictions.csv`."""
    digests = _recorded_digests(run, split, len(predictions.images))
    model = run.record.model
    gray_range = recorded_range(model.preprocessing) if model is not None else None
    mistakes = []
    for index in predictions.worst_mistakes(most):
        path = predictions.images[index]
        image = open_recorded(path, digests[index], gray_range) if digests else NO_DIGEST
        mistakes.append(
            Mistake(
                image=None if isinstance(image, str) else image,
                missing=image if isinstance(image, str) else "",
                file="/".join(Path(path).parts[-2:]),
                path=path,
                true=predictions.classes[predictions.labels[index]],
                predicted=predictions.classes[predictions.predicted[index]],
                confidence=float(predictions.confidence[index]),
            )
        )
    return mistakes


def _recorded_digests(run: Run, split: str, images: int) -> Sequence[str] | None:
    """Return the digests of a split's images; None if they are unreadable or too few or many."""
    try:
        recorded = (logits.read(run.directory, run.record, {split}) or {}).get(split)
    except ValueError:
        return None
    return recorded.images if recorded is not None and len(recorded.images) == images else None


def open_recorded(written: str, digest: str, gray_range: GrayRange | None) -> Image.Image | str:
    """Return an image as RGB, or why it is not available.

    Images of more than 8 bits per pixel have values of `gray_range` from black to white.
    """
    content = read_recorded(written, digest)
    if isinstance(content, str):
        return content
    try:
        return open_rgb(content, gray_range)
    except UnreadableImageError:
        return "cannot be read"


def read_recorded(written: str, digest: str) -> bytes | str:
    """Return the bytes of an image, or why they are not available.

    The path is one of `predictions.csv`, and the digest that of the bytes.
    """
    missing = "not found"
    for path in _possible_paths(written):
        try:
            # A link is followed, as it was by the run: the digest decides.
            content = read_regular(path.resolve(), _LARGEST)
        except (OSError, RuntimeError):  # RuntimeError: links that lead in a circle
            continue
        except ValueError:
            missing = "not a file of an image"
            continue
        if digest_of(content) == digest:
            return content
        missing = "not the image that the run used"
    return missing


def _possible_paths(written: str) -> list[Path]:
    """Return the paths that a cell can stand for: as written, and with escapes undone."""
    texts = [written, written[1:]] if written.startswith("'") else [written]
    texts += [_ESCAPE.sub(_unescaped, text) for text in texts if "\\" in text]
    return [Path(text) for text in texts if "\0" not in text]


def _unescaped(match: re.Match[str]) -> str:
    return match[0].encode().decode("unicode_escape")
