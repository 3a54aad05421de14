"""Write the cache, or continue with a warning: a cache that cannot be written only costs time."""

import logging
import os
from pathlib import Path

from visionsweep.command_memory import remembered
from visionsweep.errors import UserError, warn_loudly
from visionsweep.storage.files import remove_leftovers, why, write_atomically

log = logging.getLogger(__name__)


@remembered()
def _framed_reasons() -> set[str]:
    return set()


def cache_folder(named: str | Path) -> Path:
    """Return the absolute path of the cache folder `features.cache_dir`, with `~` expanded.

    Raises:
        UserError: if `~` cannot be expanded.
    """
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as error:
        raise UserError(
            f"there is no home folder for ~: {os.environ.get('HOME') or 'HOME is not set'}, and "
            "this user is not in the system's list",
            where=f"features.cache_dir={named}",
            hint="Give a folder: features.cache_dir=FOLDER, or the variable VISIONSWEEP_CACHE.",
        ) from error


def keep(path: Path, content: bytes) -> bool:
    """Write a file of the cache, or log a warning; return whether it was written.

    Temporary files of killed processes in the same folder are deleted after a day.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        place, reason = error.filename or path, why(error)
        if reason in _framed_reasons():
            log.warning("%s: not cached: %s", place, reason)
            return False
        _framed_reasons().add(reason)
        warn_loudly(
            log,
            "THE CACHE CANNOT BE WRITTEN: THIS RUN CONTINUES, BUT LATER ONES COMPUTE THE SAME "
            "AGAIN.",
            f"{place}: {reason}",
            "Results are not affected. Another folder: features.cache_dir=FOLDER, or the variable",
            "VISIONSWEEP_CACHE. To free space: python src/cache.py clear",
        )
        return False
    remove_leftovers(path.parent)
    return True
