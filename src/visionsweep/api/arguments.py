"""Python values as settings of a command line."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias

from visionsweep.config.derived import keys
from visionsweep.errors import UserError
from visionsweep.text import shell

Value: TypeAlias = str | int | float | bool | Path | tuple[Any, ...] | Mapping[str, Any] | None


def argument(key: str, value: Value | Sequence[Value]) -> str:
    """Return a setting as an argument of `train.py`, quoted for Hydra.

    Args:
        key: dotted key of a setting, or name of a config group.
        value: one value, or a list of values to sweep. A tuple is one value, a list.

    Raises:
        UserError: if the list is empty, or a value is of a type that no setting has.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | tuple):
        if not value:
            raise UserError("is an empty list", where=key, hint="Give at least one value")
        return f"{key}={','.join(_text(key, one) for one in value)}"
    return f"{key}={_text(key, value)}"


def _text(key: str, value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, Path) or (isinstance(value, str) and key in keys(path=True)):
        return shell.hydra_value(shell.literal(shell.place(Path(value))))
    if isinstance(value, str):
        return shell.hydra_value(value)
    if isinstance(value, tuple):
        return f"[{','.join(_text('', item) for item in value)}]"
    if isinstance(value, Mapping):
        items = (f"{shell.hydra_value(str(k))}:{_text('', item)}" for k, item in value.items())
        return f"{{{','.join(items)}}}"
    raise UserError(
        f"{type(value).__name__} is no type of a setting's value",
        where=key,
        hint="Give text, a number, True or False, None, a path, a tuple, or a mapping",
    )
