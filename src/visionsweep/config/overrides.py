"""Parse the arguments of a command: Hydra's flags, in any order, and settings."""

import argparse
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NoReturn, cast

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

import visionsweep
from visionsweep.config import derived
from visionsweep.config.derived import GROUPS, keys
from visionsweep.config.path_settings import is_path, literal_path, path_text, refuse_split_path
from visionsweep.errors import UserError, nearest
from visionsweep.text import shell

_PRINTING = ("help", "hydra_help", "cfg", "info", "shell_completion")  # these flags run nothing
_SWITCHES = ("help", "hydra_help", "shell_completion", "run", "resolve")
_WITH_VALUE = ("cfg", "package", "info", "config_path", "config_name", "config_dir")


@dataclass(frozen=True)
class Arguments:
    """The arguments of `train.py`."""

    flags: argparse.Namespace  # Hydra's own
    settings: list[str]  # `key=value`, each key once; paths are quoted for Hydra if they need it
    notes: list[str]  # messages about settings that were left out

    @property
    def only_prints(self) -> bool:
        """Whether Hydra will print something and run nothing."""
        return any(vars(self.flags)[name] for name in _PRINTING)

    def for_hydra(self) -> list[str]:
        """Return the arguments as Hydra reads them: flags first, each in its full spelling."""
        given = vars(self.flags)
        words = ["-m"] if self.flags.multirun else []
        words += [_spelled(name) for name in _SWITCHES if given[name]]
        words += [f"{_spelled(name)}={given[name]}" for name in _WITH_VALUE if given[name]]
        return words + self.settings


def _spelled(flag: str) -> str:
    return f"--{flag.replace('_', '-')}"


def read(arguments: Sequence[str]) -> Arguments:
    """Parse the arguments of `train.py`.

    Raises:
        UserError: if a flag does not exist or cannot be combined with another, or is mistyped.
    """
    for text in arguments:
        _refuse_letters(text)
        bare = text.partition("=")[0].lstrip("-+~")
        if text.startswith("-") and bare in (*derived.settings(), *GROUPS):
            raise UserError(f"settings have no dashes; write {bare}=...", where=text)
    if "--version" in arguments:
        print(f"VisionSweep {visionsweep.__version__}, Hydra {hydra.__version__}")
        raise SystemExit(0)
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown is None:
            raise UserError(message)
        flags = map(_spelled, vars(parser.parse_args([])))
        raise UserError(f"no such flag{nearest(unknown[1], flags)}", where=unknown[1])

    setattr(parser, "error", refuse)  # noqa: B010 (argparse's own way to override it is a subclass)
    flags = parser.parse_intermixed_args(list(arguments))
    given: list[str] = flags.overrides
    for before, text, following in zip(["", *given], given, [*given[1:], ""], strict=False):
        refuse_split_path(before, text)
        _refuse_typo(text, following)
    last: dict[str, str] = {}  # of a key given twice, Hydra uses the last
    notes = []
    for text in given:
        key, equals, _ = text.partition("=")
        if equals and key.startswith("++") and key[2:] in (*derived.settings(), *GROUPS):
            key, text = key[2:], text[2:]  # `++` has no effect on a key of the schema
        if last.get(key, text) != text:
            notes.append(f"{last[key]}: left out, since {text} comes after it")
        last[key] = text
    _refuse_flags(flags)
    return Arguments(flags, [literal_path(text) for text in last.values()], notes)


def _refuse_flags(flags: argparse.Namespace) -> None:
    """Refuse flags that Hydra ignores, answers with a traceback, or must not act on."""
    given = [_spelled(name) for name in (*_PRINTING, "run", "multirun") if vars(flags)[name]]
    if len(given) > 1 and not flags.help:
        raise UserError(f"{' and '.join(given)} cannot be given together")
    if flags.experimental_rerun:
        raise UserError(
            "would run code out of a pickle",
            where="--experimental-rerun",
            hint="Use python src/reproduce.py RUN",
        )
    for name in ("resolve", "package"):
        if vars(flags)[name] and not flags.cfg:
            raise UserError("needs --cfg beside it", where=f"--{name}")


