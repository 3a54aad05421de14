"""TensorBoard in this process: its server on loopback, and the address that shows what is meant."""

import contextlib
import io
import json
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from visionsweep.errors import UserError

HOST = "127.0.0.1"
OWN_NAMES = (HOST, "localhost", "[::1]")  # that a browser on this machine asks for

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def serve(folder: Path, port: int | None) -> str:
    """Start TensorBoard in a thread of its own, for this machine alone, and return its address.

    Without a port it listens at 6006 or the next free one, with port 0 at any free one.

    Raises:
        UserError: if the port is taken.
    """
    with socket.socket() as probe:
        if port and probe.connect_ex((HOST, port)) == 0:
            raise UserError(
                f"--port {port}: taken, perhaps by a TensorBoard that runs already; name another "
                "port, or none and the next free one is found"
            )
    from tensorboard import program  # takes a second: not for --help, nor for a refusal

    def server(app: WsgiApp, flags: Any) -> Any:
        return program.create_port_scanning_werkzeug_server(for_own_names(app), flags)

    board = program.TensorBoard(server_class=server)
    board.configure(argv=("",), logdir=str(folder), host=HOST, port=port)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it praises its fast loader on six lines
            address: str = board.launch()
    except program.TensorBoardServerException as error:
        raise UserError(f"TensorBoard cannot start: {error.msg}") from error
    return address


def for_own_names(app: WsgiApp) -> WsgiApp:
    """Wrap a web application so that it answers only requests for a name of this machine.

    TensorBoard answers whatever `Host` a request names. A web page could point a name of its own at
    127.0.0.1 (DNS rebinding) and read the runs of whoever looks at the page.
    """

    def guarded(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        name = re.sub(r":\d*$", "", environ.get("HTTP_HOST", "")).lower()
        if name in OWN_NAMES:
            return app(environ, start)
        start("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"Only requests for {', '.join(OWN_NAMES)} are answered.\n".encode()]

    return guarded


@contextlib.contextmanager
def alone(run: Path) -> Iterator[Path]:
    """Make a temporary folder in which there is a link to one run, under its name.

    TensorBoard calls a run by its path below the folder that is served: by `.` if that is the run
    itself, and beside all others of the sweep if it is the folder above.
    """
    run = run.resolve()
    with TemporaryDirectory(prefix="visionsweep-view-") as folder:
        (Path(folder) / run.name).symlink_to(run, target_is_directory=True)
        yield Path(folder)


def address_of(board: str) -> str:
    """Return the address at which TensorBoard opens on validation scores, unsmoothed.

    It opens Custom Scalars, where a chart holds a metric's training, validation, and test scores.
    Time Series has the validation scores pinned. Runs that differ only in their epochs share their
    curves, and there also a color: TensorBoard has seven.

    The newer tabs read the query (`smoothing`), the older ones the fragment (`_smoothingWeight`);
    TensorBoard 2.21 keeps both from tab to tab. Smoothing is off: over five epochs it draws a curve
    that nobody measured.
    """
    pinned = [{"plugin": "scalars", "tag": f"{name}/val"} for name in ("loss", "accuracy")]
    query = {
        "smoothing": "0",
        "pinnedCards": json.dumps(pinned, separators=(",", ":")),
        "runColorGroup": r"regex:^(.*?)(?:_\d+-epochs(.*))?$",
    }
    return f"{board}?{urlencode(query)}#custom_scalars&_smoothingWeight=0"


def wait_for(board: str, runs: Collection[str], seconds: float) -> bool:
    """Wait until TensorBoard has read some runs, and return whether it has.

    Runs go by their paths below the folder that is served. TensorBoard is then asked for its tabs:
    whether the Projector has something to show it begins to find out when it is first asked, and
    without this a page would come up without that tab.
    """
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(question: str) -> Any:
        with direct.open(f"{board}data/{question}", timeout=seconds) as answer:
            return json.load(answer)

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if set(runs) <= set(ask("runs")):
                ask("plugins_listing")
                return True
        time.sleep(0.1)
    return False
