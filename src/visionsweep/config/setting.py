"""Declare a setting: its help, valid values, and roles."""

import math
import operator
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

Role = Literal["result", "derived", "evidence", "runtime"]

_HOLDS = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
_RANGES: dict[tuple[str, ...], str] = {  # by the bounds that are declared
    (): "",
    ("ge",): " of at least {ge:g}",
    ("gt",): " above {gt:g}",
    ("ge", "le"): " from {ge:.10g} to {le:.10g}",
    ("ge", "lt"): " from {ge:g} to below {lt:g}",
    ("gt", "le"): " above {gt:g} and at most {le:g}",
    ("gt", "lt"): " between {gt:g} and {lt:g}",
}


@dataclass(frozen=True)
class Setting:
    """Declaration of a setting, except its default.

    Its role is `result` if it determines numbers; `derived` if other settings, images, or weights
    determine its effect; `evidence` if it changes no number of the run, but how certain a
    comparison is; `runtime` if it concerns only where and how a run is made.
    """

    help: str  # one line for `--help`
    role: Role = "result"
    choices: tuple[str, ...] = ()  # valid strings; empty for any
    ge: float | None = None  # bounds of a number
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    valid: Callable[[Any], bool] | None = None  # predicate, if bounds do not suffice
    expected: str = ""  # description of valid values; by default derived from type and bounds
    path: bool = False  # names a file or folder, and is taken literally
    place: bool = False  # location of data, never read from a record
    of_sweep: bool = False  # one value per sweep
    recorded: bool = False  # `runtime`, and yet read from the record to reproduce a run
    names_group: bool = False  # names the option of its config group in tables
    always_shown: bool = False  # in tables, even if it was not swept
    hparam: bool = False  # in TensorBoard's HParams table
    in_steps: bool = False  # of training in steps, without effect on a head that is solved
    implied: Callable[[Any], Any] | None = None  # value in older records, by the group's `name`
    key: str = ""  # dotted
    type: Any = None  # annotation

    @cached_property
    def optional(self) -> bool:
        """True if the value may be null."""
        return type(None) in get_args(self.type)

    @cached_property
    def is_number(self) -> bool:
        """True if the value is a number."""
        return self.type in (int, float, int | None, float | None)

    @cached_property
    def _bounds(self) -> dict[str, float]:
        return {name: bound for name in _HOLDS if (bound := getattr(self, name)) is not None}

    def accepts(self, value: Any) -> bool:
        """Return whether a value of the declared type is valid."""
        if value is None:
            return self.optional
        if self.choices:
            return value in self.choices
        if not self.is_number:
            return self.valid is None or self.valid(value)
        within = all(_HOLDS[name](value, bound) for name, bound in self._bounds.items())
        return within and math.isfinite(value)

    @property
    def valid_values(self) -> str:
        """Description of the valid values, `"a whole number of at least 1"`."""
        null = ", or null" if self.optional else ""
        return (self.expected or self._from_type()) + null

    def _from_type(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.path:
            return "a path"
        if bool in (self.type, *get_args(self.type)):
            return "true or false"
        if not self.is_number:
            return "a text"
        number = "a whole number" if int in (self.type, *get_args(self.type)) else "a number"
        return number + _RANGES[tuple(self._bounds)].format(**self._bounds)


def setting(
    help: str,
    default: Any = MISSING,
    *,
    factory: Any = MISSING,
    added: bool = False,
    **declared: Any,
) -> Any:
    """Return a dataclass field that carries a `Setting`.

    Args:
        help: one line for `--help`.
        default: default value.
        factory: function that makes the default value, if it is mutable.
        added: True if older records lack the setting; they imply its default.
        declared: attributes of `Setting`.
    """
    if added:
        declared["implied"] = lambda _: default if factory is MISSING else factory()
    metadata = {"setting": Setting(help, **declared)}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


# What some settings of several groups have in common.
LABEL: dict[str, Any] = {
    "role": "derived",
    "names_group": True,
    "always_shown": True,
    "hparam": True,
}
ARGUMENTS: dict[str, Any] = {"factory": dict, "expected": "{name: value}", "added": True}
