"""Commands that are printed to be pasted: quoted for the shell and, in settings, for Hydra."""

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from visionsweep.text.escaping import visible

_SCRIPTS = Path(__file__).resolve().parents[2]
_PLAIN = re.compile(r"[\w./:+-]+", re.ASCII)


def command(*words: str | Path) -> str:
    """Return a command line that a shell splits into these words again.

    Args:
        words: the program and its arguments. A `Path` is protected from being read as an option or
            as somebody's home; a `str` is passed on as it is.
    """
    return " ".join(word(place(w) if isinstance(w, Path) else w) for w in words)


def word(text: str) -> str:
    """Quote one argument for a POSIX shell.

    What cannot be printed (control characters, bytes that are not UTF-8) is written as `$'...'`,
    which bash, zsh and ksh understand.
    """
    if _is_plain(text):
        return shlex.quote(text)
    return "$'" + "".join(_escaped(letter) for letter in text) + "'"


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return "\\" + letter
    if _is_plain(letter):
        return letter
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(letter))


def _is_plain(text: str) -> bool:
    return text.isprintable() and visible(text) == text


def place(path: Path) -> str:
    """Return a path as an argument that is neither an option nor a home: `./-x`, `./~x`."""
    text = str(path)
    return f"./{text}" if text.startswith(("-", "~")) else text


def script(name: str) -> Path:
    """Return where a script of this checkout is, relative to the working directory if below it."""
    try:
        return (_SCRIPTS / name).relative_to(Path.cwd())
    except (ValueError, OSError):  # elsewhere; or the working directory is gone
        return _SCRIPTS / name


def setting(key: str, path: Path) -> str:
    """Return `key=path` as Hydra reads it, not yet quoted for the shell."""
    return f"{key}={hydra_value(literal(place(path)))}"


def settings(key: str, texts: Iterable[str]) -> str:
    """Return `key=a,b,...`, each a text for Hydra."""
    return f"{key}={','.join(map(hydra_value, texts))}"


def hydra_value(text: str) -> str:
    """Write a text as a value of Hydra's grammar: quoted where it would not be read as itself."""
    if _PLAIN.fullmatch(text) and parsed_text(text) == text:
        return text
    return QuotedString(text, Quote.double).with_quotes()


def parsed_text(value: str) -> str | None:
    """Return the text that Hydra reads in a value; None if it reads something else in it."""
    try:
        override = OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None
    found = None if override.is_sweep_override() else override.value()
    return found if isinstance(found, str) else None


def literal(text: str) -> str:
    """Protect `${` from being read as an interpolation by OmegaConf."""
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)


def expanded(text: str) -> str:
    """Expand `~` and `~user`; unlike `Path.expanduser`, keep what names nobody's home."""
    return os.path.expanduser(text)  # noqa: PTH111
