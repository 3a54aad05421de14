"""What outlives runs is kept if it can be: a run does not end for want of what only saves time."""

import logging
import os
from pathlib import Path

from visionsweep.errors import UserError, warn_loudly
from visionsweep.storage.files import remove_leftovers, why, write_atomically

log = logging.getLogger(__name__)

_told: set[str] = set()


def cache_folder(named: str | Path) -> Path:
    """Return the absolute path of the folder that outlives runs, `~` expanded.

    Args:
        named: the setting features.cache_dir.

    Raises:
        UserError: if it begins with the home folder of a user who has none.
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
    """Write a file of the cache, or warn and go on without it.

    What a killed process left in its folder a day ago and more is removed.

    Args:
        path: the file; its folder is made if missing.
        content: all of it.

    Returns:
        Whether it is kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        _warn(error.filename or str(path), why(error))
        return False
    remove_leftovers(path.parent)
    return True


def _warn(path: str, reason: str) -> None:
    """Say what is not kept and why: in a frame for the first of a reason, then in a line."""
    if reason in _told:
        log.warning("%s: not kept: %s", path, reason)
        return
    _told.add(reason)
    warn_loudly(
        log,
        "THE CACHE CANNOT BE WRITTEN: THIS RUN GOES ON, BUT LATER ONES COMPUTE THE SAME AGAIN.",
        f"{path}: {reason}",
        "The results are the same. Another place: features.cache_dir=FOLDER, or the variable",
        "VISIONSWEEP_CACHE. More room: python scripts/feature_store.py clear",
    )
