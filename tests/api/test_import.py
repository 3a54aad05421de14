"""Importing the package is cheap, and its functions are there."""

import subprocess
import sys

import pytest

import visionsweep

HEAVY = {"torch", "numpy", "hydra", "PIL", "pandas", "scipy"}


def test_import_loads_no_library():
    code = "import sys, visionsweep; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("first", ["visionsweep.api.sweeps", "visionsweep.sweeps.callback"])
def test_sweep_is_called_also_where_its_folder_was_imported(first):
    code = f"import visionsweep, {first}; visionsweep.sweep(modle='effnetb0')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "visionsweep.errors.UserError" in done.stderr and "did you mean" in done.stderr


def test_every_public_name_is_there():
    assert all(getattr(visionsweep, name) for name in visionsweep.__all__)
    assert set(visionsweep.__all__) <= set(dir(visionsweep))
    with pytest.raises(AttributeError):
        visionsweep.nothing  # noqa: B018
