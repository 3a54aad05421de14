"""Sweeps from Python, and their runs as tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from visionsweep.api.arguments import Value, argument
from visionsweep.cli import entry, train
from visionsweep.cli.selection import choose_run
from visionsweep.errors import UserError
from visionsweep.report.columns import csv_columns, swept_columns
from visionsweep.report.leaderboard import groups_of
from visionsweep.report.settings import settings_of
from visionsweep.report.unfinished import reason_of
from visionsweep.runs.discovery import Run, completed, find_runs
from visionsweep.sweeps.callback import command_state

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Runs(Sequence[Run]):
    """The runs below a folder, completed ones first, lowest validation loss first.

    Attributes:
        directory: the folder, of a sweep for example.
        runs: each with its `directory` and `record`, the fields of `result.json`.
    """

    directory: Path
    runs: tuple[Run, ...] = ()

    @classmethod
    def read(cls, folder: str | Path) -> "Runs":
        """Read the runs below a folder.

        Raises:
            UserError: if there is no such folder.
        """
        listing = find_runs([Path(folder)])
        return cls(Path(folder), (*completed(listing.runs), *listing.unfinished))

    @property
    def best(self) -> Run:
        """The run that `predict.py` takes: the recommended one, else that of the lowest loss.

        Raises:
            UserError: if no run is completed, or all diverged.
        """
        return choose_run(self.directory)[0]

    @overload
    def __getitem__(self, place: int) -> Run: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Run, ...]: ...
    def __getitem__(self, place: int | slice) -> Run | tuple[Run, ...]:
        """Return a run by its place, or several."""
        return self.runs[place]

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.runs)

    def to_pandas(self, *, epochs: bool = False) -> "DataFrame":
        """Return a table of the runs; pandas is an extra, `pip install -e '.[pandas]'`.

        Args:
            epochs: False for a row per run: `status`, `error`, and the columns of `compare.py
                --csv`, unrounded; numbers are NaN for a run that is not completed. True for a row
                per epoch of each run: its `name`, `directory`, and settings, `epoch`, loss and
                accuracy of each split as means over replicates before calibration, `learning_rate`
                and `seconds`.

        Raises:
            UserError: if pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ImportError:
            raise UserError(
                "needs pandas, which is not installed",
                where="to_pandas",
                hint="pip install -e '.[pandas]'",
            ) from None
        return DataFrame(list(self._epochs() if epochs else self._rows()))

    def _rows(self) -> Iterator[dict[str, Any]]:
        groups = groups_of(self.runs, expand_seeds=True)
        rows = [row for evidence in groups for row in evidence.rows]
        columns = csv_columns(rows, swept_columns(rows)) if rows else {}
        for row in rows:
            values = {key: column.value(row) for key, column in columns.items()}
            yield {"status": row.run.record.status, "error": "", **values}
        ranked = {row.run.directory for row in rows}
        for run in (run for run in self.runs if run.directory not in ranked):
            status, unread = run.record.status, "its predictions cannot be read"
            error = unread if status == "completed" else reason_of(run)
            facts = {"name": run.record.name, "directory": str(run.directory)}
            yield {"status": status, "error": error, **facts}

    def _epochs(self) -> Iterator[dict[str, Any]]:
        for run, settings in zip(self.runs, settings_of(self.runs), strict=True):
            about = {"name": run.record.name, "directory": str(run.directory), **settings}
            for epoch in run.history:
                scores = {
                    f"{split}_{metric}": getattr(getattr(epoch, split), metric)
                    for split in ("train", "val", "test")
                    for metric in ("loss", "accuracy")
                }
                yield {
                    **about, "epoch": epoch.epoch, **scores,
                    "learning_rate": epoch.learning_rate, "seconds": epoch.seconds,
                }  # fmt: skip


def sweep(
    settings: Mapping[str, Value | Sequence[Value]] | None = None,
    /,
    **values: Value | Sequence[Value],
) -> Runs:
    """Train one run for every combination of values, as `train.py -m` does.

    Progress, leaderboard, and errors are printed as by the command; a run that fails
    does not stop the others.

    Args:
        settings: settings by dotted key, such as `{"optimizer.lr": [0.001, 0.01]}`.
        values: settings whose keys have no dot, and config groups: `model`, `data`, `epochs`. A
            list holds the values of a sweep; a tuple is one value, a list.

    Returns:
        The runs of the sweep, failed ones last.

    Raises:
        UserError: if the settings are refused, before anything is written, or if no run was
            trained.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; finished runs are kept.
    """
    given = {**(settings or {}), **values}
    arguments = ["-m", *(argument(key, value) for key, value in given.items())]
    directory: Path | None = None
    refusal: UserError | None = None

    def command(arguments: list[str]) -> int:
        nonlocal directory, refusal
        try:
            status = train.train(arguments)
        except UserError as error:
            refusal = error
            return 1
        directory = command_state().sweep_dir
        return status

    status = entry.run(command, arguments, name="train")
    if refusal is not None:
        raise refusal
    if status >= 128:
        raise KeyboardInterrupt
    runs = Runs.read(directory) if directory is not None and directory.is_dir() else None
    if status and not runs:
        raise UserError("No run was trained; the reason is printed above.")
    return runs or Runs(directory or Path("outputs"))
