"""The check of a GPU passes on a CPU, and fails where a device is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive

SCRIPT = Path(__file__).parent.parent / "scripts" / "gpu_check.py"


def test_the_checks_pass_on_a_cpu():
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--quick", "--markdown", "--only"]
    checks = ["features", "overflow", "not-finite", "memory", "leases", "speed", "heads"]
    done = subprocess.run([*command, *checks], capture_output=True, text=True)
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert done.returncode == 0, done.stdout + done.stderr
    assert {row[1] for row in rows[1:]} == {"ok"} and len(rows) >= 1 + len(checks)
