"""`resume`, `force`, and `fail_fast` reach Hydra beside any other argument, or it is refused."""

from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser
from hydra.types import RunMode

from visionsweep.cli import command_line, composition
from visionsweep.config.overrides import read
from visionsweep.config.schema import register_schema
from visionsweep.errors import UserError
from visionsweep.runs import names

CONF = Path(__file__).parents[2] / "conf"
SETTINGS = ["epochs=1,2", "resume=last", "force=true", "fail_fast=true"]
ONE_RUN = ["epochs=1", "resume=last", "force=true", "fail_fast=true"]
SPREAD = ["epochs=1,2", "resume=last", "-m", "force=true", "--config-dir", "more", "fail_fast=true"]


@pytest.fixture(autouse=True, scope="module")
def _registered():
    register_schema()
    names.register_resolvers()


@pytest.fixture(autouse=True)
def earlier(tmp_path, monkeypatch):
    """An earlier sweep and an earlier run, and configurations of the user's own."""
    sweep, run = tmp_path / "outputs/2026-01-31/12-00", tmp_path / "outputs/2026-01-31/13-00"
    (sweep / "a-run").mkdir(parents=True)
    (sweep / "multirun.yaml").touch()
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "mine.yaml").write_text("defaults: [config, _self_]\nbatch_size: 8\n")
    elsewhere = "defaults: [config, _self_]\nhydra: {sweep: {dir: elsewhere}}\n"
    (tmp_path / "more" / "elsewhere.yaml").write_text(elsewhere)
    monkeypatch.chdir(tmp_path)
    return {RunMode.MULTIRUN: "outputs/2026-01-31/12-00", RunMode.RUN: "outputs/2026-01-31/13-00"}


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        (["-m", *SETTINGS], RunMode.MULTIRUN),
        (SPREAD, RunMode.MULTIRUN),
        ([*SETTINGS, "hydra.mode=MULTIRUN"], RunMode.MULTIRUN),
        (["-cd=more", "--config-n=mine", "--multi", *SETTINGS], RunMode.MULTIRUN),
        (["--config-path", "../conf", "-m", *SETTINGS], RunMode.MULTIRUN),
        (["-cp", str(CONF), "--config-name", "config.yaml", *SETTINGS, "-m"], RunMode.MULTIRUN),
        (["-m", "++epochs=1,2", "++resume=last", "++force=true", "++fail_fast=true"],
         RunMode.MULTIRUN),
        (["-m", *SETTINGS, "hydra.job.name=a", "+hydra.job.env_set.A=b"], RunMode.MULTIRUN),
        (["experiment=foodvision_mini", *ONE_RUN], RunMode.MULTIRUN),
        (ONE_RUN, RunMode.RUN),
        (["epochs=1", "--config-dir", "more", *ONE_RUN[1:], "-r"], RunMode.RUN),
        (["experiment=foodvision_mini", "hydra.mode=RUN", *ONE_RUN], RunMode.RUN),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value.name,
)  # fmt: skip
def test_resume_force_and_fail_fast_reach_hydra(arguments, mode, earlier):
    given = command_line.validate_overrides(arguments, CONF)
    flags = get_args_parser().parse_args(given)  # as Hydra itself reads them: none is left over
    config = compose(given)
    assert f"sweep_dir={earlier[mode]}" in flags.overrides
    assert not any(setting.lstrip("+").startswith("resume") for setting in flags.overrides)
    assert config.force and config.fail_fast and config.sweep_dir == earlier[mode]
    assert flags.multirun or config.hydra.mode in (mode, None)
    place = config.hydra.sweep.dir if mode == RunMode.MULTIRUN else config.hydra.run.dir
    assert str(place).startswith(earlier[mode])
    assert flags.config_name not in ("mine",) or config.batch_size == 8


def compose(given):
    with composition.search_path(read(given), CONF):
        flags = get_args_parser().parse_args(given)
        first = [text.replace("=1,2", "=1") for text in flags.overrides]
        return composition.compose_config(first, flags.config_name or "config")


