"""view.py really starts TensorBoard, on this machine alone, and shows the runs that are meant."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from visionsweep.cli.view import main
from visionsweep.tensorboard.writer import RunWriter

VIEW = Path(__file__).parents[2] / "src" / "view.py"

EARLIER = {"2026-01-30/09-00-00-000000/a", "2026-01-30/09-00-00-000000/b"}
LATEST = {"2026-01-31/12-00-00-000000 (2)/a", "2026-01-31/12-00-00-000000 (2)/c"}
ALONE = "2026-01-31/11-00-00-000000"


def write_events(folder: Path, begun: int) -> None:
    writer = EventFileWriter(str(folder))
    value = Summary.Value(tag="loss/val", simple_value=0.5)
    writer.add_event(Event(step=1, wall_time=begun, summary=Summary(value=[value])))
    writer.close()
    (file,) = folder.glob("*tfevents*")
    file.rename(folder / f"events.out.tfevents.{begun}.host.1.0")


@pytest.fixture
def outputs(tmp_path) -> Path:
    """Two sweeps of two runs, and between them a run that is part of none."""
    folder = tmp_path / "outputs"
    for begun, name in enumerate([*sorted(EARLIER), ALONE, *sorted(LATEST)], 1_700_000_000):
        write_events(folder / name, begun)
    for name in (*EARLIER, *LATEST):
        (folder / name).parent.joinpath("multirun.yaml").touch()
    return folder


@pytest.fixture
def view(tmp_path):
    """Start view.py in a process group of its own; returns it and the address it prints."""
    started = []

    def start(*arguments, **environment) -> tuple[subprocess.Popen, str]:
        process = subprocess.Popen(
            [sys.executable, VIEW, *map(str, arguments)], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env=os.environ | environment,
        )  # fmt: skip
        started.append(process)
        line = process.stdout.readline()
        assert line.startswith("TensorBoard: "), line + process.stderr.read()
        return process, line.removeprefix("TensorBoard: ").strip()

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def runs_at(address: str, count: int) -> set[str]:
    """Ask TensorBoard for its runs until it has read that many."""
    board = urlsplit(address)._replace(path="/data/runs", query="", fragment="").geturl()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(200):
        found = json.load(direct.open(board))
        if len(found) >= count:
            break
        time.sleep(0.1)
    return set(found)


def test_latest_sweep_is_served_under_short_names(outputs, view):
    process, address = view("--no-browser")
    assert runs_at(address, 2) == {"a", "c"}
    told = process.stdout.readline()
    assert "2 runs in outputs/2026-01-31/12-00-00-000000 (2); --all shows 3 more" in told


def test_latest_run_outside_a_sweep_is_served_alone(outputs, view):
    write_events(outputs / "2026-02-01" / "08-00-00-000000", 1_800_000_000)
    process, address = view("--no-browser")
    assert runs_at(address, 1) == {"08-00-00-000000"}
    assert "1 run in outputs/2026-02-01" in process.stdout.readline()


# Titles of the categories of charts, by their places, and the number of curves in each open chart.
CHARTS = """
const roots = [document], titles = [], matches = [];
while (roots.length) {
    for (const each of roots.pop().querySelectorAll("*")) {
        if (each.shadowRoot) roots.push(each.shadowRoot);
        if (each.matches(".category-name")) titles.push(each);
        if (each.matches(".matches-text")) matches.push(each.innerText);
    }
}
titles.sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top);
return [titles, matches]
"""


def test_a_browser_first_sees_validation_curves_and_all_splits_in_one_chart_on_demand(
    outputs, view, tmp_path, make_history
):
    webdriver = pytest.importorskip("selenium.webdriver")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run",
                 "disable-background-networking", "disable-component-update", "disable-sync",
                 f"user-data-dir={tmp_path / 'profile'}"):  # fmt: skip
        options.add_argument(f"--{flag}")
    for name in ("a", "b"):
        with RunWriter(outputs / "2026-02-01" / "sweep" / name) as events:
            events.begin({"name": name}, "epochs: 2")
            for epoch in make_history(0.9, 0.4):
                events.epoch(epoch)
    (outputs / "2026-02-01" / "sweep" / "multirun.yaml").touch()
    _, address = view("--no-browser")
    assert runs_at(address, 2) == {"a", "b"}

    def wait_for_charts(*curves: int) -> list:
        for _ in range(100):
            titles, matches = page.execute_script(CHARTS)
            if sorted(matches) == [f"Matches ({count})" for count in curves]:
                return titles
            time.sleep(0.2)
        raise AssertionError(matches)

    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as page:
        page.get(address)
        titles = wait_for_charts(2, 2)
        assert [title.text.split()[0] for title in titles] == [
            "Validation", "Training", "Training,", "Validation",
        ]  # fmt: skip
        page.execute_script("arguments[0].click()", titles[2])  # below the fold
        wait_for_charts(2, 2, 6, 6)


def test_only_the_named_sweep_is_served(outputs, view):
    _, address = view(outputs / "2026-01-30" / "09-00-00-000000", "--no-browser")
    assert runs_at(address, 2) == {"a", "b"}


@pytest.mark.parametrize("more", [[], ["--all"]], ids=["", "all"])
def test_only_the_named_run_is_served_under_its_name(outputs, view, tmp_path, more):
    run = outputs / "2026-01-30" / "09-00-00-000000" / "b"
    process, address = view(run, "--no-browser", *more, TMPDIR=str(tmp_path))
    assert runs_at(address, 1) == {"b"}
    assert "1 run in" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert list(tmp_path.glob("visionsweep-view-*")) == []


def test_run_is_served_under_any_name(outputs, view):
    name = "a,b:c with space, ü [1]"
    run = outputs / "2026-01-30" / "09-00-00-000000" / "b"
    run = run.rename(run.with_name(name))
    _, address = view(run, "--no-browser")
    assert runs_at(address, 1) == {name}


def status(address: str, path: str, host: str | None) -> tuple[int, str]:
    """Ask TensorBoard by its address for a path as of another host; return status and text."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port, timeout=30)
    connection.putrequest("GET", path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host.replace("PORT", str(urlsplit(address).port)))
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_requests_for_a_name_of_another_machine_are_refused(outputs, view):
    """A web page that points its own name at 127.0.0.1 (DNS rebinding) reads no run."""
    _, address = view("--no-browser")
    runs_at(address, 2)
    for host in ("127.0.0.1:PORT", "localhost:PORT", "LOCALHOST", "[::1]:PORT"):
        found, text = status(address, "/data/runs", host)
        assert (found, json.loads(text)) == (200, ["a", "c"])
    foreign = ("evil.example", "evil.example:PORT", "127.0.0.1.evil.example", "localhost@evil.io",
               "localhost:PORT.evil.example", "127.0.0.2:PORT", "", None)  # fmt: skip
    for host in foreign:
        for path in ("/", "/data/runs", "/data/environment", "/index.js"):
            found, text = status(address, path, host)
            assert found == 403 and '"a"' not in text


