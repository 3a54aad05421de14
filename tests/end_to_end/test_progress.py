"""What a person sees of a sweep while it goes on, in a pipe and in a terminal of 80 columns."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from visionsweep.sweeps import progress
from visionsweep.sweeps.endings import Ending

SOURCE = Path(__file__).parents[2] / "src"

pytestmark = pytest.mark.exhaustive


def rows_of(text):
    return re.findall(r"^ *(\d+)/(\d+)  (.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_piped_output_has_one_line_per_run_and_each_reason_once(pictures, launcher):
    # AlexNet cannot take images of 32 pixels.
    asked = ["-m", "model=resnet18", "model.name=resnet18,alexnet", "epochs=1,2"]
    asked += [f"hydra/launcher={launcher}", *pictures.tiny]
    done = pictures.run("train.py", *asked)
    assert done.returncode == 1
    rows = rows_of(done.stderr)
    assert [(number, of) for number, of, _ in rows] == [(str(n), "4") for n in (1, 2, 3, 4)]
    results = [text for _, _, text in rows if "failed" not in text]
    records = [r for r in pictures.records().values() if r["status"] == "completed"]
    for record in records:
        (row,) = [text for text in results if record["name"] in text]
        loss, accuracy = (record["deployed"]["val"][m]["value"] for m in ("loss", "accuracy"))
        assert f"{loss:.4f}" in row and f"{accuracy:.1%}" in row
    failed = [text for _, _, text in rows if "failed" in text]
    assert len(failed) == 2 and "as run" in failed[1]
    assert done.stderr.count("cannot take images") == 1
    assert "[HYDRA]" not in done.stdout + done.stderr and "\r" not in done.stderr
    again = pictures.run("train.py", *asked, "resume=last")
    assert "2 runs were finished earlier" in again.stderr or "1 run was" in again.stderr


def test_refused_run_is_reported_under_a_launcher(pictures, tmp_path):
    asked = ["-m", "model=resnet18", "epochs=1", "seed=1,2", "sweep_dir=sweep"]
    assert pictures.train(*asked).returncode == 0
    for path in (tmp_path / "sweep").glob("*seed-1*/result.json"):
        known = json.loads(path.read_text())
        known["config"]["optimizer"]["lr"] = 0.5
        path.write_text(json.dumps(known))
    done = pictures.train(*asked, "hydra/launcher=joblib")
    assert done.returncode == 1
    rows = {name.split()[-1]: name for _, _, name in rows_of(done.stderr)}
    (refused,) = [text for text in rows.values() if "seed-1" in text]
    assert refused.startswith("refused")


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, commands, *arguments, columns=80):
        self.master, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, str(SOURCE / "train.py"), *arguments],
            cwd=commands.directory, env=commands.environment | {"COLUMNS": str(columns)},
            stdout=child, stderr=child, stdin=child, start_new_session=True,
        )  # fmt: skip
        os.close(child)
        self.text = ""

    def read(self, until: str, seconds: float) -> str:
        """Read until a pattern has come, and return all that has."""
        end = time.monotonic() + seconds
        while not re.search(until, self.text):
            assert time.monotonic() < end, f"{until} never came: {self.text}"
            if select.select([self.master], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # the end
                    assert re.search(until, self.text), self.text
        return self.text

    def lines(self):
        return re.split(r"[\r\n]|\x1b\[[A-Z]", self.text)


def test_terminal_shows_progress_and_acknowledges_ctrl_c_at_once(pictures):
    # Images go through the network; the second run would take minutes.
    tiny = [setting for setting in pictures.tiny if "replicates" not in setting]
    terminal = Terminal(
        pictures, "-m", "model=resnet18", "training=fine_tuning", "epochs=1,4000", *tiny
    )
    try:
        terminal.read(r"run 1 of 2, resnet18\S*", 120)
        assert " left" not in terminal.text  # nothing is known yet
        terminal.read(r"run 2 of 2, resnet18\S*, [a-z0-9. ]+ left", 120)
        terminal.read(r"Training: .*/32000 .*batch", 60)
        assert all(len(line) <= 80 for line in terminal.lines() if "run 2 of 2" in line)
        sent = time.monotonic()
        terminal.process.send_signal(signal.SIGINT)
        terminal.read("Stopping after this batch; press Ctrl-C again to leave now", 5)
        assert time.monotonic() - sent < 2
        terminal.read(r"Interrupted\. 1 of \d+ runs finished", 60)
        assert terminal.process.wait(60) == 130
    finally:
        terminal.process.kill()
        os.close(terminal.master)


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_long_name_wraps_below_itself_in_a_terminal(monkeypatch, columns):
    name = "mobilenet_v3_small_folder_15-epochs_batch_size-4_weights-null_seed-1_size-32_4a7392d5"
    start = "1/4    1.1166     46.4%    114.0  "
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    lines = progress._hung(start, f"{name} (resumed after epoch 1)").splitlines()
    assert all(len(line) <= columns for line in lines)
    assert len(lines) == {80: 3, 120: 2, 200: 1}[columns]
    assert {line[: len(start)] for line in lines[1:]} <= {" " * len(start)}
    assert "".join(line[len(start) :] for line in lines).startswith(name)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert progress._hung(start, name) == start + name


def test_requeued_run_counts_once(tmp_path, capfd):
    shown = progress.Progress(tmp_path / "sweep", [{"seed": "1"}, {"seed": "2"}], watching=True)
    done = {"status": "completed", "val_loss": 0.5, "val_accuracy": 0.75}
    shown.end(Ending("a", "interrupted", reason="Interrupted: SIGINT"), ["seed=1"])
    shown.end(Ending("b", **done), ["seed=2"])
    shown.end(Ending("a", note="resumed after epoch 3", **done), ["seed=1"])
    shown.close()
    assert shown.ended == 2
    rows = rows_of(capfd.readouterr().err)
    assert [(number, of) for number, of, _ in rows] == [("1", "2"), ("2", "2"), ("1", "2")]
