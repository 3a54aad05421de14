"""The installed command `visionsweep`: the first argument names what the scripts of src/ do."""

import sys
from collections.abc import Sequence
from importlib import import_module

import visionsweep
from visionsweep.errors import nearest

COMMANDS = {
    "train": "train one experiment, or with -m a sweep of them",
    "compare": "print the leaderboard of finished runs",
    "predict": "classify new images with the best run, or a named one",
    "evaluate": "score a run on any images",
    "export": "write a run's model for other programs, with a model card",
    "reproduce": "train a run again and compare every number",
    "view": "open TensorBoard on the latest sweep",
    "cache": "list, verify, or delete stored features",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, and return its exit status."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in COMMANDS:
        command = import_module(f"visionsweep.cli.{name}")
        return int(command.main(rest))
    if name == "--version":
        print(f"visionsweep {visionsweep.__version__}")
        return 0
    lines = [f"  {command:<14} {what}" for command, what in COMMANDS.items()]
    usage = "\n".join(
        ["usage: visionsweep COMMAND [...]", "", *lines, "", "Each explains itself: --help."]
    )
    if name in ("-h", "--help"):
        print(usage)
        return 0
    print(f"{name}: no such command{nearest(name, list(COMMANDS))}\n\n{usage}", file=sys.stderr)
    return 2