def test_all_shows_every_run(outputs, view):
    process, address = view("outputs", "--all", "--no-browser")
    assert len(runs_at(address, 5)) == 5
    assert process.stdout.readline().startswith("It shows 5 runs in outputs. ")


def test_server_listens_on_loopback_only(outputs, view):
    _, address = view("--no-browser")
    port = urlsplit(address).port
    assert urlsplit(address).hostname == "127.0.0.1"
    socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(OSError):  # an address that a server on all interfaces would answer at
        socket.create_connection(("127.0.0.2", port), timeout=5).close()


def test_ctrl_c_stops_the_server_silently(outputs, view):
    process, address = view("--no-browser")
    process.stdout.readline()
    runs_at(address, 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of the group
    out, error = process.communicate(timeout=30)
    assert (process.returncode, out.strip(), error) == (0, "", "")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", urlsplit(address).port)).close()


# A browser that keeps the address it is given, and what TensorBoard has at that moment.
BROWSER = f"""#!{sys.executable}
import json, pathlib, sys, urllib.request
board = sys.argv[1].partition("?")[0]
direct = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
seen = json.load(direct.open(board + "data/runs"))
pathlib.Path("part").write_text(json.dumps([sys.argv[1], seen]))
pathlib.Path("part").rename("opened")
"""


def test_browser_opens_once_the_runs_are_loaded(outputs, view, tmp_path):
    (tmp_path / "browser").write_text(BROWSER)
    (tmp_path / "browser").chmod(0o755)
    _, address = view(BROWSER=str(tmp_path / "browser"))
    for _ in range(300):
        if (tmp_path / "opened").exists():
            break
        time.sleep(0.1)
    opened, seen = json.loads((tmp_path / "opened").read_text())
    assert opened == address
    assert set(seen) == {"a", "c"}


def test_occupied_port_is_refused_and_another_chosen_by_default(outputs, view, tmp_path):
    with socket.socket() as usual, socket.socket() as other:
        if usual.connect_ex(("127.0.0.1", 6006)):  # nobody has TensorBoard's usual port
            usual.close()
            usual = socket.create_server(("127.0.0.1", 6006))
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, VIEW, "--port", str(port), "--no-browser"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith(f"--port {port}: taken") and "Traceback" not in done.stderr
        _, address = view("--no-browser")
        usual.close()
    assert urlsplit(address).port > 6006


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere"], 1, "nowhere: no such folder."),
        (["--port", "70000"], 2, "70000: should be from 0 to 65535"),
        (["--port", "any"], 2, "invalid"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    assert message in capsys.readouterr().err


def test_folder_without_runs_is_reported_without_heavy_imports(tmp_path):
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", VIEW, "empty"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "empty: holds no run with events; train one with python" in done.stderr
    assert "Traceback" not in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "tensorboard", "msgspec"} & imported
