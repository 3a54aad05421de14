"""Output that cannot be written costs no results and ends without a traceback."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path
from visionsweep.cli.entry import run

def main(arguments):
    Path(arguments[0]).write_text("kept")
    for n in range(5_000):
        print("★ line of a table", n)
    print("\\x1b]0;title\\x07 \\u202e", "said", file=sys.stderr)
    return 0

sys.exit(run(main))
"""


def run(tmp_path, **options) -> subprocess.CompletedProcess:
    environment = os.environ | options.pop("env", {})
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "file"],
        env=environment, timeout=60, check=False, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def test_characters_outside_the_encoding_are_escaped(tmp_path):
    done = run(tmp_path, stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0 and done.stdout.startswith(rb"\u2605 line")


def test_standard_error_cannot_drive_a_terminal(tmp_path):
    done = run(tmp_path, stdout=subprocess.DEVNULL)
    assert done.stderr == b"\\x1b]0;title\\x07 \\u202e said\n"


def test_full_device_is_one_line_and_exit_status_1(tmp_path):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = run(tmp_path, stdout=full)
    assert done.returncode == 1 and b"standard output" in done.stderr
    assert b"Traceback" not in done.stderr and (tmp_path / "file").read_text() == "kept"


def test_closed_pipe_is_exit_status_141_without_output(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = run(tmp_path, stdout=writing)
    os.close(writing)
    assert done.returncode == 141 and done.stderr == b""


def test_closed_standard_output_is_exit_status_1_and_its_descriptor_is_not_reused(tmp_path):
    command = f'exec "{sys.executable}" -c "$PROGRAM" "{tmp_path}/file" >&-'
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"PROGRAM": PROGRAM}, timeout=60, check=False,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1 and b"it is closed" in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


def test_deleted_working_directory_is_one_line(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f'cd "{gone}" && rmdir "{gone}" && exec "{sys.executable}" -c "$PROGRAM" /dev/null'
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"PROGRAM": PROGRAM}, timeout=60, check=False,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 1 and b"current folder" in done.stderr
    assert b"Traceback" not in done.stderr
