"""Print the leaderboard of finished runs, best first by validation loss, and what it proves.

python src/compare.py outputs
python src/compare.py outputs/2026-01-31 --top 5 --sort test_accuracy
python src/compare.py outputs --html report.html
python src/compare.py outputs --csv > runs.csv
python src/compare.py NEW_SWEEP --against EARLIER_SWEEP
"""

import gc
import sys

from visionsweep.cli.entry import command, parser, path_argument, positive
from visionsweep.errors import nearest
from visionsweep.report import against, leaderboard
from visionsweep.report.columns import BY_KEY, as_csv, column_key, ordered, swept_columns
from visionsweep.report.metric_differences import difference_columns
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.paths import default_outputs
from visionsweep.storage.files import explained
from visionsweep.text import shell
from visionsweep.text.escaping import one_line


@command("compare")
def main(arguments: list[str]) -> int:
    """Print the leaderboard, or with --against what changed; 1 if there is no completed run."""
    gc.disable()  # it would traverse ten thousand records again and again, and find no cycle
    parse = parser(__doc__)
    add = parse.add_argument
    add("folders", nargs="*", type=path_argument, help="where to look (outputs)")
    add(
        "--sort", default="val_loss", metavar="COLUMN",
        help=f"the column to sort by: a metric, such as balanced_accuracy, with its paired "
        f"differences to the best run by it; a swept setting, such as optimizer.lr; or one of "
        f"{', '.join(BY_KEY)} (val_loss)",
    )  # fmt: skip
    add("--top", type=positive, metavar="N", help="show the first N only")
    add("--all", action="store_true", help="list every run that is not ranked, with its reason")
    add(
        "--expand-seeds", action="store_true",
        help="one row per run, also for runs that differ only by their seed",
    )  # fmt: skip
    add(
        "--against", type=path_argument, metavar="FOLDER",
        help="instead of the leaderboard, print what changed since this earlier sweep: settings, "
        "versions, images, and the scores of runs with equal settings; exit status 3 if a run is "
        "significantly worse or no longer completes, 1 if no two runs can be compared",
    )  # fmt: skip
    form = parse.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV, unrounded")
    form.add_argument("--markdown", action="store_true", help="print Markdown tables")
    form.add_argument(
        "--html", type=path_argument, metavar="FILE", help="write a page that holds it all"
    )
    options = parse.parse_args(arguments)
    folders = options.folders or [default_outputs()]
    discovered = find_runs(folders)
    if options.against is not None:
        forms = ("sort", "top", "all", "expand_seeds", "csv", "markdown", "html")
        if given := [name for name in forms if getattr(options, name) != parse.get_default(name)]:
            parse.error(f"--against cannot be given with --{given[0].replace('_', '-')}")
        return against.show(folders, discovered, options.against, find_runs([options.against]))
    groups = leaderboard.groups_of(discovered.runs, expand_seeds=options.expand_seeds)
    rows = [row for evidence in groups for row in evidence.rows]
    sort = column_key(options.sort)
    swept = swept_columns(rows) if rows and (options.csv or sort not in BY_KEY) else []
    keys = [column.key for column in swept]
    if rows and sort not in {*BY_KEY, *keys}:
        suffix = f"; these runs swept {', '.join(keys)}" if keys else ""
        near = nearest(options.sort, [*keys, *BY_KEY]) or ", see --help"
        parse.error(f"--sort {options.sort}: no such column{near}{suffix}")
    more = difference_columns(groups, sort) if rows else []
    if rows and not any(c.has_values(rows) for c in [BY_KEY.get(sort, BY_KEY["name"]), *more]):
        parse.error(f"--sort {options.sort}: none of these runs has it (docs/evidence.md)")
    if options.html:
        from visionsweep.report.page import write_page

        again = shell.run("compare", *arguments)
        with explained(options.html, "Name another file with --html FILE."):
            print(
                write_page(
                    groups, discovered.unfinished, options.html, command=again, sort=sort, more=more
                )
            )
    elif options.csv:
        print(as_csv(ordered(rows, sort)[: options.top], [*swept, *more]), end="")
    else:
        leaderboard.show(
            folders, discovered, groups, sort=sort, more=more,
            top=options.top, as_text=options.markdown, everything=options.all,
        )  # fmt: skip
        return 0 if rows else 1
    for line in [*discovered.skipped, *(line for each in groups for line in each.passed_over)]:
        print(f"passed over {one_line(line)}", file=sys.stderr)
    return 0 if rows else 1
