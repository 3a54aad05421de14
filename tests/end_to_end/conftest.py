"""Runs the commands as a user does, in a working directory of their own."""

import contextlib
import importlib
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visionsweep.data.synthetic import sample
from visionsweep.data.synthetic.sample import render_sample
from visionsweep.report.page import write_page
from visionsweep.runs.discovery import Run
from visionsweep.runs.record import Failure

SOURCE = Path(__file__).parents[2] / "src"
NOWHERE = "http://127.0.0.1:9"  # the discard port: refused at once


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory):
    """A data folder that holds the built-in sample as far as 20 % needs it."""
    root = tmp_path_factory.mktemp("data")
    render_sample(root, 0.2)
    return root


class Commands:
    """The project's commands in a directory, where neither photographs nor weights can be had.

    `run` and `train` call them in this process, `fork` in a fork of it, and `start` and `process`
    as a shell does.
    """

    def __init__(self, directory: Path, data_root: Path) -> None:
        self.directory = directory
        self.environment = os.environ | {
            "TORCH_HOME": str(directory / "torch"),
            "VISIONSWEEP_CACHE": str(directory / "cache"),
            "COLUMNS": "200",
        }
        self.own = [f"data.root={data_root}", f"data.base_url={NOWHERE}"]  # as no record says it
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

    def run(
        self, script: str, *arguments: object, cwd: Path | None = None
    ) -> subprocess.CompletedProcess:
        """Call a command's `main`; returns what a process would."""
        out, error = io.StringIO(), io.StringIO()
        name, given = script.removesuffix(".py"), [*map(str, arguments)]
        main = importlib.import_module(f"visionsweep.cli.{name}").main
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(cwd or self.directory),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(error),
        ):
            for key, value in self.environment.items():
                patch.setenv(key, value)
            status = main(given)
        return subprocess.CompletedProcess(
            [script, *given], status, out.getvalue(), error.getvalue()
        )

    def process(self, script: str, *arguments: object, **options) -> subprocess.CompletedProcess:
        """Run a command as a process of its own."""
        process = self.start(script, *arguments, **options)
        out, error = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, error)

    def train(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.run("train.py", *arguments, *self.tiny)

    def interrupt_when(self, pattern: str) -> None:
        """Press Ctrl-C, as it were, when a file below the directory matches a pattern."""

        def press() -> None:
            for _ in range(12_000):
                if list(self.directory.glob(pattern)):
                    return os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

        threading.Thread(target=press, daemon=True).start()

    def fork(self, script: str, *arguments: object) -> multiprocessing.Process:
        """Run a command in a fork of this process, which has imported torch already."""

        def child() -> None:
            torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
            sys.exit(self.run(script, *arguments).returncode)

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        return process


@pytest.fixture(scope="session")
def sweep_of_eight(tmp_path_factory, sample_root):
    """The eight runs, made once by the very command of the README, with tiny settings."""
    commands = Commands(tmp_path_factory.mktemp("eight"), sample_root)
    done = commands.process(
        "train.py", "-m", "model=effnetb0,effnetb2", "data=10pct,20pct", "epochs=5,10",
        *commands.tiny,
    )  # fmt: skip
    return commands, done


@pytest.fixture
def publish() -> Callable[..., str]:
    """Publish archives like those of the photographs, of drawings; gives their address."""

    def publish(folder: Path, padding: int = 0) -> str:
        folder.mkdir()
        archives = {"pizza_steak_sushi": (5, 3), "pizza_steak_sushi_20_percent": (10, 6)}
        for name, (train, test) in archives.items():  # images a class; the second holds the first's
            with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("licence.txt", bytes(padding))
                for label in sample.CLASSES:
                    for split, count in (("train", train), ("test", test)):
                        for index in range(count):
                            picture = sample.jpeg(split, label, index, 64)
                            archive.writestr(f"{split}/{label}/{index}.jpg", picture)
        return folder.as_uri()

    return publish


@pytest.fixture
def commands(tmp_path):
    """Commands that find no data: what trains on the sample should use `sweep_of_eight`."""
    return Commands(tmp_path, tmp_path / "data")


class Pictures(Commands):
    """The commands on 39 small pictures of three classes, with a cache that all tests share.

    Attributes:
        root: the folder of the pictures.
        tiny: settings with which a run takes a second.
        grid: a sweep of eight runs.
    """

    grid = ("-m", "model=resnet18,mobilenet_v3_small", "data.fraction=0.5,1.0", "epochs=2,3")

    def __init__(self, directory: Path, root: Path, cache: Path) -> None:
        super().__init__(directory, root)
        self.root = root
        self.own = [f"data.root={root}"]
        self.environment["VISIONSWEEP_CACHE"] = str(cache)
        self.tiny = [
            "data=folder", f"data.root={root}", "model.weights=null", "transform.size=32",
            "batch_size=4", "replicates=2", "threads=1",
        ]  # fmt: skip

    @staticmethod
    def numbers(record: dict) -> dict:
        """Return what of a record should be the same whenever and however it was made."""
        history = [{k: v for k, v in e.items() if k != "seconds"} for e in record["history"]]
        return {"history": history} | {
            key: record[key] for key in ("metrics", "evaluation", "fingerprint")
        }

    def records(self, under: str = "outputs") -> dict[str, dict]:
        """Read the records below a folder, by the names of their directories."""
        files = (self.directory / under).rglob("result.json")
        return {file.parent.name: json.loads(file.read_text()) for file in files}


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory) -> Path:
    root, random = tmp_path_factory.mktemp("pictures") / "mine", np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 4), ("test", 3)):
        for red, label in enumerate(("pizza", "steak", "sushi")):
            for index in range(count):
                path = root / split / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = random.integers(0, 120, (40, 40, 3), np.uint8)
                pixels[..., red] += 60
                Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pictures(tmp_path, picture_folder, shared_cache) -> Pictures:
    return Pictures(tmp_path, picture_folder, shared_cache)


