"""Read the images of a data set, and refuse or report what is left out."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from visionsweep.config.schema import DataConfig
from visionsweep.data.classes import LabeledFiles
from visionsweep.data.decoding import ImageFacts
from visionsweep.data.image_facts import Inspected, inspect
from visionsweep.data.images import ImageFile
from visionsweep.data.listing import LeftOut
from visionsweep.errors import UserError
from visionsweep.text.escaping import listed
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

MOST_SKIPPED = 1000  # entries in a record


class ImageReader:
    """Read every file of a data set once, then turn lists of files into lists of images.

    Args:
        parts: labeled files of each part of the data set.
        config: data settings; `on_bad_image` decides whether images may be left out.
        cache_file: file with cached facts; see `image_facts.inspect`.
        left_out: files and folders beside these parts that are not used.
        group_of: function that returns the group of a file.

    Attributes:
        classes: class names, sorted; a label is an index into them.
        skipped: files left out with the reason, at most 1,000.

    Raises:
        UserError: if a file would be left out and `on_bad_image` is `error`.
    """

    def __init__(
        self,
        parts: Iterable[LabeledFiles],
        config: DataConfig,
        cache_file: Path | None,
        left_out: Iterable[LeftOut] = (),
        group_of: Callable[[Path], str] = lambda _: "",
    ) -> None:
        parts = list(parts)
        self._group_of = group_of
        files = [pair for part in parts for pair in part.files]
        self.classes = tuple(sorted({name for _, name in files}))
        self._label = {name: label for label, name in enumerate(self.classes)}
        self._inspected = inspect([path for path, _ in files], cache_file, verify=config.verify)
        unreadable = [as_text(str(e)) for e in self._inspected.values() if isinstance(e, UserError)]
        unused = [*left_out, *(entry for part in parts for entry in part.left_out)]
        if ignored := [entry for part in parts for entry in part.ignored]:
            log.info(
                "Ignored hidden and system entries, and links to folders listed elsewhere: %d%s",
                len(ignored),
                listed(ignored),
            )
        skipped = [*unreadable, *map(str, unused)]
        more = len(skipped) - MOST_SKIPPED
        self.skipped = (*skipped[:MOST_SKIPPED], *([f"and {more} more"] if more > 0 else []))
        entries = "file or folder is" if len(unused) == 1 else "files or folders are"
        problems: dict[str, list[Any]] = {
            f"{len(unreadable)} of {len(files)} images cannot be read": unreadable,
            f"{len(unused)} {entries} not used": unused,
        }
        text = "\n".join(f"{what}:{listed(items)}" for what, items in problems.items() if items)
        if text and config.on_bad_image == "error":
            raise UserError(
                text,
                hint="\nRepair, convert, move, or remove them, or leave them out with "
                "data.on_bad_image=skip.",
            )
        if text:
            log.warning("Skipped: %s", text)

    def read(self, files: Iterable[tuple[Path, str]]) -> tuple[ImageFile, ...]:
        """Return the readable images among files with their class names."""
        return tuple(
            ImageFile(
                path, self._label[name], result.digest, self._group_of(path), result.facts.phash
            )
            for path, name in files
            if isinstance(result := self._inspected[path], Inspected)
        )

    def facts_of(self, image: ImageFile) -> ImageFacts:
        """Return the facts about a decoded image that `read` returned."""
        result = self._inspected[image.path]
        assert isinstance(result, Inspected)
        return result.facts
