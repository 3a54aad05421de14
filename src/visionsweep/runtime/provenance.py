"""Versions of packages, and the commit of the checkout."""

import importlib.metadata
import platform
import subprocess
from contextlib import suppress
from functools import cache
from typing import Any

import visionsweep
from visionsweep.command_memory import remembered
from visionsweep.installation import CHECKOUT

_PACKAGES = ("torch", "torchvision", "timm", "pillow", "numpy", "hydra-core")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, this package, and the packages that affect numbers."""
    installed = {"python": platform.python_version(), "visionsweep": visionsweep.__version__}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


@remembered()
def git_state() -> dict[str, Any] | None:
    """Return the commit and whether tracked files differ from it; None outside a checkout."""
    if CHECKOUT is None:  # the installed package may lie within a repository of the user's
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(CHECKOUT), *arguments]
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=10)
        return done.stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