@pytest.fixture(scope="session")
def pictures_in(picture_folder) -> Callable[..., Pictures]:
    """Make commands on the pictures in a directory, with a cache below it, and variables."""

    def make(directory: Path, **variables: str) -> Pictures:
        made = Pictures(directory, picture_folder, directory / "cache")
        made.environment |= variables
        return made

    return make


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, pictures_in) -> dict[str, dict]:
    """The records of the eight runs on pictures, made at one go."""
    commands = pictures_in(tmp_path_factory.mktemp("undisturbed"))
    done = commands.train(*commands.grid)
    assert done.returncode == 0, done.stderr
    return commands.records()


BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator:
    """A headless Chromium that notes its console and its requests."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if found is None or driver is None:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = found
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(driver))
    yield running
    running.quit()


class Page:
    """A report page of two groups and a failed run, in a headless Chromium."""

    def __init__(self, browser, file: Path) -> None:
        self.browser, self.file = browser, file

    def run(self, script: str, *arguments):
        """Run JavaScript in the page and return what it returns."""
        return self.browser.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        """Wait until a script returns true."""
        for _ in range(200):
            if self.run(script):
                return
            time.sleep(0.05)
        raise AssertionError(f"never came true: {script}")

    def press(self, key: str) -> None:
        """Press a key where the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(key).perform()

    def open(self, *, width: int = 1280, theme: str = "light") -> None:
        """Open it in a window of some width where the system prefers a theme."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        preference = {"name": "prefers-color-scheme", "value": theme}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [preference]})
        for kind in ("browser", "performance"):
            self.browser.get_log(kind)  # forgets what came before
        self.browser.get(self.file.as_uri())
        self.wait("return document.querySelectorAll('.main-svg').length >= 6")


@pytest.fixture(scope="session")
def report(tmp_path_factory, simulate_sweep, make_record) -> Path:
    """A report page, written once."""
    place = tmp_path_factory.mktemp("report")
    bad = make_record("failed", failure=Failure("UserError", f"no such folder: /{'x' * 300}"))
    groups = [
        simulate_sweep(place),
        simulate_sweep(place, epochs=(2,), val_images="x", dataset="sample", folder="other"),
    ]
    failed = [Run(place / "failed", bad)]
    return write_page(groups, failed, place / "report.html", command="python compare.py")


@pytest.fixture
def page(browser, report) -> Iterator[Page]:
    """The report page, not yet opened."""
    yield Page(browser, report)
    browser.execute_script("localStorage.clear()")
