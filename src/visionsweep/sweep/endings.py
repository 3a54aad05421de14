"""How a run of a sweep ended, read from disk, whichever process trained it."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from visionsweep.runs.paths import RECORD
from visionsweep.runs.record import Failure
from visionsweep.runs.record_file import read_summary
from visionsweep.storage.files import open_regular, write_atomically
from visionsweep.storage.untrusted import read_regular

_HYDRA = ".hydra"  # Hydra's folder in a run's directory, rewritten each time the run is entered
_OVERRIDES = Path(_HYDRA, "overrides.yaml")
_ENDED = Path(_HYDRA, "ended")
_LONGEST_NOTE = 100_000  # bytes


@dataclass(frozen=True)
class Ending:
    """How a run of a sweep ended.

    Attributes:
        name: name of the run.
        status: `completed`, `failed`, `interrupted`, or `refused`, which leaves no record.
        note: `finished earlier`, `reused`, `resumed after epoch N`, or empty.
        reason: why it did not complete, or empty.
        val_loss: validation loss; None unless completed.
        val_accuracy: validation accuracy, 0 to 1; None unless completed.
        seconds: wall-clock seconds of each step, and their `total`.
        epochs: number of epochs.
    """

    name: str
    status: str
    note: str = ""
    reason: str = ""
    val_loss: float | None = None
    val_accuracy: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    epochs: int = 1


def entered_at(run_dir: Path) -> float | None:
    """Return when a job last entered a run's directory, in seconds since 1970; None if never."""
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
    """Write down for other processes that a job has left a run's directory.

    Args:
        run_dir: directory of the run.
        refused: why the run was refused, or empty; the record there is of another run.
    """
    with suppress(OSError):
        write_atomically(run_dir / _ENDED, refused.encode(), durable=False)


def ending_of(run_dir: Path, entered: float, *, over: bool = False) -> Ending | None:
    """Return how a run ended, or None while it is being trained.

    Args:
        run_dir: directory of the run.
        entered: time at which its job entered the directory (`entered_at`).
        over: whether the job is known to have ended; otherwise `note_end` says so.
    """
    with suppress(OSError), open_regular(run_dir / _ENDED) as left:
        if os.fstat(left.fileno()).st_mtime >= entered:
            over = True
            if reason := left.read(_LONGEST_NOTE).decode(errors="replace"):
                return Ending(run_dir.name, "refused", reason=reason)
    try:
        written = (run_dir / RECORD).stat().st_mtime
        known = read_summary(run_dir / RECORD)
    except (OSError, ValueError):
        return None
    earlier = written < entered
    if earlier and not over:  # the record of an earlier job; this one may start anew or be refused
        return None
    if known.status == "completed" and (final := known.validation) is not None:
        note = "finished earlier" if earlier else "reused" if known.reused_from else ""
        if not note and known.continued_after:
            note = f"resumed after epoch {known.continued_after[-1]}"
        epochs = known.config.get("epochs", 1)
        return Ending(
            run_dir.name,
            "completed",
            note,
            val_loss=final.loss,
            val_accuracy=final.accuracy,
            seconds=known.seconds,
            epochs=epochs if isinstance(epochs, int) else 1,
        )
    if earlier:
        return None
    return Ending(
        run_dir.name,
        known.status,
        reason=_reason(known.failure) if known.failure else "",
        seconds=known.seconds,
    )


def _reason(failure: Failure) -> str:
    if failure.type in ("UserError", "RefusedError"):
        return failure.message
    return f"{failure.type}: {failure.message}"
