"""Run directories from others: each is a valid run, or is reported."""

import contextlib
import copy
import importlib.util
import io
import json
import os
import random
import socket
import time
from pathlib import Path

import pytest

from visionsweep.runs import claims
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.record_file import read_record, write_record

_SOURCE = Path(__file__).resolve().parents[2] / "src"

VALUES = [
    None, True, False, -1, 0, 1, 2**53 + 1, 2**70, -0.5, 1.5, 1e308, "", "x", "x" * 5000, [], {},
    [[[[]]]], {"a": {"b": {"c": {"d": {"e": 1}}}}}, "${oc.env:HOME}", "../../../etc/passwd",
    "\x00\x1b[2J\u202e", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", ["a", "a"], {"": 0},
]  # fmt: skip
LITERALS = [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"9" * 5000, b'"\xff\xfe"', b'"\\ud800"']


def compare(*arguments: str) -> tuple[int, str]:
    """Run `compare.py` in this process; return exit status and output."""
    spec = importlib.util.spec_from_file_location("compare_command", _SOURCE / "compare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = module.main(list(arguments))
    return status, output.getvalue()


def places(content, path=()):
    """Yield the path of keys and indices to each value."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def mutated(content: dict, source: random.Random) -> bytes:
    """Return a record's JSON with one to three random changes."""
    changed = copy.deepcopy(content)
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        *path, last = source.choice(list(places(changed)))
        place = changed
        for key in path:
            place = place[key]
        match source.randrange(5):
            case 0 | 1:
                place[last] = source.choice(VALUES)
            case 2:
                del place[last]
            case 3:
                *other, key = source.choice(list(places(changed)))
                node = changed
                for part in other:
                    node = node[part]
                place[last] = copy.deepcopy(node[key])
            case _ if isinstance(place[last], int | float):
                place[last] = place[last] * source.choice((-1, 0, 1e6, 0.5, 2))
            case _:
                place[last] = [place[last]] * 2
    text = json.dumps(changed).encode()
    match source.randrange(8):
        case 0:
            start = source.randrange(len(text))
            return text[:start]
        case 1:
            start = text.find(b":", source.randrange(len(text) // 2)) + 1
            end = min((k for c in b",}" if (k := text.find(c, start)) >= 0), default=start)
            return text[:start] + source.choice(LITERALS) + text[end:]
        case 2:
            start = source.randrange(len(text))
            return text[:start] + source.randbytes(source.randrange(1, 9)) + text[start:]
    return text


def test_mutated_records_are_valid_or_reported_and_compare_shows_the_rest(
    tmp_path, simulated_sweep
):
    sound = simulated_sweep(epochs=(2,)).rows[0].run.directory
    content = json.loads((sound / "result.json").read_bytes())
    logits = (sound / "logits.safetensors").read_bytes()
    source = random.Random(11)
    outputs = tmp_path / "outputs"
    for number in range(300):
        place = outputs / "sent" / f"{number:03}"
        place.mkdir(parents=True)
        (place / "result.json").write_bytes(mutated(content, source))
        (place / "logits.safetensors").write_bytes(logits)
    listing = find_runs([outputs])
    sent = {run.directory for run in [*listing.runs, *(copy for copy, _ in listing.duplicates)]}
    named = {Path(line.partition(": ")[0]).parent for line in listing.skipped}
    assert sent.isdisjoint(named) and len(sent | named) == 304
    assert len(named) > 150
    for form in (
        ["--all"],
        ["--all", "--markdown"],
        ["--csv"],
        ["--html", str(tmp_path / "report.html")],
    ):
        status, output = compare(str(outputs), *form)
        assert status == 0
        assert output.count("passed over") >= len(named)


@pytest.mark.parametrize("seed", range(3))
def test_mutated_record_that_is_read_can_be_written_and_read_again(tmp_path, make_record, seed):
    content = json.loads(write_record(make_record("a", 0.9, 0.4), tmp_path).read_bytes())
    source = random.Random(seed)
    valid = 0
    for _ in range(100):
        file = tmp_path / "result.json"
        file.write_bytes(mutated(content, source))
        try:
            parsed = read_record(file)
        except ValueError as error:
            assert str(error)
            continue
        valid += 1
        assert read_record(write_record(parsed, tmp_path)).status == parsed.status
    assert 0 < valid < 80


# --------------------------------------------------------------- files that are not regular


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket may have 100 bytes only
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


ODD = {
    "directory": (Path.mkdir, "a directory"),
    "fifo": (os.mkfifo, "a FIFO"),
    "socket": (_socket, "a socket"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a link"),
    "out of the run": (lambda path: path.symlink_to("/etc/passwd"), "a link"),
    "loop": (lambda path: path.symlink_to(path.name), "a link"),
    "sparse": (_sparse, "1,024.0 MB"),
}
TEXTS = {
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep in a setting": b'{"config":{"a":' + b"[" * 100_000,
    "empty": b"",
    "a number": b"9" * 5_000,
    "not UTF-8": b'{"name":"\xff\xfe"}',
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", ["result.json", "claim", "logits.safetensors"])
def test_file_that_is_not_regular_is_reported_at_once(tmp_path, simulated_sweep, name):
    runs = [row.run.directory for row in simulated_sweep(models=[f"m{n}" for n in range(2)],
            data=("10pct", "20pct"), epochs=(2, 3)).rows]  # fmt: skip
    kinds = {}
    for directory, (kind, (make, output)) in zip(runs, ODD.items(), strict=False):
        (directory / name).unlink(missing_ok=True)
        make(directory / name)
        kinds[str(directory / (name if name != "claim" else "result.json"))] = (kind, output)
    start = time.monotonic()
    status, output = compare(str(tmp_path / "outputs"), "--csv")
    assert time.monotonic() - start < 10 and status == 0
    lines = dict(
        line.removeprefix("passed over ").split(": ", 1)
        for line in output.splitlines()
        if line.startswith("passed over ")
    )
    assert lines.keys() == kinds.keys()
    for path, reason in lines.items():
        kind, output = kinds[path]
        assert (
            "damaged" if name == "logits.safetensors" and kind == "sparse" else output
        ) in reason


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_malformed_record_or_claim_does_not_hide_other_runs(tmp_path, write_run, text):
    write_run("good", 0.5)
    (write_run("sent", 0.4) / "result.json").write_bytes(text)
    (write_run("claimed", 0.3) / "claim").write_bytes(text)
    listing = find_runs([tmp_path / "outputs"])
    listed = {run.directory.name for run in listing.runs}
    named = {Path(line.partition(": ")[0]).parent.name for line in listing.skipped}
    assert "good" in listed and "sent" in named and "claimed" in listed ^ named


def test_claim_from_the_future_is_not_alive(tmp_path):
    with claims.held(tmp_path, "a"):
        content = (tmp_path / "claim").read_bytes()
    expected = json.loads(content)
    for changed in ({"pid": 2**70}, {"system": "elsewhere"}, {"began": -1}, {"taken": "soon"}):
        (tmp_path / "claim").write_text(json.dumps(expected | changed))
        os.utime(tmp_path / "claim", (time.time() + 10**6,) * 2)
        assert not claims.find(tmp_path).alive
    os.utime(tmp_path / "claim", (2**40, 2**40))
    (run,) = find_runs([tmp_path]).runs
    assert run.record.status == "crashed"
