"""Models and weights of torchvision, read from its source without importing it."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path


@cache
def torchvision_models() -> tuple[str, ...]:
    """Return the names of torchvision's classification models.

    Importing torchvision takes seconds; a test compares this with `torchvision.models`.
    """
    registered = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
    return tuple(sorted(name for text in _sources() for name in registered.findall(text)))


@cache
def torchvision_weights() -> dict[str, tuple[str, ...]]:
    """Return the names of the weights of each classification model, `DEFAULT` last.

    Importing torchvision takes seconds; a test compares this with `torchvision.models`.
    """
    by_model: dict[str, tuple[str, ...]] = {}
    for text in _sources():
        body = ast.parse(text).body
        entries = {node.name: _entries(node) for node in body if isinstance(node, ast.ClassDef)}
        for node in body:
            if isinstance(node, ast.FunctionDef) and (weights := _annotation(node)) in entries:
                by_model[node.name] = entries[weights]
    return by_model


def _sources() -> list[str]:
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.origin is not None
    files = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    return [file.read_text(encoding="utf-8") for file in files]


def _entries(enum: ast.ClassDef) -> tuple[str, ...]:
    assigned = (node.targets[0] for node in enum.body if isinstance(node, ast.Assign))
    return tuple(target.id for target in assigned if isinstance(target, ast.Name))


def _annotation(builder: ast.FunctionDef) -> str:
    """Return `X` of a builder's argument `weights: Optional[X]`."""
    for argument in builder.args.kwonlyargs:
        kind = argument.annotation
        if argument.arg == "weights" and isinstance(kind, ast.Subscript):
            return ast.unparse(kind.slice)
    return ""
