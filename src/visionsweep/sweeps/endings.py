"""Read from disk how a run of a sweep ended, whichever process trained it."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from visionsweep.runs.paths import RECORD
from visionsweep.runs.record_file import read_summary
from visionsweep.storage.files import open_regular, write_atomically
from visionsweep.storage.untrusted import read_regular

# Hydra's folder in a run's directory is rewritten each time the run is entered.
_OVERRIDES = Path(".hydra", "overrides.yaml")
_ENDED = Path(".hydra", "ended")
_LONGEST_NOTE = 100_000  # bytes


@dataclass(frozen=True)
class Ending:
    """How a run of a sweep ended."""

    name: str
    status: str  # `completed`, `failed`, `interrupted`, or `refused`, which leaves no record
    note: str = ""  # `finished earlier`, `reused`, or `resumed after epoch N`
    reason: str = ""  # why it did not complete
    val_loss: float | None = None  # None unless completed
    val_accuracy: float | None = None  # 0 to 1
    seconds: dict[str, float] = field(default_factory=dict)  # of each step, and `total`
    epochs: int = 1


def entered_at(run_dir: Path) -> float | None:
    """Return when a job last entered a run directory, in seconds since 1970; None if never."""
    with suppress(OSError):
        return (run_dir / _OVERRIDES).stat().st_mtime
    return None


def overrides_of(run_dir: Path) -> list[str]:
    """Return the overrides of a run, `["model=effnetb0", "epochs=5"]`."""
    from omegaconf import OmegaConf

    try:
        content = read_regular(run_dir / _OVERRIDES, _LONGEST_NOTE).decode()
        texts = OmegaConf.to_container(OmegaConf.create(content), resolve=False)
    except Exception:  # errors of YAML, OmegaConf, and files: Hydra did not write this
        return []
    return [str(text) for text in texts] if isinstance(texts, list) else []


def note_end(run_dir: Path, refused: str = "") -> None:
    """Record for other processes that a job has left a run directory, and why it was refused."""
    with suppress(OSError):
        write_atomically(run_dir / _ENDED, refused.encode(), durable=False)


def ending_of(run_dir: Path, entered: float, *, over: bool = False) -> Ending | None:
    """Return how a run ended, or None while it is being trained.

    Args:
        run_dir: run directory.
        entered: time at which the job entered the directory (`entered_at`).
        over: True if the job has ended; otherwise this is read from the file of `note_end`.
    """
    with suppress(OSError), open_regular(run_dir / _ENDED) as note_file:
        if os.fstat(note_file.fileno()).st_mtime >= entered:
            over = True
            if reason := note_file.read(_LONGEST_NOTE).decode(errors="replace"):
                return Ending(run_dir.name, "refused", reason=reason)
    try:
        written = (run_dir / RECORD).stat().st_mtime
        record = read_summary(run_dir / RECORD)
    except (OSError, ValueError):
        return None
    earlier = written < entered
    if earlier and not over:  # written by an earlier job; this one may train again or be refused
        return None
    if record.status == "completed" and (final := record.validation) is not None:
        note = "finished earlier" if earlier else "reused" if record.reused_from else ""
        if not note and record.continued_after:
            note = f"resumed after epoch {record.continued_after[-1]}"
        scores = final.loss, final.accuracy
        epochs = record.config["epochs"]
        return Ending(run_dir.name, record.status, note, "", *scores, record.seconds, epochs)
    if earlier:
        return None
    reason = ""
    if failure := record.failure:
        kind = "" if failure.type in ("UserError", "RefusedError") else f"{failure.type}: "
        reason = kind + failure.message
    return Ending(run_dir.name, record.status, reason=reason, seconds=record.seconds)
