"""Fetch published archives: download once, verify, and unpack."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from visionsweep.config.schema import DataConfig
from visionsweep.data.archive import ELSEWHERE, partial_folder, unpack
from visionsweep.data.reachability import UnreachableError, join_url, local_path, why_unreachable
from visionsweep.storage.files import explained, remove_leftovers
from visionsweep.storage.locks import held


def unreachable_archives(config: DataConfig) -> list[str]:
    """Return `URL: reason` for each archive that is not in `data.root` and cannot be downloaded."""
    root = Path(config.root)
    urls = [
        join_url(str(config.base_url), name)
        for name in config.archives
        if not (root / Path(name).stem).is_dir() and not (root / name).is_file()
    ]
    return [f"{url}: {reason}" for url in urls if (reason := why_unreachable(url))]


def fetch_archive(
    base_url: str,
    file_name: str,
    root: Path,
    *,
    expected: Sequence[str] = (),
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Return the folder of an unpacked archive; fetch and unpack the archive if necessary.

    An archive in `root` is used instead of a download. Of several processes, one fetches and the
    others wait. The folder gets its name only when it is complete; an existing one is used even if
    `root` is read-only.

    Args:
        base_url: address of the archive's folder: https://, http://, or file://.
        file_name: name of the archive, ending in .zip.
        root: parent folder; created if missing.
        expected: valid checksums of the archive; see `checksums`.
        check: function that raises a `UserError` if the unpacked files are unsuitable.

    Raises:
        UnreachableError: if the archive is neither in `root` nor reachable.
        DownloadError: if the server does not deliver it.
        UserError: if it is damaged, unexpected, or unsafe, or if `root` is full or read-only.
            Nothing incomplete is left.
    """
    folder = root / Path(file_name).stem
    with explained(root, ELSEWHERE):
        if folder.is_dir():
            return folder
        root.mkdir(parents=True, exist_ok=True)
        with held(root / f".{file_name}.lock", f"fetching {file_name}"):
            if folder.is_dir():
                return folder
            remove_leftovers(root, age=0, of=folder.name)
            url = join_url(base_url, file_name)
            archive = root / file_name
            if not archive.is_file() and (reason := why_unreachable(url)):
                raise UnreachableError(reason, where=url)
            if not archive.is_file() and url.startswith("file:"):
                archive = local_path(url)
            with ExitStack() as stack:
                if not archive.is_file():
                    from visionsweep.data.download import download

                    archive = stack.enter_context(partial_folder(folder)) / file_name
                    download(url, archive)
                unpack(archive, folder, expected=expected, check=check)
    return folder
