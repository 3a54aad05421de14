"""What changed between two sweeps, in the terminal."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from visionsweep.analysis.intervals import Estimate
from visionsweep.errors import UserError
from visionsweep.report import numbers
from visionsweep.report.changes import ImageChange, changed_facts, changed_images, place_of
from visionsweep.report.console import wide_console
from visionsweep.report.numbers import counted
from visionsweep.report.pairs import Matched, Pair, compare_pairs, match
from visionsweep.report.unfinished import reason_of
from visionsweep.runs.discovery import FoundRuns, Run, completed, val_loss
from visionsweep.text.escaping import enumerated, visible

NOT_COMPARED, WORSE = 1, 3  # exit statuses
_WIDE = 110  # columns of a terminal that hold the losses themselves
_MOST = 6  # names in a sentence
_READING = (
    "Differences are now minus before, on the images that both runs were scored on: in loss of the "
    "deployed predictor, and in accuracy in percentage points. Brackets hold 95% confidence "
    "intervals for all differences together; `worse` and `better` are those that exclude zero."
)


def show(
    folders: Sequence[Path],
    now: FoundRuns,
    base: Path,
    then: FoundRuns,
    *,
    console: Console | None = None,
) -> int:
    """Print what changed since an earlier sweep, and return the exit status.

    Args:
        folders: folders of the later sweep.
        now: its runs.
        base: folder of the earlier sweep.
        then: its runs.
        console: where to print; by default standard output.

    Returns:
        0 if no run is significantly worse; `WORSE` if one is, or has not completed though its
        earlier one has; `NOT_COMPARED` if no two runs could be compared.

    Raises:
        UserError: if one of them holds no completed run.
    """
    console = console or wide_console()
    for side, where in ((now, ", ".join(map(str, folders))), (then, str(base))):
        if not completed(side.runs):
            raise UserError("holds no completed run", where=where)
    matched = match(now.runs, then.runs)
    pairs = compare_pairs(matched.pairs)
    runs, earlier = completed(now.runs), completed(then.runs)
    worse, count = sum(pair.is_worse for pair in pairs), sum(not pair.reason for pair in pairs)
    console.print(Text(visible(_headline(matched, pairs, worse, count))), style="bold")
    console.print(Text(visible(f"before: {base}; now: {', '.join(map(str, folders))}")))
    if changes := changed_facts(runs, earlier):
        table = Table(
            *(Column(title, overflow="fold") for title in ("what changed", "before", "now"))
        )
        for change in changes:
            table.add_row(change.what, change.earlier, change.now)
        console.print(table)
    else:
        console.print("Settings, versions, commit, and device are the same.")
    images = changed_images(runs, earlier)
    for line in map(_of_images, images):
        console.print(Text(visible(line)))
    if not images:
        console.print("Images are the same in all splits.")
    if pairs:
        console.print(_table(pairs, wide=console.width >= _WIDE))
        console.print(Text(_READING), style="dim")
    if partial := {pair.images for pair in pairs if pair.images and pair.agreement is None}:
        least = f"{min(partial):,}" + f" to {max(partial):,}" * (len(partial) > 1)
        console.print(
            f"Runs on other images are compared on the {least} images in both; losses before and "
            "now are those of all images of each."
        )
    for line in [*now.skipped, *then.skipped, *_others(matched)]:
        console.print(Text(visible(line)))
    if worse or matched.broken:
        return WORSE
    return 0 if count else NOT_COMPARED


def _headline(matched: Matched, pairs: Sequence[Pair], worse: int, count: int) -> str:
    if not pairs:
        return "No run of one has the settings of a run of the other."
    if not count:
        reasons = enumerated(sorted({pair.reason for pair in pairs}), _MOST)
        return f"No runs with equal settings can be compared: {reasons}."
    equal = "equal settings" + (" but those listed as changed" if matched.changed else "")
    of_all = f"{counted(count, 'run')} with {equal}"
    same = sum(pair.agreement == "identical" for pair in pairs)
    better = sum(pair.is_better for pair in pairs)
    parts = [
        f"{worse} significantly worse" if worse else "none significantly worse",
        *([f"{better} significantly better"] if better else []),
        *([f"{same} bitwise identical"] if same else []),
    ]
    left = len(pairs) - count
    unseen = f" {counted(left, 'other')} could not be compared." if left else ""
    return f"Of {of_all}: {', '.join(parts)}.{unseen}"


def _of_images(change: ImageChange) -> str:
    split = "cross-fitted" if change.split == "cross_fit" else change.split
    about = f"{split} images: {change.earlier:,} before, {change.now:,} now"
    if not change.listed:
        return f"{about}, and not the same ones; which ones is not recorded."
    kinds = {
        "added": change.added,
        "removed": change.removed,
        "changed (same name, other content)": change.changed,
        "of another class": change.relabeled,
    }
    parts = [
        f"{len(n):,} {kind}: {enumerated(['/'.join(place_of(name)) for name in sorted(n)], _MOST)}"
        for kind, n in kinds.items()
        if n
    ]
    return f"{about}; {'; '.join(parts) or 'their variants differ'}."


def _table(pairs: Sequence[Pair], *, wide: bool) -> Table:
    table = Table(Column("run", overflow="fold"))
    if wide:
        for title in ("before", "now"):
            table.add_column(f"loss {title}", justify="right")
    for title in ("loss difference", "accuracy diff."):
        table.add_column(title, justify="right")
    if wide:
        table.add_column("images", justify="right")
    table.add_column("verdict", overflow="fold")
    for pair in sorted(pairs, key=lambda pair: (not pair.is_worse, val_loss(pair.run))):
        losses = [numbers.decimal(val_loss(each)) for each in (pair.earlier, pair.run)]
        cells = [pair.run.record.name, *(losses if wide else [])]
        if pair.loss is None or pair.accuracy is None:
            cells += ["", "", *([""] if wide else []), f"not compared: {pair.reason}"]
        else:
            loss = numbers.with_interval(pair.loss, signed=True)
            loss = loss if pair.loss.low < pair.loss.high else numbers.decimal(pair.loss.value)
            cells += [loss, _points(pair.accuracy)]
            cells += [*([f"{pair.images:,}"] if wide else []), _verdict(pair)]
        style = "bold red" if pair.is_worse else ""
        table.add_row(*(Text(visible(cell)) for cell in cells), style=style)
    return table


def _points(share: Estimate) -> str:
    """Return a difference of shares in percentage points, with its interval.

    Where no image differs, there is no spread to compute an interval from.
    """
    value, *ends = (
        numbers.decimal(100 * part, 1, signed=True) for part in (share.value, share.low, share.high)
    )
    return f"{value} [{', '.join(ends)}]" if share.low < share.high else value


def _verdict(pair: Pair) -> str:
    if pair.agreement == "identical":
        return "identical"
    if pair.is_worse:
        return "worse"
    if pair.is_better:
        return "better"
    return "same to 1e-6" if pair.agreement == "within tolerance" else "no difference seen"


def _others(matched: Matched) -> Iterator[str]:
    for run, _ in matched.broken:
        yield f"{run.record.status} now, completed before: {run.record.name}: {reason_of(run)}"
    for title, runs in (("now", matched.added), ("before", matched.removed)):
        if runs:
            yield f"Completed only {title}: {counted(len(runs), 'run')}, {_names(runs)}."


def _names(runs: Sequence[Run]) -> str:
    return enumerated([run.record.name for run in runs], _MOST)
