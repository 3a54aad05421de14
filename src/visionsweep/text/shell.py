"""Quote printed commands for the shell, and settings in them for Hydra."""

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from visionsweep.installation import CHECKOUT
from visionsweep.text.escaping import visible

_PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)


def command(*words: str | Path) -> str:
    """Return a command line that a shell splits into these words.

    Args:
        words: program and arguments. A `Path` is never read as an option or a home folder; a `str`
            is passed literally.
    """
    return " ".join(word(place(w) if isinstance(w, Path) else w) for w in words)


def word(text: str) -> str:
    """Quote an argument for a POSIX shell.

    Control characters and bytes that are not UTF-8 are written as `$'...'`, which bash, zsh, and
    ksh understand.
    """

    def is_plain(text: str) -> bool:
        return text.isprintable() and visible(text) == text

    def escaped(letter: str) -> str:
        if is_plain(letter):
            return letter.replace("\\", r"\\").replace("'", r"\'")
        return "".join(f"\\{byte:03o}" for byte in os.fsencode(letter))

    return shlex.quote(text) if is_plain(text) else f"$'{''.join(map(escaped, text))}'"


def place(path: Path) -> str:
    """Return a path as an argument that is neither an option nor a home folder: `./-x`, `./~x`."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", "~")) else text


def program(name: str) -> str:
    """Return `sys.argv[0]` of a command: its script in a checkout, else `visionsweep NAME`.

    A script's path is relative to the working directory if it is below it.
    """
    if CHECKOUT is None:
        return f"visionsweep {name}"
    script = CHECKOUT / "src" / f"{name}.py"
    try:
        return str(script.relative_to(Path.cwd()))
    except (ValueError, OSError):  # OSError: the working directory was deleted
        return str(script)


def run(name: str, *words: str | Path) -> str:
    """Return the command line that runs a command of this package with arguments."""
    return rerun([program(name)], *words)


def rerun(argv: Sequence[str], *words: str | Path) -> str:
    """Return the command line of a process with this `sys.argv`, and more arguments."""
    start = ("python", Path(argv[0])) if argv[0].endswith(".py") else argv[0].split(maxsplit=1)
    return command(*start, *argv[1:], *words)


def setting(key: str, path: Path) -> str:
    """Return `key=path`, quoted for Hydra but not for the shell."""
    return f"{key}={hydra_value(literal(place(path)))}"


def settings(key: str, texts: Iterable[str]) -> str:
    """Return `key=a,b,...`, quoted for Hydra."""
    return f"{key}={','.join(map(hydra_value, texts))}"


def hydra_value(text: str) -> str:
    """Return a text as a value in Hydra's grammar, quoted if necessary."""
    if _PLAIN.fullmatch(text) and parsed_text(text) == text:
        return text
    return QuotedString(text, Quote.double).with_quotes()


def parsed_text(value: str) -> str | None:
    """Return the text that Hydra parses from a value, or None if it parses something else."""
    try:
        override = OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None
    parsed = None if override.is_sweep_override() else override.value()
    return parsed if isinstance(parsed, str) else None


def literal(text: str) -> str:
    """Escape `${`, which OmegaConf would interpolate."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def expanded(text: str) -> str:
    """Expand `~` and `~user`; unlike `Path.expanduser`, keep unknown users."""
    return os.path.expanduser(text)  # noqa: PTH111
