"""Models and weights of torchvision, read from its source: importing it takes seconds.

Tests compare them with `torchvision.models`.
"""

import importlib.util
import re
from functools import cache
from pathlib import Path

_BUILDER = re.compile(
    r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(\s*\*, weights: Optional\[(\w+)\]", re.MULTILINE
)
_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?: .*\n|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+) = ", re.MULTILINE)


@cache
def torchvision_models() -> tuple[str, ...]:
    """Return the names of torchvision's classification models."""
    return tuple(sorted(torchvision_weights()))


@cache
def torchvision_weights() -> dict[str, tuple[str, ...]]:
    """Return the names of the weights of each classification model, `DEFAULT` last."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.origin is not None
    by_model: dict[str, tuple[str, ...]] = {}
    for file in (Path(spec.origin).parent / "models").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        entries = {name: tuple(_ENTRY.findall(body)) for name, body in _WEIGHTS.findall(text)}
        by_model |= {model: entries[name] for model, name in _BUILDER.findall(text)}
    return by_model
