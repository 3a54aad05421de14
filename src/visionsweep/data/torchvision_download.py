"""Download a data set with torchvision's own code, whole or not at all."""

import logging
import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionsweep.config.published_datasets import TORCHVISION_DATASETS
from visionsweep.data.archive import ELSEWHERE, partial_folder
from visionsweep.errors import UserError
from visionsweep.storage.files import explained, remove_leftovers
from visionsweep.text.paths import as_text

log = logging.getLogger(__name__)

SECONDS = 60.0  # without a byte from the server
_ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".tar", ".mat")


def download(name: str, root: Path) -> None:
    """Download and unpack a data set below its torchvision root.

    Archives that lie where torchvision would put them are used. Everything is unpacked in a hidden
    folder and moved when it is complete; archives are kept if unpacking fails.

    Args:
        name: one of `TORCHVISION_DATASETS`.
        root: folder that exists.

    Raises:
        UserError: if a file cannot be downloaded, naming its URL and place, or does not fit.
    """
    import torchvision.datasets

    home = root / name
    remove_leftovers(root, age=0, of=home.name)
    with explained(root, ELSEWHERE), partial_folder(home) as partial:
        for archive in _archives(root):
            link = partial / archive.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(archive.absolute())
        log.info("Downloading %s into %s, unless its archives are there", name, root)
        try:
            with _patience():
                for arguments in TORCHVISION_DATASETS[name].values():
                    getattr(torchvision.datasets, name)(partial, download=True, **arguments)
        except BaseException as error:
            place = _place(error)
            if place is None:  # what is downloaded is whole
                _move(partial, root, only=_ARCHIVES)
            if place is None and (isinstance(error, OSError) or not isinstance(error, Exception)):
                raise  # the disk, which `explained` explains, or Ctrl-C
            raise _refusal(name, error, place, partial, root) from error
        _move(partial, root)


def _archives(root: Path) -> Iterator[Path]:
    """Yield the archives in a folder, in the folders in it, and in `NAME/raw`, as MNIST has it."""
    for pattern in ("*", "*/*", "*/raw/*"):
        for path in root.glob(pattern):
            hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
            if path.suffix in _ARCHIVES and path.is_file() and not hidden:
                yield path


def _move(source: Path, target: Path, only: tuple[str, ...] = ()) -> None:
    """Move files into a folder, merging folders; links to what is there already stay behind."""
    for path in source.iterdir():
        new = target / path.name
        if path.is_symlink():
            continue
        if path.is_dir() and (new.is_dir() or only):
            new.mkdir(exist_ok=True)
            _move(path, new, only)
            if only and not any(new.iterdir()):
                new.rmdir()
        elif not only or path.suffix in only:
            path.replace(new)


@contextmanager
def _patience() -> Iterator[None]:
    """Give up on a server that is silent for `SECONDS`; torchvision sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _place(error: BaseException) -> tuple[str, Path] | None:
    """Return URL and file of the download that failed, from torchvision's frames; None of others.

    Its errors name neither.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        local = frame.f_locals
        if frame.f_code.co_name == "download_url":
            return str(local["url"]), Path(local["fpath"])
        if frame.f_code.co_name == "download" and "mirror" in local:  # MNIST tries several
            return str(local["url"]), Path(local["self"].raw_folder) / str(local["filename"])
    return None


def _refusal(
    name: str, error: BaseException, place: tuple[str, Path] | None, partial: Path, root: Path
) -> UserError:
    reason = str(error).strip() or type(error).__name__
    if place is None:
        return UserError(
            f"{name} is not in data.root and cannot be unpacked: {reason}",
            where=as_text(root),
            hint="Put its folder there as torchvision expects it; delete its archive if damaged.",
        )
    url, file = place
    where = root / file.relative_to(partial.absolute() if file.is_absolute() else partial)
    return UserError(
        f"{name} is not in data.root={as_text(root)} and cannot be downloaded: {reason}",
        where=url,
        hint=f"Connect to the network, or put {file.name} into {as_text(where.parent)}, from where "
        "it is unpacked.",
    )
