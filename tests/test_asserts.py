"""Input is never checked by `assert`, which `python -O` leaves out."""

import ast
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
SOURCES = sorted([*(CHECKOUT / "src").rglob("*.py"), *(CHECKOUT / "scripts").rglob("*.py")])


def narrows_a_type(condition: ast.expr) -> bool:
    """Say whether a condition only tells mypy a type: `isinstance(...)` or `... is not None`."""
    if isinstance(condition, ast.BoolOp):
        return all(narrows_a_type(value) for value in condition.values)
    if isinstance(condition, ast.UnaryOp):
        return narrows_a_type(condition.operand)
    if isinstance(condition, ast.Call):
        return isinstance(condition.func, ast.Name) and condition.func.id == "isinstance"
    return (
        isinstance(condition, ast.Compare)
        and isinstance(condition.ops[0], ast.IsNot)
        and isinstance(condition.comparators[0], ast.Constant)
        and condition.comparators[0].value is None
    )


def test_asserts_in_the_source_only_narrow_types():
    wrong = [
        f"{path.relative_to(CHECKOUT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert) and not narrows_a_type(node.test)
    ]
    assert wrong == []


ON_OTHER_IMAGES = """
import numpy as np
from visionsweep.analysis.comparison import compare
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.errors import UserError

def run(first):
    logits = np.random.default_rng(first).normal(size=(2, 9, 3)).astype(np.float32)
    images = tuple(f"{first + k:032x}" for k in range(9))
    return RunLosses.of(Predictions(logits, np.arange(9) % 3, images))

compare([run(0), run(0)])
for check in (compare, RunLosses.together):
    try:
        check([run(0), run(1)])
    except UserError as error:
        print("refused:", error.what)
"""


def test_runs_on_other_images_are_refused_without_asserts():
    done = subprocess.run(
        [sys.executable, "-O", "-c", ON_OTHER_IMAGES], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("refused: 1 of 2 runs were scored on other images") == 2
