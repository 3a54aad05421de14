"""What a leaderboard says of runs that are not in it: identical reasons once, with their runs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from visionsweep.report.numbers import counted
from visionsweep.runs.discovery import FoundRuns, Run
from visionsweep.runs.paths import half_done
from visionsweep.text.escaping import one_line, visible

ALL = "compare.py --all lists them all"
_REASONS, _NAMES, _LINES = 5, 3, 5  # shown unless all are asked for


def unfinished_lines(
    found: FoundRuns, folders: Sequence[Path], *, everything: bool
) -> Iterator[Text]:
    """Say which runs below some folders are not ranked and why, then which files were passed over.

    With `everything`, each run has a line of its own with its whole reason.
    """
    if everything:
        for run in found.unfinished:
            yield _of_one(run, folders, visible(reason_of(run), lines=True))
    else:
        yield from _folded(found.unfinished, folders)
    twins = [
        Text.assemble(("counted once", "dim"), visible(f" {run.directory}: the same numbers as "))
        + Text(visible(original.directory))
        for run, original in found.duplicates
    ]
    passed = [
        Text.assemble(("passed over", "yellow"), f" {one_line(line)}") for line in found.skipped
    ]
    for lines, one, many in (
        (twins, "more run counted once", "more runs counted once"),
        (passed, "more file passed over", "more files passed over"),
    ):
        shown = lines if everything or len(lines) <= _LINES else lines[: _LINES - 1]
        yield from shown
        if left := len(lines) - len(shown):
            yield Text(f"{counted(left, one, many)}; {ALL}")


def _folded(runs: Sequence[Run], folders: Sequence[Path]) -> Iterator[Text]:
    """Say each reason once, the one that was met last first."""
    by_status: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: run.record.started, reverse=True):
        running = run.record.status == "running"
        reason = "at work" if running else one_line(reason_of(run))
        by_status[run.record.status][reason].append(run)
    folded = False
    for status, reasons in by_status.items():
        for reason, (first, *more) in list(reasons.items())[:_REASONS]:
            if more:
                folded = True
                yield _status(status) + Text(f" {_names([first, *more])}: {reason}")
            else:
                yield _of_one(first, folders, one_line(reason_of(first)))
        if rest := list(reasons.values())[_REASONS:]:
            folded = True
            runs_left = counted(sum(map(len, rest)), "more run")
            yield _status(status) + Text(f" {runs_left}, {counted(len(rest), 'other reason')}")
    if folded:
        yield Text(f"{counted(len(runs), 'run')} not completed; {ALL}.")


def _names(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(visible(run.record.name) for run in runs))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{len(runs)} runs ({', '.join(names[:_NAMES])}{more})"


def _of_one(run: Run, folders: Sequence[Path], reason: str) -> Text:
    plain = run.directory.parent in folders and run.directory.name == run.record.name
    place = "" if plain else f" in {visible(run.directory)}"
    return _status(run.record.status) + Text(f" {visible(run.record.name)}{place}: {reason}")


def _status(status: str) -> Text:
    return Text(status, style="bold yellow" if status == "running" else "bold red")


def reason_of(run: Run) -> str:
    """Say why a run is not finished, in the words of its record."""
    failure = run.record.failure
    if failure is None:
        return "no reason given"
    if run.record.status == "failed":
        return f"{failure.type}: {failure.message}"
    said, epochs = failure.message or failure.type, len(run.history)
    said += f" after {counted(epochs, 'epoch')}" if epochs else ""
    if run.record.status == "running":
        return said
    next_time = "goes on after its checkpoint" if half_done(run.directory) else "begins anew"
    return f"{said}; {next_time}"
