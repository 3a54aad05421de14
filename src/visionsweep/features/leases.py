"""Leases: which process extracts which of the images that a store lacks.

Each process that extracts for a store has a note beside it with the digests of its images,
`KEY.TOKEN.lease`, and holds the lock `KEY.TOKEN.lock`, which the operating system releases when the
process ends. Notes are read and written under the store's lock, `KEY.lock`.
"""

import logging
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout
from msgspec import field

from visionsweep.storage.files import remove_leftovers, why, write_atomically
from visionsweep.storage.locks import Holder, lock_at
from visionsweep.storage.untrusted import MB, decode_json, read_regular

log = logging.getLogger(__name__)

LEASE, LOCK = ".lease", ".lock"  # suffixes
_POLL_SECONDS = 0.005  # the store's lock is held for about a millisecond


Missing = Callable[[], Collection[str]]


class _Note(Holder):
    # Digests of the leased images that were not stored when the note was written.
    images: list[str] = field(default_factory=list)


class Lease:
    """The images of a store that this process extracts.

    Attributes:
        others: number of other processes that extracted when images were last taken.
        elsewhere: number of missing images that these had leased.
    """

    def __init__(self, folder: Path) -> None:
        self.others = self.elsewhere = 0
        self._folder = folder
        self._note = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}{LEASE}")
        self._content = _Note()
        self._shared = True  # False if the file system has no locks

    @contextmanager
    def held(self) -> Iterator[None]:
        """Show other processes what this one extracts inside the block.

        Without locks, a warning is given once, and others may extract the same images.
        """
        lock = lock_at(self._note.with_suffix(LOCK))
        with self._store_locked() as others:
            if self._shared:
                try:
                    lock.acquire(timeout=0)
                except OSError as error:
                    self._continue_alone(error)
                if not others:  # nobody is writing
                    remove_leftovers(self._folder, age=0)
                self._write()
        try:
            yield
        finally:
            with self._store_locked():
                lock.release()
                _remove(self._note)

    def any_free(self, missing: Missing) -> bool:
        """Return whether an image is missing that no process has leased."""
        with self._store_locked() as others:
            return bool(self._free(others, missing, 1))

    def take(self, missing: Missing, count: int) -> list[str]:
        """Lease up to `count` missing images that no process has leased.

        Leases of images that are no longer missing end.

        Args:
            missing: function that returns the missing digests, called after the leases of others
                were read: what has been stored since then is not missing.
            count: number of images.
        """
        with self._store_locked() as others:
            part = self._free(others, missing, count)
            self._content.images += part
            self._write()
            return part

    def _free(self, others: list[_Note], missing: Missing, count: int) -> list[str]:
        lacking = missing()
        mine = self._content.images = [d for d in self._content.images if d in lacking]
        theirs = {d for other in others for d in other.images if d in lacking}
        self.others, self.elsewhere = len(others), len(theirs)
        leased = theirs.union(mine)
        return list(islice((digest for digest in lacking if digest not in leased), count))

    @contextmanager
    def _store_locked(self) -> Iterator[list[_Note]]:
        """Hold the store's lock inside the block, which gets the notes of other processes."""
        others: list[_Note] = []
        with ExitStack() as stack:
            try:
                if self._shared:
                    self._folder.parent.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(lock_of(self._folder).acquire(poll_interval=_POLL_SECONDS))
                    others = _living(self._folder, but=self._note)
            except OSError as error:
                self._continue_alone(error)
            yield others

    def _continue_alone(self, error: OSError) -> None:
        self._shared = False
        path = lock_path(self._folder)
        log.warning("%s: no lock, others may do the same work now: %s", path, why(error))

    def _write(self) -> None:
        if self._shared:
            with suppress(OSError):  # a full disk need not stop the extraction
                write_atomically(self._note, msgspec.json.encode(self._content), durable=False)


@contextmanager
def nobody_extracting(folder: Path) -> Iterator[None]:
    """Hold the lock of a store for which no process extracts.

    Raises:
        Timeout: if a process does.
        OSError: if the file system has no locks.
    """
    with lock_of(folder).acquire(timeout=0):
        if _living(folder):
            raise Timeout(str(lock_path(folder)))
        yield


def lock_path(folder: Path) -> Path:
    """Return the lock file of a store."""
    return folder.with_suffix(LOCK)


def lock_of(folder: Path) -> FileLock:
    """Return the lock of a store."""
    return lock_at(lock_path(folder))


def _living(folder: Path, but: Path | None = None) -> list[_Note]:
    """Return the notes of living processes, and delete those of dead ones with a warning."""
    notes = []
    for path in folder.parent.glob(f"{folder.name}.*{LOCK}"):
        note = path.with_suffix(LEASE)
        if note == but:
            continue
        content = _read(note)
        try:
            with lock_at(path).acquire(timeout=0):
                pass
        except Timeout:
            notes.append(content or _Note())
            continue
        except OSError:  # of another user: whether its process lives cannot be known
            continue
        log.warning(
            "%s: its process died while extracting features (%s); what it has not stored is "
            "extracted again",
            note,
            content or "unknown process",
        )
        _remove(note)
    return notes


def _read(note: Path) -> _Note | None:
    try:
        return decode_json(read_regular(note, MB), _Note)
    except (OSError, ValueError):
        return None


def _remove(note: Path) -> None:
    for path in (note, note.with_suffix(LOCK)):
        with suppress(OSError):
            path.unlink()
