"""Look at the feature store, verify it, or delete what it holds.

    python src/cache.py list
    python src/cache.py verify
    python src/cache.py clear [--model efficientnet_b0] [--yes]

Each takes --cache-dir DIR; without it, $VISIONSWEEP_CACHE or ~/.cache/visionsweep.
"""

import argparse
import ast
import os
import sys
from datetime import datetime
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table
from tqdm import tqdm

from visionsweep.cli.entry import command, parser, path_argument
from visionsweep.errors import UserError
from visionsweep.features import maintenance
from visionsweep.features.maintenance import StoreInfo
from visionsweep.report.console import PlainConsole
from visionsweep.storage.cache import cache_folder
from visionsweep.storage.files import explained
from visionsweep.text import shell


@command("cache")
def main(arguments: list[str]) -> int:
    """Do what was asked; exit status 1 if a shard was damaged or a store could not be deleted."""
    parse = parser(__doc__)
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument(
        "--cache-dir",
        type=path_argument,
        metavar="DIR",
        default=os.environ.get("VISIONSWEEP_CACHE", "~/.cache/visionsweep"),
        help="the folder of features.cache_dir (%(default)s)",
    )
    actions = parse.add_subparsers(dest="action", required=True)
    actions.add_parser("list", parents=[everywhere], help="show what is stored")
    actions.add_parser("verify", parents=[everywhere], help="read every shard, set damaged aside")
    clear = actions.add_parser("clear", parents=[everywhere], help="delete what is stored")
    clear.add_argument("--model", metavar="NAME", help="only this backbone's features")
    clear.add_argument("--yes", action="store_true", help="do not ask")
    options = parse.parse_args(arguments)
    cache = cache_folder(options.cache_dir)
    match options.action:
        case "list":
            return show(cache)
        case "verify":
            return verify(cache)
        case _:
            return delete(cache, options.model, sure=options.yes)


def show(cache: Path) -> int:
    """Print a table of stores, and what the whole cache holds."""
    stores = maintenance.stores(cache)
    table = Table("model", "weights", "transform", "device", title=f"Features in {cache}")
    for column in ("images", "size", "last used"):
        table.add_column(column, justify="right", no_wrap=True)
    for stored in stores:
        used = datetime.fromtimestamp(stored.used).strftime("%Y-%m-%d %H:%M")
        table.add_row(
            stored.model,
            stored.about.get("weights", "?"),
            _in_short(stored.about.get("transform", "?")),
            stored.about.get("device", "?"),
            f"{stored.images:,}",
            decimal(stored.bytes),
            used if stored.used else "never",
        )
    console = PlainConsole()
    console.print(table if stores else f"No features in {cache}", soft_wrap=not stores)
    total = sum(stored.bytes for stored in stores)
    console.print(
        f"features: {len(stores)} stores, {sum(s.images for s in stores):,} rows, {decimal(total)}"
    )
    for name, files in maintenance.caches(cache).items():
        size = sum(file.stat().st_size for file in files)
        total += size
        console.print(f"{name}: {len(files)} files, {decimal(size)}")
    console.print(f"total: {decimal(total)}")
    if unreadable := sum(stored.unreadable for stored in stores):
        again = shell.run("cache", "verify")
        console.print(f"{unreadable} shards cannot be read: {again}")
    return 0


def verify(cache: Path) -> int:
    """Read every shard, set damaged ones aside, and remove what killed processes left."""
    shards = maintenance.shards(cache)
    damaged = {}
    for shard in tqdm(shards, desc="Verifying", unit="shard", disable=None, leave=False):
        if (reason := maintenance.verify(shard)) is not None:
            damaged[shard] = reason
    removed = maintenance.tidy(cache)
    print(f"{len(shards)} shards read, {len(damaged)} damaged, {len(removed)} leftovers removed")
    return 1 if damaged else 0


def delete(cache: Path, model: str | None, *, sure: bool) -> int:
    """Delete stores, all of them or a model's; with all of them, the cached files beside them."""
    stores = maintenance.stores(cache)
    chosen = [stored for stored in stores if model in (None, stored.model)]
    if model is not None and not chosen:
        there = ", ".join(sorted({stored.model for stored in stores})) or "none"
        raise UserError(f"--model {model}: no features of it in {cache}; there are: {there}")
    cached = [f for files in maintenance.caches(cache).values() for f in files if model is None]
    if not chosen and not cached:
        print(f"Nothing to delete in {cache}")
        return 0
    size = decimal(sum(stored.bytes for stored in chosen))
    print(f"{len(chosen)} stores, {size}: {', '.join(sorted({s.model for s in chosen}))}")
    if not sure and not _agreed(cache):
        print("Nothing is deleted")
        return 1
    with explained(cache, "Not all is deleted."):
        busy = [stored for stored in chosen if not maintenance.delete(stored)]
        for file in cached if not busy else ():
            file.unlink(missing_ok=True)
    for stored in busy:
        print(f"{_named(stored)}: in use by another process; not deleted", file=sys.stderr)
    print(f"{len(chosen) - len(busy)} stores deleted")
    return 1 if busy else 0


def _in_short(transform: str) -> str:
    """Turn the record of a `Preprocessing` into `224x224 bilinear` or `256 > 224 bicubic`."""
    try:
        facts = ast.literal_eval(transform)
        resized = "x".join(map(str, facts["resize"]))
        crop = f" > {facts['crop']}" if facts["crop"] else ""
        return f"{resized}{crop} {facts['interpolation']}"
    except (ValueError, SyntaxError, KeyError, TypeError):
        return transform


def _named(stored: StoreInfo) -> str:
    return f"{stored.model} ({stored.folder})"


def _agreed(cache: Path) -> bool:
    if not sys.stdin.isatty():
        raise UserError("clear asks before it deletes, and there is no terminal: add --yes")
    return input(f"Delete them from {cache}? [y/N] ").strip().lower() in ("y", "yes")
