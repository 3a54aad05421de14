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
_STYLES = {"running": "bold yellow"}


def unfinished_lines(
    found: FoundRuns, folders: Sequence[Path], *, everything: bool
) -> Iterator[Text]:
    """Say which runs are not ranked and why, then which files were passed over.

    Args:
        found: what lies under `folders`.
        folders: where the runs were looked for.
        everything: whether each run has a line of its own with its whole reason.
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
    passed = [passed_over_line(line) for line in found.skipped]
    for lines, what in ((twins, "run counted once"), (passed, "file passed over")):
        shown = lines if everything or len(lines) <= _LINES else lines[: _LINES - 1]
        yield from shown
        if left := len(lines) - len(shown):
            plural = what.replace("run", "runs").replace("file", "files")
            yield Text(f"{counted(left, f'more {what}', f'more {plural}')}; {ALL}")


def passed_over_line(line: str) -> Text:
    """Say which file was passed over, and why."""
    return Text.assemble(("passed over", "yellow"), f" {one_line(line)}")


def _folded(runs: Sequence[Run], folders: Sequence[Path]) -> Iterator[Text]:
    """Say each reason once, the one that was met last first."""
    by_status: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for run in sorted(runs, key=lambda run: run.record.started, reverse=True):
        by_status[run.record.status][_told_once(run)].append(run)
    folded = False
    for status, reasons in by_status.items():
        groups = list(reasons.items())
        for reason, hit in groups[:_REASONS]:
            folded |= len(hit) > 1
            yield (
                _status(status) + Text(f" {_names(hit)}: {reason}")
                if len(hit) > 1
                else _of_one(hit[0], folders, one_line(reason_of(hit[0])))
            )
        if rest := groups[_REASONS:]:
            folded = True
            runs_left = counted(sum(len(hit) for _, hit in rest), "more run")
            yield _status(status) + Text(f" {runs_left}, {counted(len(rest), 'other reason')}")
    if folded:
        yield Text(f"{counted(len(runs), 'run')} not completed; {ALL}.")


def _told_once(run: Run) -> str:
    """Return what runs have in common that are told of together."""
    return "at work" if run.record.status == "running" else one_line(reason_of(run))


def _names(runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(visible(run.record.name) for run in runs))
    said = ", ".join(names[:_NAMES])
    if len(names) > _NAMES:
        said += f" and {len(names) - _NAMES} more"
    return f"{len(runs)} runs ({said})"


def _of_one(run: Run, folders: Sequence[Path], reason: str) -> Text:
    plain = run.directory.parent in folders and run.directory.name == run.record.name
    place = "" if plain else f" in {visible(run.directory)}"
    return _status(run.record.status) + Text(f" {visible(run.record.name)}{place}: {reason}")


def _status(status: str) -> Text:
    return Text(status, style=_STYLES.get(status, "bold red"))


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
