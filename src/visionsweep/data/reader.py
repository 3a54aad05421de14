"""Read the images of a data set, and refuse or report what is left out."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from visionsweep.config.schema import DataConfig
from visionsweep.data import digests
from visionsweep.data.classes import Labelled
from visionsweep.data.images import ImageFile
from visionsweep.data.listing import LeftOut
from visionsweep.errors import UserError
from visionsweep.text.escaping import visible
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

MOST_SKIPPED = 1000  # in a record

Pairs = list[tuple[Path, str]]  # files with the names of their classes


class ImageReader:
    """Read every file of a data set once, then turn lists of files into lists of images.

    Args:
        found: labelled images of each part of the data set.
        config: data settings; `on_bad_image` decides whether images may be left out.
        memory: file with cached digests; see `digests.inspect`.
        left_out: files and folders beside these parts that are not used.

    Attributes:
        classes: class names, sorted; a label is an index into them.
        skipped: files left out with the reason, at most 1,000.

    Raises:
        UserError: if a file would be left out and `on_bad_image` is `error`.
    """

    def __init__(
        self,
        found: Iterable[Labelled],
        config: DataConfig,
        memory: Path | None,
        left_out: Iterable[LeftOut] = (),
    ) -> None:
        parts = list(found)
        pairs = [pair for part in parts for pair in part.pairs]
        self.classes = tuple(sorted({name for _, name in pairs}))
        self._label = {name: label for label, name in enumerate(self.classes)}
        self._content = digests.inspect([path for path, _ in pairs], memory, verify=config.verify)
        bad = [as_text(str(c)) for c in self._content.values() if isinstance(c, UserError)]
        aside = [*left_out, *(each for part in parts for each in part.left_out)]
        _say_what_was_ignored([each for part in parts for each in part.ignored])
        skipped = [*bad, *map(str, aside)]
        more = len(skipped) - MOST_SKIPPED
        self.skipped = (*skipped[:MOST_SKIPPED], *([f"and {more} more"] if more > 0 else []))
        if not skipped:
            return
        said = []
        if bad:
            said.append(f"{len(bad)} of {len(pairs)} images cannot be read:{_listed(bad)}")
        if aside:
            entries = "file or folder is" if len(aside) == 1 else "files or folders are"
            said.append(f"{len(aside)} {entries} not used:{_listed(map(str, aside))}")
        if config.on_bad_image == "error":
            raise UserError(
                "\n".join(said),
                hint="\nRepair, convert, move or remove them, or leave them out with "
                "data.on_bad_image=skip.",
            )
        log.warning("Skipped: %s", "\n".join(said))

    def read(self, pairs: Pairs) -> tuple[ImageFile, ...]:
        """Return the readable images among these files."""
        return tuple(
            ImageFile(path, self._label[name], content)
            for path, name in pairs
            if isinstance(content := self._content[path], str)
        )


def _listed(lines: Iterable[str]) -> str:
    shown = list(lines)
    more = [f"and {len(shown) - 20} more"] if len(shown) > 20 else []
    return "".join(f"\n  {visible(line)}" for line in shown[:20] + more)


def _say_what_was_ignored(ignored: Sequence[LeftOut]) -> None:
    if ignored:
        log.info(
            "Passed over, for they are hidden, of the system, or links to folders that are listed "
            "elsewhere: %d%s",
            len(ignored),
            _listed(map(str, ignored)),
        )
