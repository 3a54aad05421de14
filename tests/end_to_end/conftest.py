"""Runs the commands as a user does: as processes, in a working directory of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from visionsweep.data.sample import render_sample

SOURCE = Path(__file__).parents[2] / "src"
NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory):
    """A data folder that holds the built-in sample as far as 20 % needs it."""
    root = tmp_path_factory.mktemp("data")
    render_sample(root, 0.2)
    return root


class Commands:
    """The project's commands, run in `directory` where neither photographs nor weights are had."""

    def __init__(self, directory: Path, data_root: Path) -> None:
        self.directory = directory
        self.environment = os.environ | {
            "TORCH_HOME": str(directory / "torch"),
            "VISIONSWEEP_CACHE": str(directory / "cache"),
            "COLUMNS": "200",
        }
        self.tiny = [
            f"data.root={data_root}",
            f"data.base_url={NOWHERE}",
            f"model.weights_url={NOWHERE}",
            "transform.size=32",
        ]

    def start(self, script: str, *arguments: str, **options) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, str(SOURCE / script), *map(str, arguments)],
            cwd=options.pop("cwd", self.directory),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, script: str, *arguments: str, **options) -> subprocess.CompletedProcess:
        process = self.start(script, *arguments, **options)
        out, error = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def train(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.run("train.py", *arguments, *self.tiny)


@pytest.fixture(scope="session")
def sweep_of_eight(tmp_path_factory, sample_root):
    """The eight runs, made once by the very command of the README, with tiny settings."""
    commands = Commands(tmp_path_factory.mktemp("eight"), sample_root)
    done = commands.train(
        "-m", "model=effnetb0,effnetb2", "data=10pct,20pct", "epochs=5,10"
    )  # fmt: skip
    return commands, done


@pytest.fixture
def commands(tmp_path, sample_root):
    return Commands(tmp_path, sample_root)
