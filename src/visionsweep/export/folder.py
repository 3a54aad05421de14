"""The folder of an exported model: refused before work, and written at once or not at all."""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visionsweep.errors import UserError, why_no_folder
from visionsweep.export.formats import FORMATS
from visionsweep.storage.files import PART, explained, remove_leftovers

CARD, CODE, LABELS, STEPS = "README.md", "predict.py", "labels.json", "preprocessing.json"
_FILES = {CARD, CODE, LABELS, STEPS} | {
    name for form in FORMATS.values() for name in (form.file, f"{form.file}.data")
}
_ELSEWHERE = "Write it elsewhere with --to FOLDER."


def refuse_taken(folder: Path, *, force: bool) -> None:
    """Refuse a folder that is there already, unless it is an export that may be replaced.

    Raises:
        UserError: also with `force` if it holds anything but an export.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise UserError(why_no_folder(folder), where=folder, hint=_ELSEWHERE)
    others = sorted(path.name for path in folder.iterdir() if path.name not in _FILES)
    if others:
        what = f"holds other files than an exported model, such as {others[0]}"
        raise UserError(what, where=folder, hint=_ELSEWHERE)
    if not force and any(folder.iterdir()):
        hint = f"Replace it with --force. {_ELSEWHERE}"
        raise UserError("holds an exported model already", where=folder, hint=hint)


@contextmanager
def written_at_once(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside a folder, and put it in the folder's place at the end.

    If the block fails, the hidden folder is deleted, and the folder is as before.
    """
    with explained(folder, _ELSEWHERE):
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.parent, of=folder.name)
        hidden = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}{PART}")
        hidden.mkdir()
        try:
            yield hidden
            if folder.exists():
                old = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}{PART}")
                folder.rename(old)
                hidden.rename(folder)
                shutil.rmtree(old, ignore_errors=True)
            else:
                hidden.rename(folder)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
