"""Declare a setting: its help, valid values, and roles."""

import math
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

Role = Literal["result", "derived", "runtime"]


@dataclass(frozen=True)
class Setting:
    """Declaration of a setting, except its default.

    Attributes:
        help: one line for `--help`.
        role: `result` if it determines numbers; `derived` if other settings, images, or weights
            determine its effect; `runtime` if it concerns only where and how a run is made.
        choices: valid strings; empty for any.
        ge, gt, le, lt: bounds of a number.
        valid: predicate of valid values, if bounds do not suffice.
        expected: description of valid values; by default derived from type and bounds.
        path: True for the path of a file or folder, which is taken literally.
        place: True for the location of data, which is never read from a record.
        of_sweep: True for one value per sweep.
        recorded: True for a `runtime` setting that is read from the record to reproduce a run.
        names_group: True for the name of the option of its config group in tables.
        always_shown: True to show it in tables even if it was not swept.
        hparam: True to show it in TensorBoard's HParams table.
        in_steps: True for a setting of training in steps, without effect on a head that is solved.
        implied: function from the `name` of its config group to the value in records without it.
        key: dotted key.
        type: type annotation.
    """

    help: str
    role: Role = "result"
    choices: tuple[str, ...] = ()
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    valid: Callable[[Any], bool] | None = None
    expected: str = ""
    path: bool = False
    place: bool = False
    of_sweep: bool = False
    recorded: bool = False
    names_group: bool = False
    always_shown: bool = False
    hparam: bool = False
    in_steps: bool = False
    implied: Callable[[Any], Any] | None = None
    key: str = ""
    type: Any = None

    @cached_property
    def optional(self) -> bool:
        """True if the value may be null."""
        return type(None) in get_args(self.type)

    @cached_property
    def is_number(self) -> bool:
        """True if the value is a number."""
        return self.type in (int, float, int | None, float | None)

    def accepts(self, value: Any) -> bool:
        """Return whether a value of the declared type is valid."""
        if value is None:
            return self.optional
        if self.choices:
            return value in self.choices
        if self.is_number:
            return (
                math.isfinite(value)
                and (self.ge is None or value >= self.ge)
                and (self.gt is None or value > self.gt)
                and (self.le is None or value <= self.le)
                and (self.lt is None or value < self.lt)
            )
        return self.valid is None or self.valid(value)

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
        if self.type is bool:
            return "true or false"
        if not self.is_number:
            return "a text"
        number = "a whole number" if int in (self.type, *get_args(self.type)) else "a number"
        if self.gt is not None and self.lt is not None:
            return f"{number} between {self.gt:g} and {self.lt:g}"
        if self.ge is not None and self.le is not None:
            return f"{number} from {self.ge:.10g} to {self.le:.10g}"
        if self.ge is not None and self.lt is not None:
            return f"{number} from {self.ge:g} to below {self.lt:g}"
        if self.ge is not None:
            return f"{number} of at least {self.ge:g}"
        if self.gt is not None:
            above = f"{number} above {self.gt:g}"
            return above if self.le is None else f"{above} and at most {self.le:g}"
        return number


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
