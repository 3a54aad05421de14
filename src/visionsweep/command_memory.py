"""What a command remembers until it ends: results computed once, warnings given once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_memories: list[dict[object, Any]] = [{}]  # innermost command last; a launcher's process has one


def remembered(maxsize: int | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Cache the results of a function until the command ends, as `functools.lru_cache(maxsize)`.

    For results that depend on files or on the environment. A function without arguments that
    returns an empty set, for example, owns a set for each command.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            memory = _memories[-1]
            if function not in memory:
                memory[function] = lru_cache(maxsize)(function)
            result: R = memory[function](*args, **kwargs)
            return result

        return call

    return decorate


def forget(function: Callable[..., Any] | None = None) -> None:
    """Forget the results of a function decorated by `remembered`; None forgets everything."""
    if function is None:
        _memories[-1].clear()
    else:
        _memories[-1].pop(getattr(function, "__wrapped__", function), None)


@contextmanager
def fresh_memory() -> Iterator[None]:
    """Begin with nothing remembered inside the block, and forget it afterwards."""
    _memories.append({})
    try:
        yield
    finally:
        _memories.pop()
