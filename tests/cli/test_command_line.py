"""Invalid commands are refused with a hint before anything is written."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from visionsweep.cli.command_line import validate_overrides
from visionsweep.config.schema import register_schema
from visionsweep.errors import UserError
from visionsweep.runs import names

ROOT = Path(__file__).parents[2]

EIGHT = ["-m", "model=effnetb0,effnetb2", "data=10pct,20pct", "epochs=5,10"]


@pytest.fixture(autouse=True, scope="module")
def _registered() -> None:
    register_schema()
    names.register_resolvers()


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def refused(*arguments: str) -> str:
        with pytest.raises(UserError) as error:
            validate_overrides(list(arguments), ROOT / "conf")
        assert capsys.readouterr() == ("", "")
        assert "full_key" not in str(error.value)
        return str(error.value)

    return refused


def test_sweep_of_more_than_the_most_runs_is_refused(refusal):
    text = refusal(*EIGHT, "max_runs=7", "model.weights=null")
    assert "max_runs=7" in text and "8 runs" in text
    validate_overrides([*EIGHT, "max_runs=8", "model.weights=null"], ROOT / "conf")


def test_models_of_timm_that_do_not_fit_the_images_are_refused(refusal):
    pytest.importorskip("timm")
    model = ["model=timm", "model.name=vit_tiny_patch16_224", "model.weights=null"]
    text = refusal(*model, "transform.size=100")
    assert "model.name=vit_tiny_patch16_224" in text and "96 or 112 would fit" in text
    validate_overrides([*model, "transform.size=96"], ROOT / "conf")
    assert "no such model; did you mean" in refusal("model=timm", "model.name=vit_tiny_patch16_225")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["epochs=1", "seed=3", "device=cpu"],
        EIGHT,
        ["experiment=foodvision_mini"],
        ["experiment=foodvision_mini", "epochs=1,2", "model=resnet18"],
        ["-m", "model=resnet18", "optimizer.lr=0.0003,0.001,0.003", "seed=range(0,3)"],
        ["-m", "model=glob(effnetb*)", "epochs=choice(1,2)"],
        ["training=fine_tuning", "augmentation=trivial_augment", "epochs=3"],
        ["model=torchvision", "model.name=regnet_y_400mf"],
        ["data=folder", "data.root=."],
        ["-m", "data=folder", "data.root=.", "data.fraction=0.1,0.2,1.0"],
        ["sweep_dir=with spaces/inside"],
        ["model.dropout=null", "model.weights=null"],
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_valid_commands_pass_without_output(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    validate_overrides(arguments, ROOT / "conf")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        # values of a wrong type, and none
        ("epochs=true", "epochs=true: should be a whole number of at least 1"),
        ("epochs=5.5", "epochs=5.5: should be a whole number of at least 1"),
        ("epochs=null", "epochs=null: should be a whole number of at least 1"),
        ("epochs=", "epochs=: should be a whole number of at least 1"),
        ("epochs=five", "epochs=five: should be a whole number of at least 1"),
        ("epochs=[5,10]", "epochs=[5,10]: should be a whole number of at least 1"),
        ("seed=1e3", "seed=1e3: should be a whole number from 0 to 4294967295"),
        ("optimizer.lr=fast", "optimizer.lr=fast: should be a number above 0"),
        ("data.fraction=10%", "data.fraction=10%: should be a number above 0"),
        ("training.freeze_backbone=5x", "training.freeze_backbone=5x: should be true or false"),
        ("model.name=null", "model.name=null: should be a text"),
        ("model.name=", "model.name=: the value is empty; should be a text"),
        ("data.archives=x", "data.archives=x: should be file names with the share"),
        # values out of range
        ("epochs=0", "epochs=0: should be a whole number of at least 1"),
        ("seed=-1", "seed=-1: should be a whole number from 0 to 4294967295"),
        ("optimizer.lr=nan", "optimizer.lr=nan: should be a number above 0"),
        ("data.fraction=1.5", "data.fraction=1.5: should be a number above 0 and at most 1"),
        ("device=gpu", "device=gpu: should be auto, cpu, mps, cuda, or cuda:N"),
        # names that do not exist
        ("model=efnetb0", "model=efnetb0: no such option; did you mean 'effnetb0'"),
        ("data=20pcct", "data=20pcct: no such option; did you mean '20pct'"),
        ("data=5pct", "\n  data: 100pct, 10pct, 20pct, folder, sample"),
        ("training=finetuning", "did you mean 'fine_tuning'"),
        ("experiment=foodvision", "did you mean 'foodvision_mini'?"),
        ("model.name=resnet81", "model.name=resnet81: torchvision has no such"),
        # keys that do not exist
        ("epohcs=5", "epohcs=5: no such key; did you mean 'epochs'?"),
        ("lr=0.1", "lr=0.1: no such key"),
        ("optimizer.lrr=1", "optimizer.lrr=1: no such key; did you mean 'optimizer.lr'"),
        ("mdel=effnetb0", "mdel=effnetb0: no such key; did you mean 'model'?"),
        ("+epohcs=5", "epohcs=5: no such key; did you mean 'epochs'?"),
        ("++optimizer.lrr=1", "optimizer.lrr=1: no such key; did you mean 'optimizer.lr'"),
        ("+model=effnetb2", "+model=effnetb2: leave out the plus sign: model=effnetb2"),
        # groups given something else than an option
        ("model=null", "model=null: should be one of clip_b, convnext_tiny"),
        ("data=5", "data=5: should be one of 100pct, 10pct"),
        ("model=[effnetb0,effnetb2]", "several to a sweep: -m model=a,b"),
        ("experiment=null", "experiment=null: should be one of demo, foodvision_mini; or leave"),
        # what is needed
        ("data=folder", "data.root: a value is needed; give data.root=..."),
        ("data=folder data.root=/no/folder", "data.root=/no/folder: no such folder"),
        ("model=torchvision", "model.name: a value is needed; give model.name=..."),
        ("~epochs", "~epochs: a setting cannot be deleted"),
        # slips of the pen
        ("epochs", "epochs: no value; settings are key=value; write epochs=..."),
        ("epochs = 5", "epochs: no value; settings are key=value; write epochs=..."),
        ("=5", "=5: no key; settings are key=value"),
        ("photos/", "photos/: no value; settings are key=value"),
        ("--epochs=5", "--epochs=5: settings have no dashes; write epochs=..."),
        ("-m --model effnetb0", "--model: settings have no dashes; write model=..."),
        ("-m epochs=5, 10", "epochs=5,: ends in a comma; write lists without spaces: epochs=5,10"),
        ('data.name="it', 'data.name="it: cannot be read; a value with spaces'),
        ("data.name=it's", "data.name=it's: cannot be read; a value with spaces"),
        ("data=folder data.root=(x", "data.root=(x: no such folder"),
        ("epochs=${epohcs}", "epochs: Interpolation key 'epohcs' not found; should be"),
        # sweeps
        ("epochs=5,10", "epochs=5,10: several values make a sweep; add -m: python src/train.py -m"),
        ("-m model=glob(x*)", "model=glob(x*): holds no value at all"),
        ("-m optimizer.lr=interval(0.1,1)", "an interval wants a sweeper that searches"),
    ],
)  # fmt: skip
def test_invalid_settings_are_refused_with_key_value_and_hint(
    refusal: Callable[..., str], arguments: str, message: str
) -> None:
    assert message in refusal(*arguments.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "data=10pct,20pcct"], "data=20pcct: no such option; did you mean '20pct'"),
        (["--multirun", "epochs=5,10,0"], "epochs=0: should be"),
        (["-m", "model=effnetb0,effnetb2", "seed=1,2,-3"], "seed=-3: should be"),
        (["-m", "seed=range(0,3)", "epochs=range(2,-1,-1)"], "epochs=0: should be"),
        (["-m", "optimizer=adam,sgd", "optimizer.lr=0.1,nan"], "optimizer.lr=nan: should be"),
        (["-m", "optimizer=sgd,adam", "optimizer.momentum=0.9"], "Adam has no momentum"),
        (["-m", "model.name=resnet18,resnet81"], "model.name=resnet81: torchvision has no"),
        (["experiment=foodvision_mini", "epochs=5,0"], "epochs=0: should be"),
        (["experiment=foodvision_mini", "model=effnetb0,x"], "model=x: no such option"),
        (["experiment=foodvision_mini", "optimizer.lr=0"], "optimizer.lr=0.0: should be"),
    ],
)
def test_every_value_of_a_sweep_is_validated(
    refusal: Callable[..., str], arguments: list[str], message: str
) -> None:
    assert message in refusal(*arguments)


def test_values_in_an_experiment_preset_are_validated(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    for path in (ROOT / "conf").rglob("*.yaml"):
        copy = conf / path.relative_to(ROOT / "conf")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    study = (conf / "experiment" / "foodvision_mini.yaml").read_text()
    (conf / "experiment" / "mine.yaml").write_text(study.replace("5,10", "5,0"))
    for arguments in (["experiment=mine"], ["-m", "experiment=mine"]):
        with pytest.raises(UserError, match="epochs=0: should be a whole number"):
            validate_overrides(arguments, conf)
    validate_overrides(["experiment=mine", "epochs=3"], conf)  # the command line has the last word
    with pytest.raises(UserError, match="is a sweep of its own"):
        validate_overrides(["-m", "experiment=foodvision_mini,mine"], conf)


@pytest.mark.parametrize("flag", ["--help", "--cfg", "--info", "--hydra-help", "-h"])
def test_commands_that_only_print_are_left_to_hydra(flag: str) -> None:
    value = ["job"] if flag == "--cfg" else []
    validate_overrides(["epochs=0", flag, *value], ROOT / "conf")


def train(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "src" / "train.py"), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_refused_command_ends_with_status_1_and_writes_nothing(tmp_path: Path) -> None:
    ran = train(tmp_path, "-m", "model=effnetb0,efnetb2", "data=10pct", "epochs=5")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr.startswith("model=efnetb2: no such option; did you mean 'effnetb2'")
    assert "Traceback" not in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_lists_groups_options_and_examples_and_writes_nothing(tmp_path: Path) -> None:
    ran = train(tmp_path, "--help")
    assert ran.returncode == 0
    for words in (
        "\n  model\n",
        "* effnetb0",
        "20pct",
        "fine_tuning",
        "trivial_augment",
        "passes over the training images",
    ):
        assert words in ran.stdout
    assert ran.stdout.count("python src/train.py") >= 5
    assert list(tmp_path.iterdir()) == []
