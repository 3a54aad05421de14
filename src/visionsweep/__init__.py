"""VisionSweep: which pretrained model, how much data and how much training work best here.

`sweep`, `load`, `Runs`, and `Model` are imported when they are used: importing the package imports
nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionsweep.api.model import Model, load
    from visionsweep.api.sweeps import Runs, sweep
    from visionsweep.errors import UserError

__all__ = ["Model", "Runs", "UserError", "__version__", "load", "sweep"]

__version__ = "0.1.0"

_HOMES = {
    "Model": "visionsweep.api.model",
    "load": "visionsweep.api.model",
    "Runs": "visionsweep.api.sweeps",
    "sweep": "visionsweep.api.sweeps",
    "UserError": "visionsweep.errors",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
