"""Find recorded validation images again by their content, with their recorded predictions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visionsweep.analysis.calibration import calibrated
from visionsweep.data.decoding import read_file
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.images import digest_of
from visionsweep.data.listing import list_folder
from visionsweep.errors import UserError
from visionsweep.report.mistakes import read_recorded
from visionsweep.runs import logits, predictions_csv
from visionsweep.runs.discovery import Run
from visionsweep.text.escaping import listed

_ELSEWHERE = "\n--images FOLDER says where they are now; they are found by their content."


@dataclass(frozen=True)
class RecordedImages:
    """The validation images of a run.

    Attributes:
        names: paths as recorded.
        probabilities: recorded predictions of the deployed predictor, `float64[N, C]`.
    """

    names: Sequence[str]
    probabilities: NDArray[np.float64]
    _digests: Sequence[str]
    _moved: dict[str, Path]  # by digest

    def contents(self) -> Iterator[bytes | str]:
        """Yield the bytes of each image, or why they are not available."""
        return map(self._content, self.names, self._digests)

    def _content(self, name: str, digest: str) -> bytes | str:
        if digest not in self._moved:
            return read_recorded(name, digest)
        try:
            content = read_file(self._moved[digest])
        except UnreadableImageError as error:
            return error.what
        return content if digest_of(content) == digest else "changed meanwhile"


def find_images(run: Run, folder: Path | None) -> RecordedImages:
    """Find the validation images of a run where they were, or in a folder.

    Raises:
        UserError: if the run has no recorded predictions, or if none of the images is there.
    """
    try:
        predictions = (logits.read(run.directory, run.record, {"val"}) or {}).get("val")
    except ValueError as error:
        raise UserError(str(error), where=run.directory / logits.FILE_NAME) from error
    if predictions is None or run.record.temperature is None:
        raise UserError(
            "has no recorded predictions, so an export cannot be verified",
            where=run.directory,
            hint="Train it again with this version: python src/reproduce.py",
        )
    table = predictions_csv.read(run, "val")
    named = table is not None and len(table.images) == len(predictions.images)
    names = table.images if table is not None and named else predictions.images
    moved: dict[str, Path] = {}
    for path in list_folder(folder).images if folder is not None else ():
        try:
            moved.setdefault(digest_of(read_file(path)), path)
        except UnreadableImageError:
            continue
    probabilities = calibrated(predictions.logits, run.record.temperature)
    images = RecordedImages(names, probabilities, predictions.images, moved)
    missing = []
    for name, content in zip(names, images.contents(), strict=True):
        if isinstance(content, bytes):
            return images
        missing.append(f"{name}: {content}")
    raise nothing_left(run, missing)


def nothing_left(run: Run, missing: Sequence[str]) -> UserError:
    """Return the error of a run without any usable validation image."""
    return UserError(
        f"none of its {len(missing)} validation images can be used, so an export cannot be "
        f"verified:{listed(missing)}",
        where=run.directory,
        hint=_ELSEWHERE,
    )