def _refuse_typo(text: str, following: str = "") -> None:
    """Refuse typing mistakes that Hydra's grammar accepts or explains badly."""
    valid_keys = [*derived.settings(), *GROUPS]
    key, equals, value = text.partition("=")
    bare = key.lstrip("+~")
    if equals and not bare:
        raise UserError("no key; settings are key=value, without spaces around =", where=text)
    if (equals and key != key.strip()) or following == "=":
        remedy = f"; write {key.strip()}=..., without spaces around ="
        raise UserError(f"no value; settings are key=value{remedy}", where=text)
    if not equals and not text.startswith("~"):
        remedy = f"; write {key}=..." if key in valid_keys else nearest(key, valid_keys)
        if ":" in text and text.partition(":")[0] in valid_keys:
            remedy = f"; write {text.replace(':', '=', 1)}"
        raise UserError(f"no value; settings are key=value{remedy}", where=text)
    if bare not in keys(path=True):
        if value.startswith("="):
            hint = f"Write {key}={value.lstrip('=')}"
            raise UserError("has two equals signs", where=text, hint=hint)
        if value.endswith(","):
            raise UserError("ends in a comma; write lists without spaces: epochs=5,10", where=text)


def _refuse_letters(text: str) -> None:
    """Refuse dashes and invisible characters that come from word processors and web pages."""
    if not text.strip():
        raise UserError("one argument is empty", hint="Is a variable of the shell not set?")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(
            "these bytes are not UTF-8, in which records are written",
            where=shell.word(text),
            hint="Rename the folder, or make a link to it that has another name",
        ) from None
    if text[0] == "\N{MINUS SIGN}" or (text[0] != "-" and unicodedata.category(text[0]) == "Pd"):
        rest = re.sub(r"^\W+", "", text)
        is_setting = rest.partition("=")[0] in (*derived.settings(), *GROUPS)
        dashes = "" if is_setting else "-" if len(rest) == 1 else "--"
        raise UserError(
            f"begins with {unicodedata.name(text[0])}, not with a hyphen",
            where=text,
            hint=f"Write {dashes}{rest}",
        )
    key = text.partition("=")[0]
    looked_at = key if key.lstrip("+") in keys(path=True) else text
    for letter in looked_at:
        if not letter.isprintable() and letter not in "\t\n":
            name = unicodedata.name(letter, f"U+{ord(letter):04X}")
            raise UserError(
                f"holds an invisible character, {name}", where=ascii(text), hint="Type it again"
            )


def values_for(settings: Sequence[str]) -> dict[str, object]:
    """Return the values of the settings of `evaluate.py` and `reproduce.py`, by key.

    Paths are taken literally, with `~` expanded; see `literal_path`.

    Raises:
        UserError: if one cannot be read, or holds several values.
    """
    values: dict[str, object] = {}
    for before, text in pairwise(["", *settings]):
        _refuse_letters(text)
        refuse_split_path(before, text)
        _refuse_typo(text)
        key, _, value = text.partition("=")
        if is_path(key, value):
            values[key] = path_text(value)
            continue
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException:
            quoted = shell.word(shell.settings(key, [value]))
            hint = f"Quote a value with commas or brackets: {quoted}"
            raise UserError("cannot be read", where=text, hint=hint) from None
        if override.is_sweep_override():
            raise UserError("one value, not several", where=text)
        values[key] = override.value()
    return values


def values_of(override: Override) -> list[str]:
    """Return the settings that a list stands for; of an interval, those of its ends."""
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    if override.is_interval_sweep():
        interval = cast(IntervalSweep, override.value())
        return [f"{key}={interval.start}", f"{key}={interval.end}"]
    return [override.input_line or ""]
