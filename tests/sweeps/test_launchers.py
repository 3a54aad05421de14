"""A run's share of the machine, refusals, and what is said when a launcher ends."""

import copy
import functools
import importlib.util
import os
import signal
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from visionsweep.cli import command_line
from visionsweep.errors import UserError
from visionsweep.runtime import signals
from visionsweep.sweeps import gpus as gpus_module
from visionsweep.sweeps import launchers, machine_share, slurm

CONF = Path(__file__).parents[2] / "conf"
PRESETS = ("joblib", "ray", "submitit_local", "submitit_slurm")
pytestmark = pytest.mark.filterwarnings(r"ignore:\s*'hydra/launcher/")  # pytest resets ours
launchers.prepare_composition()


@functools.cache
def composed(launcher, *overrides):
    """Return a composed configuration, which must not be changed."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = [f"hydra/launcher={launcher}", *overrides]
        return compose("config", overrides=chosen, return_hydra_config=True)


def hydra_of(launcher, *overrides, job=0):
    hydra = copy.deepcopy(composed(launcher, *overrides).hydra)
    hydra.job.num = job
    return hydra


@pytest.mark.parametrize("launcher", PRESETS)
def test_preset_is_documented_with_its_command(launcher):
    header = (CONF / "hydra" / "launcher" / f"{launcher}.yaml").read_text().partition("\n_target_")
    assert f"python src/train.py -m hydra/launcher={launcher}" in header[0]
    assert "pip install -e" in header[0] and "docs/scaling.md" in header[0]


@pytest.mark.parametrize("launcher", PRESETS)
def test_preset_overrides_the_plugins_config_of_the_same_name(launcher):
    node = composed(launcher).hydra.launcher
    ours = OmegaConf.load(CONF / "hydra" / "launcher" / f"{launcher}.yaml")
    assert OmegaConf.to_container(OmegaConf.merge(node, ours)) == OmegaConf.to_container(node)


@pytest.mark.parametrize("cores", [1, 2, 8, 64])
@pytest.mark.parametrize("n_jobs", [-1, -2, 1, 2, 3, 8])
def test_joblib_processes_never_have_more_threads_than_cores(n_jobs, cores):
    node = hydra_of("joblib", f"hydra.launcher.n_jobs={n_jobs}").launcher
    jobs = n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)
    threads = machine_share.threads_of(node, None, cores)
    assert threads >= 1
    assert jobs * threads <= max(cores, jobs)


def test_threads_follow_the_launchers_reservation_unless_set():
    ray = hydra_of("ray", "hydra.launcher.ray.remote.num_cpus=4").launcher
    slurm = hydra_of("submitit_slurm", "hydra.launcher.cpus_per_task=6").launcher
    assert machine_share.threads_of(ray, None, 8) == 4
    assert machine_share.threads_of(slurm, None, 8) == 6
    assert machine_share.threads_of(hydra_of("submitit_local").launcher, None, 8) == 1
    assert machine_share.threads_of(hydra_of("basic").launcher, None, 8) is None
    for launcher in ("basic", *PRESETS):
        assert machine_share.threads_of(hydra_of(launcher).launcher, 3, 8) == 3


def test_run_uses_its_threads_and_restores_the_process(make_config):
    config = make_config()
    before = torch.get_num_threads()
    for threads in (1, before + 1):
        config.threads = threads
        with (
            pytest.raises(ZeroDivisionError),
            machine_share.machine_share(hydra_of("joblib"), config),
        ):
            assert torch.get_num_threads() == threads
            raise ZeroDivisionError
        assert torch.get_num_threads() == before


class Gpus:
    """As many simulated GPUs as one likes.

    Attributes:
        used: indices of the GPUs that were selected, as by `torch.cuda.device`.
    """

    def __init__(self, monkeypatch, count):
        self.used = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "device", self.select)

    @contextmanager
    def select(self, number):
        self.used.append(number)
        yield


@pytest.fixture
def share(make_config, tmp_path):
    """Return a function that gives a run its share of the machine."""

    def make(launcher, device="auto"):
        config = make_config()
        config.device, config.features.cache_dir = device, str(tmp_path)
        return machine_share.machine_share(hydra_of(launcher), config)

    return make


@pytest.mark.parametrize("launcher", ["basic", "joblib", "ray", "submitit_slurm"])
def test_run_leases_the_gpu_that_the_fewest_runs_have(launcher, monkeypatch, share):
    gpus = Gpus(monkeypatch, 3)
    with ExitStack() as others, share(launcher):
        second = others.enter_context(ExitStack())
        second.enter_context(share(launcher))
        for _ in range(3):
            others.enter_context(share(launcher))
        second.close()
        for _ in range(2):
            others.enter_context(share(launcher))
    assert sorted(gpus.used[:3]) == [0, 1, 2]
    assert sorted(gpus.used[3:5]) == sorted(set(gpus.used[3:5]))  # two more, on two GPUs
    assert gpus.used[5] == gpus.used[1]  # the only one that was free
    with share(launcher):
        assert gpus.used[-1] == gpus.used[-2]  # where the process still has a context


def test_run_of_submitit_local_waits_for_a_free_gpu(monkeypatch, share):
    gpus = Gpus(monkeypatch, 2)
    released = threading.Event()

    def check():
        assert len(gpus.used) == 2
        first.close()
        released.set()

    monkeypatch.setattr(gpus_module.signals, "check", check)
    monkeypatch.setattr(gpus_module, "_POLL_SECONDS", 0.01)
    with ExitStack() as first, share("submitit_local"):
        first.enter_context(share("submitit_local"))
        with share("submitit_local"):
            assert released.is_set() and gpus.used[2] == gpus.used[1]


def test_gpus_are_leased_by_the_names_that_a_scheduler_gave(monkeypatch, share):
    gpus = Gpus(monkeypatch, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with share("joblib"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
        with share("joblib"), share("joblib"):
            pass
    assert gpus.used[0] == 0  # GPU 2
    assert sorted(gpus.used[1:]) == [0, 1]  # GPUs 5 and 7


def test_process_that_cannot_lease_a_gpu_uses_the_first(monkeypatch, make_config, tmp_path, caplog):
    gpus = Gpus(monkeypatch, 2)
    config = make_config()
    config.features.cache_dir = str(tmp_path / "file")
    (tmp_path / "file").touch()
    with machine_share.machine_share(hydra_of("joblib"), config):
        assert gpus.used == [0] and "no GPU can be leased" in caplog.text


def test_runs_on_a_named_device_lease_nothing(monkeypatch, share):
    gpus = Gpus(monkeypatch, 3)
    for device in ("cpu", "cuda:0"):
        with share("joblib", device):
            assert gpus.used == []


@pytest.mark.parametrize("count", [0, 1, 4])
def test_launchers_train_one_run_per_gpu(monkeypatch, count):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count or 8)  # without a driver
    joblib, ray = hydra_of("joblib").launcher, hydra_of("ray").launcher
    assert joblib.n_jobs == (count or -1)
    assert ray.ray.remote.num_gpus == min(1, count)
    on_cpu = hydra_of("joblib", "device=cpu").launcher
    assert on_cpu.n_jobs == -1 and launchers.processes_of(on_cpu, 6) == 6
    cluster = hydra_of("ray", "hydra.launcher.ray.init.address=host:6379").launcher
    assert cluster.ray.remote.num_gpus == 0  # unknown here
    one = hydra_of("joblib", "hydra.launcher.n_jobs=1").launcher
    assert not launchers.runs_elsewhere(one) and launchers.runs_elsewhere(ray)


@pytest.mark.parametrize(
    ("commands", "count", "expected"),
    [("4,6", 0, "4,6"), ("4,6", 1, "4"), (None, 0, None), (None, 2, "0,1")],
)
def test_submitit_local_sees_the_gpus_of_the_command(monkeypatch, commands, count, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # pytest restores it
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    os.environ.pop("CUDA_VISIBLE_DEVICES")
    if commands is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = commands
    command = launchers.Command()
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(count)))  # submitit's
    local = f"hydra.launcher.gpus_per_node={count}"
    command.join(hydra_of("submitit_local", local).launcher)
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == expected
    os.environ["CUDA_VISIBLE_DEVICES"] = "reserved"
    command.join(hydra_of("ray").launcher)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "reserved"


class UntravelledError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_error_that_cannot_be_pickled_is_replaced(make_config):
    with (
        pytest.raises(RuntimeError, match="UntravelledError: this and that"),
        machine_share.machine_share(hydra_of("joblib"), make_config()),
    ):
        raise UntravelledError("this", "that")
    with (
        pytest.raises(UserError, match="stays"),
        machine_share.machine_share(hydra_of("joblib"), make_config()),
    ):
        raise UserError("stays")


def refused(*arguments):
    with pytest.raises(UserError) as error:
        command_line.validate_overrides(list(arguments), CONF)
    return str(error.value)


@pytest.mark.parametrize(
    ("launcher", "extra"),
    [("joblib", "joblib"), ("ray", "ray"), ("submitit_local", "submitit")],
)
def test_missing_plugin_is_named_with_its_extra(launcher, extra, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name.startswith("hydra_plugins.") else find_spec(name, *rest),
    )
    message = refused("-m", f"hydra/launcher={launcher}", "epochs=1,2")
    assert f"pip install -e '.[{extra}]'" in message


def test_slurm_is_refused_if_unavailable(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    message = refused("-m", "hydra/launcher=submitit_slurm", "epochs=1,2")
    assert "sbatch and srun are not available" in message and "hydra/launcher=joblib" in message


def test_launcher_without_m_and_a_mistyped_one_are_refused():
    assert "add -m" in refused("hydra/launcher=joblib")
    assert "did you mean 'joblib'" in refused("-m", "hydra/launcher=jobli")
    assert "no such key" in refused("-m", "hydra/launcher=joblib", "hydra.launcher.jobs=2")
    message = refused("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=two")
    assert "hydra.launcher.n_jobs=two: Value 'two'" in message and "no such key" not in message


def test_ray_cluster_requires_absolute_paths(tmp_path):
    cluster = ["hydra.launcher.ray.init.address=head:6379"]
    with pytest.raises(UserError, match=r"outputs_dir=outputs: .*give the absolute path"):
        launchers.refuse_impossible(composed("ray", *cluster))
    cluster += [f"outputs_dir={tmp_path}"]
    with pytest.raises(UserError, match=r"data\.root=data"):
        launchers.refuse_impossible(composed("ray", *cluster))
    launchers.refuse_impossible(composed("ray", *cluster, f"data.root={tmp_path}"))
    launchers.refuse_impossible(composed("ray"))


def test_process_of_a_launcher_has_command_and_cache(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["src/train.py", "-m", "epochs=1,2"])
    monkeypatch.setenv("VISIONSWEEP_CACHE", "/here")
    command = launchers.Command()
    monkeypatch.setattr(sys, "argv", ["default_worker.py"])
    monkeypatch.setenv("VISIONSWEEP_CACHE", "/elsewhere")
    command.join(hydra_of("joblib").launcher)
    assert sys.argv == ["src/train.py", "-m", "epochs=1,2"]
    assert os.environ["VISIONSWEEP_CACHE"] == "/here"


def raised_in(module, error):
    """Raise an error in a function of some module, and catch it."""
    scope = {"__name__": module, "error": error}
    exec("def launch(): raise error", scope)
    try:
        scope["launch"]()
    except type(error) as caught:
        return caught


def test_failures_of_launchers_are_explained():
    error = raised_in("hydra_plugins.hydra_ray_launcher._core", ConnectionError("no\nno cluster"))
    assert launchers.explained(error) == "ray failed: ConnectionError: no cluster"
    assert launchers.explained(raised_in("visionsweep.training.loop", ValueError("a bug"))) is None
    stopped = raised_in("hydra_plugins.hydra_joblib_launcher._core", KeyboardInterrupt())
    assert launchers.explained(stopped) is None


def test_run_ended_by_slurm_is_reported_with_its_state(monkeypatch):
    class UncompletedJobError(Exception):
        """Named and worded as submitit's."""

    slurm.queue().ids.append("7")
    error = UncompletedJobError("Job 7_2 (task: 0) with path x\nhas not (state: CANCELLED)\n---")
    message = launchers.explained(raised_in("hydra_plugins.hydra_submitit_launcher.x", error))
    assert message is not None and "Slurm says CANCELLED (Job 7_2 " in message


@pytest.mark.parametrize("ignored", [False, True])
def test_submitit_run_ends_before_its_job_is_requeued(ignored, monkeypatch, make_config):
    order = []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    interrupt = signal.signal(
        signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler
    )
    usual = signal.signal(signal.SIGUSR2, lambda number, frame: order.append("queued again"))
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            machine_share.machine_share(hydra_of("submitit_local"), make_config()),
        ):
            try:
                os.kill(os.getpid(), signal.SIGUSR2)
                order.append("went on")
            finally:
                order.append("record written")
        assert order == ["record written", "queued again"]
    finally:
        signal.signal(signal.SIGUSR2, usual)
        signal.signal(signal.SIGINT, interrupt)


def test_sigterm_ends_a_submitit_run_and_a_later_warning_still_requeues_it(
    monkeypatch, make_config
):
    order = []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    usual = signal.signal(signal.SIGUSR2, lambda number, frame: order.append("queued again"))
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            machine_share.machine_share(hydra_of("submitit_local"), make_config()),
            signals.deferred(),
        ):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGUSR2)
            order.append("batch done")
            signals.check()
            order.append("went on")
        assert order == ["batch done", "queued again"]
    finally:
        signal.signal(signal.SIGUSR2, usual)
