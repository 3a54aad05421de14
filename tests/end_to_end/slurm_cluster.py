"""A real Slurm of one node with two cores, for tests: its own munge, ports and folders."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue")

CONFIG = """
ClusterName=visionsweep-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge/socket,cred_expire=6
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
SchedulerParameters=sched_min_interval=1,batch_sched_delay=0,sched_interval=1
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=60 State=UP
"""  # cred_expire is also how long a job that is queued again has to wait


def reason_to_skip() -> str | None:
    """Return why no Slurm can be started here, or None."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"no Slurm ({', '.join(missing)}): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "slurmd starts jobs as root only"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Slurm:
    """A running Slurm.

    Attributes:
        environment: variables that lead Slurm's commands to it.
    """

    def __init__(self, place: Path) -> None:
        self.environment = {"SLURM_CONF": str(place / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """Run one of Slurm's commands and return what it prints."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    def jobs(self) -> dict[str, str]:
        """Return the states of jobs that wait, run or have just ended, by id and task."""
        lines = self.ask("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)


@contextmanager
def running() -> Iterator[Slurm]:
    """Run a Slurm while the block runs; its daemons and jobs end with it."""
    place = Path(tempfile.mkdtemp(prefix="visionsweep-slurm-"))
    place.chmod(0o755)  # munged is another user
    for name in ("state", "spool", "munge"):
        (place / name).mkdir()
    key = place / "munge" / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    for path in (place / "munge", key):
        shutil.chown(path, "munge", "munge")
    host = socket.gethostname().partition(".")[0]
    config = CONFIG.format(host=host, ports=_free_ports(2), place=place)
    (place / "slurm.conf").write_text(config)
    slurm = Slurm(place)
    munged = ["munged", "--foreground", "--key-file", str(key)]
    for name in ("socket", "pid-file", "log-file", "seed-file"):
        munged += [f"--{name}", str(place / "munge" / name.removesuffix("-file"))]
    daemons: list[subprocess.Popen[bytes]] = []

    def start(command: list[str], user: str | None = None) -> None:
        with (place / f"{command[0]}.out").open("wb") as out:
            options = {"user": user, "group": user, "cwd": place, "start_new_session": True}
            environment = os.environ | slurm.environment
            daemons.append(
                subprocess.Popen(command, env=environment, stdout=out, stderr=out, **options)
            )

    try:
        start(munged, "munge")
        _wait(lambda: (place / "munge" / "socket").exists(), place)
        start(["slurmctld", "-D"])
        start(["slurmd", "-D"])
        _wait(lambda: "idle" in slurm.ask("sinfo", "-h", "-o", "%T"), place)
        yield slurm
    finally:
        with suppress(Exception):
            slurm.ask("scancel", "--full", "--signal=KILL", "-u", "root")
            slurm.ask("scancel", "-u", "root")
            _wait(lambda: "RUNNING" not in slurm.jobs().values(), place, seconds=10)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(timeout=15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(place, ignore_errors=True)


def _wait(until, place: Path, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            said = [f"{file.name}: {file.read_text()[-2000:]}" for file in place.glob("*.out")]
            raise TimeoutError("Slurm does not start\n" + "\n".join(said))
        time.sleep(0.1)