@pytest.mark.parametrize(
    ("arguments", "where", "instead"),
    [
        (["hydra.run.dir=x"], "hydra.run.dir=x", "sweep_dir="),
        (["hydra.sweep.dir=x"], "hydra.sweep.dir=x", "sweep_dir="),
        (["++hydra.sweep.dir=x"], "hydra.sweep.dir=x", "sweep_dir="),
        (["hydra.sweep={dir: x, subdir: y}"], "hydra.sweep.dir=x", "sweep_dir="),
        (["hydra.sweep.subdir=x"], "hydra.sweep.subdir=x", "sweep_dir="),
        (["hydra.job.chdir=true"], "hydra.job.chdir=true", "sweep_dir="),
        (["hydra.job.chdir=null"], "hydra.job.chdir=null", "sweep_dir="),
        (["hydra.output_subdir=null"], "hydra.output_subdir=null", "resume=last"),
        (["~hydra.callbacks.note_sweep"], "hydra.callbacks.note_sweep", "fail_fast"),
        (["~hydra.callbacks"], "None", None),
        (["-cd", "more", "-cn", "elsewhere"], "hydra.sweep.dir=elsewhere", "sweep_dir="),
        (["--config-dir", "nowhere"], "--config-dir=nowhere", None),
        (["--config-path", "nowhere"], "--config-path=nowhere", None),
        (["--config-name", "nowhere"], "--config-name=nowhere", None),
        (["--experimental-rerun", "x"], "--experimental-rerun", "reproduce.py"),
        (["--resolve"], "--resolve", None),
        (["--package", "x"], "--package", None),
        (["--multrun"], "--multrun", None),
        (["resume=nowhere"], "resume=nowhere", "last"),
        (["resume=outputs"], "resume=outputs", "resume=outputs/2026-01-31/12-00"),
        (["resume=outputs/2026-01-31/13-00"], "resume=outputs/2026-01-31/13-00", "last"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_arguments_that_would_break_resume_are_refused_with_an_alternative(
    arguments, where, instead
):
    with pytest.raises(UserError) as refused:
        command_line.validate_overrides(["epochs=1,2", *arguments, "force=true", "-m"], CONF)
    assert str(refused.value.where).startswith(where)
    assert instead is None or instead in str(refused.value.hint)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-m", "--cfg", "job"], ["--cfg", "--multirun"]),
        (["-m", "--run"], ["--run", "--multirun"]),
        (["--info", "--cfg", "job"], ["--cfg", "--info"]),
        (["--info", "nonsense"], ["nonsense"]),
        (["--config-dir"], ["--config-dir"]),
        (["-mepochs=5"], ["-m"]),
        (["\N{EN DASH}m"], ["EN DASH", "-m"]),
        (["\N{EM DASH}epochs=5"], ["EM DASH", "epochs=5"]),
        (["\ufeffepochs=5"], ["ZERO WIDTH NO-BREAK SPACE"]),
        (["epochs=5\N{NO-BREAK SPACE}"], ["NO-BREAK SPACE"]),
        ([""], ["empty"]),
        (["  "], ["empty"]),
        (["epochs =5"], ["epochs=...", "without spaces"]),
        (["epochs==5"], ["epochs=5"]),
        (["epochs:5"], ["epochs=5"]),
        (["Epochs=5"], ["'epochs'"]),
        (["model=EffNetB0"], ["'effnetb0'"]),
        (["model=vit"], ["'vit_b_16'"]),
        (["lr=0.01"], ["'optimizer.lr'"]),
        (["fraction=0.1"], ["'data.fraction'"]),
        (["data.root=my", "photographs"], ["'data.root=my photographs'"]),
        (["data.root=a\udcffb"], [r"\377", "UTF-8"]),
        (["data=folder", "data.root=mroe"], ["'more'"]),
        (["data=folder", "data.root=more/mine.yaml"], ["is a file"]),
        (["data=folder", "data.root=/dev/null"], ["/dev/null: is a device, pipe, or socket"]),
        (["data=folder"], ["data.root=...", "(a path"]),
    ],
    ids=lambda value: ascii(value),
)  # fmt: skip
def test_typing_mistakes_are_refused_with_a_suggestion(arguments, named):
    with pytest.raises(UserError) as refused:
        command_line.validate_overrides(arguments, CONF)
    assert all(text in str(refused.value) for text in named)


@pytest.mark.parametrize(
    "name", ["2024_01", "007", "on", "null", "1e3", "[a]", "a, b", "${x}", "{a: b}", "a (1)", "'a'"]
)
def test_folder_of_any_name_is_accepted_as_data_root(name, tmp_path):
    (tmp_path / name).mkdir()
    given = command_line.validate_overrides(["data=folder", f"data.root={name}"], CONF)
    assert compose(given).data.root == name


def test_swept_folders_are_quoted_and_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("2024_01", "a b", "null"):
        (tmp_path / name).mkdir()
    (given,) = [
        text
        for text in command_line.validate_overrides(
            ["-m", "data=folder", "data.root=~/2024_01,~/a b,null"], CONF
        )
        if text.startswith("data.root")
    ]
    assert given == f'data.root={tmp_path}/2024_01,"{tmp_path}/a b","null"'
    assert f"outputs_dir={tmp_path}/out" in command_line.validate_overrides(
        ["outputs_dir=~/out"], CONF
    )


def test_home_in_a_configuration_file_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "more" / "home.yaml").write_text("defaults: [config, _self_]\noutputs_dir: ~/out\n")
    given = command_line.validate_overrides(["-cd", "more", "-cn", "home"], CONF)
    assert compose(given).hydra.run.dir.startswith(f"{tmp_path}/out/")


def test_last_value_of_a_repeated_key_counts_with_a_notice(capsys):
    assert command_line.validate_overrides(["epochs=5", "seed=1", "++epochs=6"], CONF) == [
        "epochs=6",
        "seed=1",
    ]
    assert "epochs=5: left out" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["outputs_dir=${x}", "sweep_dir='\\${x}'"])
def test_directory_with_interpolation_syntax_is_refused(place, tmp_path):
    (tmp_path / "${x}").mkdir()
    with pytest.raises(UserError) as refused:
        command_line.validate_overrides([place], CONF)
    assert "${x}" in str(refused.value.where) and "outputs_dir" in str(refused.value.hint)
