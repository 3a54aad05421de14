"""Run a record again from its own configuration, and say whether it comes to the same numbers.

    python src/reproduce.py outputs/2026-01-31/12-00-00-000000/effnetb0_10pct_5-epochs
    python src/reproduce.py RUN data.root=PATH device=cpu       where images and devices moved
    python src/reproduce.py RUN features.cache_dir=PATH         features computed anew

First lists what is not as it was: images, weights, versions, commit, device. Then trains, and says
`identical` (every score of every epoch and replicate, and every logit, bitwise), `within
tolerance` (scores differ by 0.000001 at most), or `different` and where first, with exit status 1.
It computes with as many CPU threads as the run did.

A record may come from anybody: no place in it is followed and nothing in it is interpolated. Data
sets and folders are this machine's own, as conf/ says; the images of data=folder are named by
data.root=PATH.
"""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from visionsweep.cli.entry import command, parser, path_argument, positive
from visionsweep.runs.paths import goes_on
from visionsweep.runtime import signals
from visionsweep.runtime.allocation import keep_freed_memory
from visionsweep.text import shell
from visionsweep.text.escaping import json_text, visible

if TYPE_CHECKING:
    from visionsweep.runs.record_diff import Agreement


@command("reproduce")
def main(arguments: list[str]) -> int:
    """Run a record again; exit status 1 if it comes to other numbers."""
    parse = parser(__doc__)
    add = parse.add_argument
    add("run", type=path_argument, help="a run's directory, or its result.json")
    add("settings", nargs="*", help="where and on what to run: data.root=..., device=...")
    add("--to", type=path_argument, metavar="FOLDER", help="where it goes (outputs/...)")
    add("--threads", type=positive, metavar="N", help="of the CPU (as the run)")
    add("--json", action="store_true", help="print JSON instead of a table")
    options = parse.parse_intermixed_args(arguments)

    from rich.table import Table

    from visionsweep.cli.selection import named_run
    from visionsweep.report.console import wide_console
    from visionsweep.runs.recorded_config import not_followed

    run = named_run(options.run, "reproduce")
    from visionsweep import reproduction  # torch comes with this: not for --help and refusals

    into = options.to or Path("outputs") / f"{datetime.now():%Y-%m-%d/%H-%M-%S-%f}"
    keep_freed_memory()
    config, recorded = reproduction.config_for(run, options.settings, into)
    reproduction.use_threads(run, options.threads)
    stream = sys.stderr if options.json else sys.stdout
    print(f"Run: {run.directory}; again in {into}", file=stream, flush=True)
    if notice := not_followed(recorded, options.settings):
        print(visible(notice), file=stream, flush=True)
    changed = reproduction.whats_changed(run, config, recorded)
    if changed and not options.json:
        table = Table("what", "recorded", "now", title="What differs")
        for change in changed:
            table.add_row(change.what, change.recorded, change.now)
        wide_console().print(table)
    elif not options.json:
        print("Nothing differs: images, weights, versions, commit and device are the run's.")
    sys.stdout.flush()
    try:
        with signals.installed():
            agreement = reproduction.run_again(run, config, into)
    except KeyboardInterrupt:
        destination = [] if options.to else ["--to", into]
        again = shell.rerun(sys.argv, *destination)
        print(f"Interrupted. {goes_on(into)}:\n  {again}", file=sys.stderr)
        raise
    if options.json:
        report = {"run": str(run.directory), "again": str(into), "changed": changed}
        content = msgspec.to_builtins(report | {"agreement": agreement})
        print(json_text(content, encoding=sys.stdout.encoding))
    else:
        print(verdict(agreement))
    return 1 if agreement.verdict == "different" else 0


def verdict(agreement: "Agreement") -> str:
    """Return the result of the comparison in words."""
    from visionsweep.runs.record_diff import TOLERANCE

    numbers = f"{agreement.compared:,} numbers"
    if agreement.logits is None:
        numbers += " (without logits, which the record lacks)"
    if agreement.verdict == "identical":
        return f"identical: all {numbers} are bitwise identical."
    parts = [f"{agreement.verdict}: {agreement.unequal:,} of {numbers} differ"]
    if agreement.largest is not None:
        parts.append(
            f"scores differ by {agreement.largest.size:.2g} at most ({agreement.largest.where})"
        )
    if agreement.logits:
        parts.append(f"logits by {agreement.logits:.2g}")
    beyond = f" by more than {TOLERANCE:g}" if agreement.verdict == "different" else ""
    return f"{'; '.join(parts)}.\nThe first that differs{beyond}: {agreement.first}."
