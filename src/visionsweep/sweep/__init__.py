"""The runs of one command: session, launchers, progress. Called, it is `api.sweeps.sweep`."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """`visionsweep.sweep` is this folder, and for users of the package a function."""

    def __call__(self, settings: Any = None, /, **values: Any) -> Any:
        return import_module("visionsweep.api.sweeps").sweep(settings, **values)


sys.modules[__name__].__class__ = _Callable
