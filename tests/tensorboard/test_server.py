"""Which runs are picked, and when TensorBoard has them."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from visionsweep.runs.paths import event_folders, latest_sweep
from visionsweep.tensorboard.server import address_of, wait_for


@pytest.fixture
def slow_board():
    """A server that has no run, then one, and from the third question on two; and its questions."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = json.dumps(["a", "b"][: len(asked) - 1]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", asked
    server.shutdown()
    server.server_close()


def test_server_waits_for_all_runs_before_it_requests_the_tabs(slow_board):
    address, asked = slow_board
    assert wait_for(address, ["a", "b"], seconds=60)
    assert asked == [*["/data/runs"] * 3, "/data/plugins_listing"]


def test_waiting_for_runs_ends(slow_board):
    address, _ = slow_board
    assert not wait_for(address, ["absent"], seconds=0.5)


def test_address_opens_on_validation():
    address = urlsplit(address_of("http://127.0.0.1:6006/"))
    query = parse_qs(address.query)
    pinned = [card["tag"] for card in json.loads(query["pinnedCards"][0])]
    assert pinned == ["loss/val", "accuracy/val"] and query["smoothing"] == ["0"]
    assert address.fragment.split("&") == ["custom_scalars", "_smoothingWeight=0"]
    kind, _, pattern = query["runColorGroup"][0].partition(":")
    groups = [re.match(pattern, name).groups() for name in ("a_5-epochs_b", "a_10-epochs_b", "c")]
    assert kind == "regex" and groups == [("a", "_b"), ("a", "_b"), ("c", None)]


def test_latest_sweep_is_the_last_started_whatever_the_file_times(tmp_path):
    for sweep, begun in (("copied-first", 300), ("copied-last", 200)):
        (tmp_path / sweep / "run").mkdir(parents=True)
        (tmp_path / sweep / "multirun.yaml").touch()
        (tmp_path / sweep / "run" / f"events.out.tfevents.{begun}.host.1.0").touch()
    (tmp_path / "copied-last" / "run" / "events.out.tfevents").touch()  # nobody knows when
    folders = event_folders(tmp_path)
    assert latest_sweep(folders, tmp_path) == tmp_path / "copied-first"


def test_parent_of_the_searched_folder_is_not_taken_for_the_sweep(tmp_path):
    (tmp_path / "sweep" / "run").mkdir(parents=True)
    (tmp_path / "sweep" / "multirun.yaml").touch()
    (tmp_path / "sweep" / "run" / "events.out.tfevents.1.host").touch()
    run = tmp_path / "sweep" / "run"
    assert latest_sweep(event_folders(run), run) == run
    assert latest_sweep(event_folders(tmp_path), tmp_path) == tmp_path / "sweep"
