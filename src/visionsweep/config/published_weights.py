"""Which weights torchvision publishes for a model, read from its source without importing it."""

import ast
import importlib.util
from functools import cache
from pathlib import Path


@cache
def torchvision_weights() -> dict[str, tuple[str, ...]]:
    """Return the names of the weights of each classification model, `DEFAULT` last.

    Importing torchvision takes seconds; a test compares this with `torchvision.models`.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted((Path(spec.origin).parent / "models").glob("*.py")):
        body = ast.parse(file.read_text(encoding="utf-8")).body
        entries = {node.name: _entries(node) for node in body if isinstance(node, ast.ClassDef)}
        for node in body:
            if isinstance(node, ast.FunctionDef) and (weights := _annotation(node)) in entries:
                found[node.name] = entries[weights]
    return found


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
