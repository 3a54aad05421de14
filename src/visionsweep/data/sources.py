"""Where images come from: published archives, fetched once and unpacked."""

from collections.abc import Callable, Sequence
from pathlib import Path

from visionsweep.data.address import join_url, local_path
from visionsweep.data.archive import ELSEWHERE, partial_folder, unpack
from visionsweep.data.reachability import UnreachableError, why_unreachable
from visionsweep.storage.files import explained, remove_leftovers
from visionsweep.storage.locks import held


def archive_folder(root: Path, file_name: str) -> Path:
    """Return the folder that an archive is unpacked into."""
    return root / Path(file_name).stem


def fetch_archive(
    base_url: str,
    file_name: str,
    root: Path,
    *,
    expected: Sequence[str] = (),
    check: Callable[[Path], object] | None = None,
) -> Path:
    """Make sure that an archive lies unpacked under `root`, and return its folder.

    What is there already is not fetched again: neither the folder nor the archive itself, should
    it lie in `root`. Two processes that ask at once fetch once. The folder appears under its final
    name only when it is complete. One that lies there is used even where nothing can be written.

    Args:
        base_url: address of the folder that holds the archive: https://, http:// or file://.
        file_name: the archive's name there, ending in .zip.
        root: folder to unpack below; made if missing.
        expected: checksums, one of which the archive should have; see `checksums`.
        check: is called with the unpacked files before they get their name.

    Raises:
        UnreachableError: if the archive is not here and cannot be had.
        DownloadError: if a server was reached and did not deliver it.
        UserError: if it is damaged or not what is expected, or an entry of it would leave its
            folder; if `root` is full or cannot be written. Nothing half-done is left.
    """
    folder = archive_folder(root, file_name)
    with explained(root, ELSEWHERE):
        if folder.is_dir():
            return folder
        root.mkdir(parents=True, exist_ok=True)
        with held(root / f".{file_name}.lock", f"fetching {file_name}"):
            if folder.is_dir():
                return folder
            remove_leftovers(root, age=0, of=folder.name)
            at_hand = root / file_name
            if at_hand.is_file():
                unpack(at_hand, folder, expected=expected, check=check)
                return folder
            url = join_url(base_url, file_name)
            if reason := why_unreachable(url):
                raise UnreachableError(reason, where=url)
            if url.startswith("file:"):
                unpack(local_path(url), folder, expected=expected, check=check)
                return folder
            with partial_folder(folder) as downloads:
                from visionsweep.data.download import download

                download(url, downloads / file_name)
                unpack(downloads / file_name, folder, expected=expected, check=check)
    return folder
