"""With `fail_fast` one failing run lets no other begin, whichever process it fails in."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from visionsweep.command_memory import fresh_memory
from visionsweep.errors import RefusedError, UserError
from visionsweep.sweeps import callback, session
from visionsweep.sweeps.callback import SweepCallback, command_state

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def fail(tmp_path, monkeypatch):
    """Run a failing job; gives the configuration that it had."""

    def run(mode: RunMode = RunMode.MULTIRUN, *, fail_fast: bool = True):
        hydra = OmegaConf.create({"mode": mode})
        monkeypatch.setattr(HydraConfig, "get", staticmethod(lambda: hydra))
        config = OmegaConf.create({"sweep_dir": str(tmp_path), "fail_fast": fail_fast})
        with callback.job(config, "a-run"):
            raise UserError("on purpose")

    return run


def test_failure_in_a_launchers_process_is_raised_and_no_further_run_starts(fail):
    with pytest.raises(UserError, match="on purpose"):
        fail()
    with pytest.raises(UserError, match=r"not started, because a-run failed \(fail_fast=true\)"):
        fail()


def test_failure_in_the_commands_own_process_ends_the_sweep(fail, monkeypatch, tmp_path):
    command_state().sweep_dir = tmp_path
    with pytest.raises(SystemExit) as ended:
        fail()
    assert ended.value.code == 1


def test_resumed_sweep_starts_again(fail, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="on purpose"):
        fail()
    launcher = {"_target_": "hydra.BasicLauncher"}
    sweeper = {"_target_": "hydra_plugins.optuna_sweeper.OptunaSweeper"}
    hydra = {"sweep": {"dir": str(tmp_path)}, "launcher": launcher, "sweeper": sweeper}
    config = OmegaConf.create(
        {"hydra": hydra, "figures": "none", "max_seconds": None, "features": {"cache_dir": "cache"}}
    )
    SweepCallback().on_multirun_start(config)
    command_state().sweep_dir = None
    with pytest.raises(UserError, match="on purpose"):
        fail()


@pytest.mark.parametrize(
    ("mode", "fail_fast"), [(RunMode.RUN, True), (RunMode.MULTIRUN, False)], ids=str
)
def test_failure_outside_a_sweep_or_without_fail_fast_stops_nothing(
    fail, mode, fail_fast, tmp_path
):
    for _ in range(2):
        with pytest.raises(UserError, match="on purpose"):
            fail(mode, fail_fast=fail_fast)
    assert list(tmp_path.iterdir()) == []


def test_refused_run_leaves_no_record_and_is_listed_at_the_end(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create({"mode": RunMode.MULTIRUN}))
    config = OmegaConf.create({"sweep_dir": str(tmp_path), "fail_fast": False})
    for name in ("one", "other"):
        with pytest.raises(RefusedError), callback.job(config, name):
            raise RefusedError("epochs: 2 there, 3 now")
    session.finish_sweep(tmp_path, 1)
    printed = capsys.readouterr().out
    assert "refused one" in printed and "refused other" in printed
    assert (
        "0 runs finished. After fixing the errors above" in printed
        and f"sweep_dir={tmp_path}" in printed
    )


@pytest.mark.parametrize(
    ("params", "given", "runs"),
    [
        (None, ["model=resnet18"], 1),
        (None, ["model=effnetb0,effnetb2", "data=10pct,20pct", "epochs=5,10"], 8),
        (None, ["seed=range(0,200)", "optimizer.lr=choice(0.1,0.01)"], 400),
        (None, ["data.root='a,b'", "optimizer=glob(*)"], len(list((CONF / "optimizer").iterdir()))),
        ({"model": "effnetb0,effnetb2", "epochs": "5,10"}, ["epochs=1,2,3", "seed=7"], 6),
    ],
)
def test_runs_of_a_sweep_are_counted_like_hydras(params, given, runs):
    hydra = {"sweeper": {"_target_": "hydra.BasicSweeper", "params": params}}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert (
            len(callback.planned_runs(OmegaConf.create(hydra | {"overrides": {"task": given}})))
            == runs
        )


def test_runs_of_another_sweeper_are_unknown():
    hydra = {"sweeper": {"_target_": "hydra_plugins.optuna_sweeper.OptunaSweeper"}}
    assert callback.planned_runs(OmegaConf.create(hydra)) is None


def run_one(monkeypatch, directory: Path, error: BaseException | None = None) -> int:
    """End a run outside a sweep."""
    monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create({"mode": RunMode.RUN}))
    config = OmegaConf.create({"sweep_dir": str(directory), "fail_fast": False})

    def main() -> None:
        command_state().run_dir = directory
        with callback.job(config, "a-run"):
            if error is not None:
                raise error

    with fresh_memory():
        return session.run(main)


def test_single_run_prints_its_directory_and_next_commands(monkeypatch, tmp_path, capsys):
    assert run_one(monkeypatch, tmp_path) == 0
    output = capsys.readouterr().out
    assert f"python src/view.py {tmp_path}" in output
    assert f"python src/predict.py PHOTO --run {tmp_path}" in output


def test_error_of_a_single_run_is_printed_once(monkeypatch, tmp_path, capsys, caplog):
    assert run_one(monkeypatch, tmp_path, UserError("on purpose")) == 1
    assert capsys.readouterr() == ("", "on purpose\n") and "on purpose" not in caplog.text


@pytest.mark.parametrize("half_done", [True, False])
def test_interrupted_run_prints_where_the_next_command_resumes(
    monkeypatch, tmp_path, capsys, half_done
):
    if half_done:
        (tmp_path / "checkpoint.safetensors").touch()
    assert run_one(monkeypatch, tmp_path, KeyboardInterrupt()) == 130
    output = capsys.readouterr().out
    assert ("after its last checkpoint" in output) == half_done
    assert ("starts it again" in output) != half_done and f"sweep_dir={tmp_path}" in output


def test_planted_link_in_place_of_the_note_of_a_stopped_sweep_is_not_followed(fail, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    (tmp_path / ".stopped").symlink_to(victim)
    with pytest.raises(
        UserError, match="on purpose"
    ):  # and not "not started, because theirs failed"
        fail()
    assert victim.read_text() == "theirs"
    with pytest.raises(UserError, match="not started, because a-run failed"):
        fail()
