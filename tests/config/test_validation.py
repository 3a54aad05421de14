"""Each file of `conf/` composes and describes itself, and each invalid value is refused."""

import copy
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torchvision
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from visionsweep.config.derived import settings
from visionsweep.config.published_weights import torchvision_models
from visionsweep.config.schema import Config, register_schema
from visionsweep.config.validation import validate_config
from visionsweep.errors import UserError, nearest
from visionsweep.models.single_image import refuse_single_images
from visionsweep.runs import names
from visionsweep.text import shell

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(CONF.glob("*/*.yaml"))
CHOICES = {key: item.choices for key, item in settings().items() if item.choices}
WITH_WHAT_IT_NEEDS = {
    "data/table": ["data.file=labels.csv"],
    "data/folder": ["data.root=."],
    "data/torchvision": ["data.name=Food101"],
    "model/local": ["model.name=resnet34", "model.weights=mine.safetensors"],
    "model/torchvision": ["model.name=resnet34"],
    "model/timm": ["model.name=resnet34"],
}


@pytest.fixture(autouse=True, scope="module")
def _hydra() -> Iterator[None]:
    register_schema()
    names.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*overrides: str) -> DictConfig:
    return compose("config", overrides=list(overrides))


def changed(settings: dict[str, object]) -> DictConfig:
    """The default configuration with values put in as they are, past Hydra's own checks."""
    config = copy.deepcopy(_default())
    for key, value in settings.items():
        OmegaConf.update(config, key, value, force_add=True)
    return config


@cache
def _default() -> DictConfig:
    return composed()


def refusal(config: DictConfig) -> str:
    with pytest.raises(UserError) as caught:
        validate_config(config)
    return str(caught.value)


# Files ---------------------------------------------------------------------------------------


def test_default_configuration_is_the_documented_one() -> None:
    config = validate_config(composed())
    assert isinstance(config, Config)
    assert (config.model.label, config.data.label, config.epochs) == ("effnetb0", "10pct", 5)
    assert (config.seed, config.batch_size) == (42, 32)
    assert (config.optimizer.name, config.optimizer.lr) == ("Adam", 0.001)
    assert (config.transform.name, config.transform.size) == ("resize", 224)
    assert config.augmentation.name == "none" and config.training.freeze_backbone is True


def test_documented_groups_and_options_exist() -> None:
    promised = {
        "model": "effnetb0 effnetb1 effnetb2 effnetb3 effnetb4 resnet18 resnet50 "
        "mobilenet_v3_small convnext_tiny vit_b_16 effnetlite0 effnetlite1 effnetlite2",
        "data": "10pct 20pct 100pct folder",
        "training": "feature_extraction fine_tuning fine_tuning_plain from_scratch linear_probe",
        "augmentation": "none trivial_augment",
        "transform": "resize pretrained",
        "optimizer": "adam adamw sgd",
        "experiment": "foodvision_mini",
    }
    for group, options in promised.items():
        assert set(options.split()) <= {path.stem for path in (CONF / group).glob("*.yaml")}


@pytest.mark.parametrize("path", OPTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_every_option_composes_and_is_valid(path: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("labels.csv", "mine.safetensors"):
        (tmp_path / name).touch()
    option = f"{path.parent.name}/{path.stem}"
    validate_config(
        composed(f"{path.parent.name}={path.stem}", *WITH_WHAT_IT_NEEDS.get(option, []))
    )


@pytest.mark.parametrize(
    "path", [*CONF.rglob("*.yaml")], ids=lambda p: str(p.relative_to(CONF).with_suffix(""))
)
def test_every_config_file_starts_with_its_purpose(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    lines = lines[1:] if lines[0].startswith("# @package") else lines
    assert lines[0].startswith("# ") and len(lines[0]) > 15 and lines[0].endswith((".", ",", "of"))


def test_model_configs_name_existing_models() -> None:
    for path in (CONF / "model").glob("*.yaml"):
        config = OmegaConf.load(path)
        assert isinstance(config, DictConfig)
        if path.stem in ("torchvision", "timm", "local"):
            continue
        assert config.label == path.stem
        if config.get("source") == "timm":
            timm = pytest.importorskip("timm")
            assert config.name in timm.list_models(pretrained=True)
            stated = timm.get_pretrained_cfg(config.name).license
            assert re.search(stated.replace("-", "."), path.read_text("utf-8"), re.IGNORECASE)
        elif config.get("source") != "package":
            assert config.name in torchvision_models()


def test_fine_tuning_takes_the_optimizers_lower_rate() -> None:
    for optimizer in ("adam", "adamw", "sgd"):
        frozen = validate_config(composed(f"optimizer={optimizer}"))
        tuned = validate_config(composed(f"optimizer={optimizer}", "training=fine_tuning"))
        assert tuned.optimizer.lr == frozen.optimizer.fine_tuning_lr < frozen.optimizer.lr
        assert tuned.training.freeze_backbone is False
    assert validate_config(composed("training=fine_tuning", "optimizer.lr=0.5")).optimizer.lr == 0.5


def test_linear_probe_has_no_epochs_and_one_replicate() -> None:
    config = validate_config(composed("training=linear_probe", "epochs=10", "optimizer.lr=0.5"))
    assert (config.epochs, config.replicates, config.training.linear_probe) == (1, 1, "only")


def test_list_of_models_is_that_of_torchvision() -> None:
    theirs = torchvision.models.list_models(module=torchvision.models)
    assert list(torchvision_models()) == sorted(theirs)
    assert len(theirs) > 70


@pytest.mark.parametrize(
    "module",
    ["config.schema", "config.validation", "cli.train", "runs.names", "sweeps.session"],
)
def test_reading_a_command_imports_neither_torch_nor_scipy(module: str) -> None:
    code = (
        f"import sys, visionsweep.{module}; "
        "from visionsweep.config import published_weights; published_weights.torchvision_models(); "
        "print([m for m in ('torch', 'torchvision', 'scipy') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# What `validate_config` refuses

SOLVED: dict[str, object] = {"training.linear_probe": "only", "replicates": 1}
V2 = "torchvision.transforms.v2"

NUMBERS = {
    "epochs": ([0, -1], "a whole number of at least 1"),
    "batch_size": ([0, -32], "a whole number of at least 1"),
    "seed": ([-1, 2**32], "a whole number from 0 to 4294967295"),
    "num_workers": ([-1], "a whole number of at least 0, or null"),
    "data.fraction": ([0.0, -0.1, 1.01, float("nan")], "above 0 and at most 1 (0.1 is 10%)"),
    "data.val_share": ([0.0, 1.0, float("nan")], "a number between 0 and 1"),
    "data.test_share": ([0.0, 1.0, float("nan")], "a number between 0 and 1"),
    "data.split_seed": ([-1], "a whole number of at least 0"),
    "transform.size": ([7, 0, -224], "a whole number of at least 8"),
    "optimizer.lr": ([0.0, -0.1, float("nan"), float("inf")], "above 0"),
    "optimizer.fine_tuning_lr": ([0.0, float("nan")], "above 0"),
    "optimizer.weight_decay": ([-0.1, float("nan"), float("inf")], "a number of at least 0"),
    "model.dropout": ([-0.1, 1.0, float("nan")], "a number from 0 to below 1, or null"),
}


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, (values, _) in NUMBERS.items() for value in values]
)
def test_a_number_out_of_range_is_refused_with_the_valid_ones(key: str, value: float) -> None:
    message = refusal(changed({key: value}))
    assert message == f"{key}={value}: should be {settings()[key].valid_values}"
    assert NUMBERS[key][1] in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 1),
        ("seed", 0),
        ("seed", 2**32 - 1),
        ("data.fraction", 1.0),
        ("optimizer.lr", 10.0),
        ("model.dropout", 0.0),
        ("optimizer.weight_decay", 0.0),
        ("transform.size", 8),
    ],
)
def test_numbers_at_the_edge_are_accepted(key: str, value: float) -> None:
    assert (
        OmegaConf.select(OmegaConf.structured(validate_config(changed({key: value}))), key) == value
    )


@pytest.mark.parametrize("key", CHOICES)
def test_an_unknown_choice_is_refused_with_the_known_ones(key: str) -> None:
    typo = CHOICES[key][0][:-1] + "z"
    message = refusal(changed({key: typo}))
    assert f"{key}={typo}: not one of {', '.join(CHOICES[key])}" in message
    assert f"did you mean '{CHOICES[key][0]}'" in message


@pytest.mark.parametrize(
    "key", [k for k in settings() if k not in ("data.archives", "data.splits")]
)
def test_no_setting_accepts_an_empty_string(key: str) -> None:
    with pytest.raises((UserError, ValueError)) as caught:
        validate_config(changed({key: ""}))  # numbers are refused before by the schema
    if isinstance(caught.value, UserError):
        assert f"{key}=: the value is empty; should be {settings()[key].valid_values}" in str(
            caught.value
        )


def test_force_and_reuse_are_mutually_exclusive() -> None:
    assert "give one of them" in refusal(changed({"force": True, "reuse": True}))
    assert (
        validate_config(changed({"force": True})).force
        and validate_config(changed({"reuse": True})).reuse
    )


def test_unknown_model_is_refused_with_the_nearest_names() -> None:
    message = refusal(changed({"model.name": "efficientnet_b00"}))
    assert message.startswith("model.name=efficientnet_b00: torchvision has no such")
    assert "did you mean 'efficientnet_b0'" in message
    assert "one of alexnet, convnext_base" in refusal(changed({"model.name": "xyzzy"}))


@pytest.mark.parametrize(
    ("name", "answer"),
    [("CIFAR", "did you mean 'CIFAR10'"), ("CelebA", "one of CIFAR10"), ("null", "one of CIFAR10")],
)
def test_unknown_data_set_is_refused_with_the_nearest_names(name: str, answer: str) -> None:
    message = refusal(composed("data=torchvision", f"data.name={name}"))
    assert f"data.name={name}" in message and answer in message


def test_key_added_by_a_plus_sign_is_refused() -> None:
    message = refusal(composed("+optimizer.learning_rate=0.1", "+sede=1"))
    assert "optimizer.learning_rate=0.1: no such key" in message
    assert "sede=1: no such key; did you mean 'seed'?" in message


def test_missing_required_values_are_refused() -> None:
    assert "data.root: a value is needed; give data.root=..." in refusal(composed("data=folder"))
    asked = refusal(composed("model=torchvision"))
    assert asked.startswith("model.name: a value is needed; give model.name=...")
    assert "model.label" not in asked


def test_unresolvable_interpolation_is_refused() -> None:
    message = refusal(composed("epochs=${epohcs}"))
    assert message.startswith("epochs: ") and "'epohcs' not found" in message
    assert "should be a whole number of at least 1" in message


def test_all_problems_are_reported_at_once() -> None:
    message = refusal(changed({"epochs": 0, "optimizer.lr": -1.0, "device": "gpu"}))
    assert [line.partition("=")[0] for line in message.splitlines()] == [
        "optimizer.lr",
        "epochs",
        "device",
    ]


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:1"])
def test_devices_are_accepted_by_name(device: str) -> None:
    assert validate_config(changed({"device": device})).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "cpu "])
def test_other_devices_are_refused(device: str) -> None:
    assert refusal(changed({"device": device})) == (
        f"device={device}: should be auto, cpu, mps, cuda, or cuda:N"
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer.momentum": 0.9}, ("optimizer.momentum=0.9", "Adam", "Use optimizer=sgd")),
        (
            {"data.val_share": 0.6, "data.test_share": 0.4},
            ("data.val_share=0.6", "data.test_share=0.4", "below 1"),
        ),
        (
            {"data.source": "folder", "data.root": "/no/such/folder"},
            ("data.root=/no/such/folder: no such folder", "holds your images"),
        ),
        ({"data.base_url": None}, ("data.base_url and data.archives: both are needed",)),
        ({"data.base_url": "/a/folder"}, ("data.base_url=/a/folder", "https://", "file:///")),
        ({"data.base_url": "file://a/folder"}, ("data.base_url=file://a/folder", "file:///")),
        ({"data.fraction": 0.5}, ("data.fraction=0.5", "hold 20% of", "or for 1.0")),
        ({"data.archives": {"a.zip": 2.0}}, ("data.archives=", "{a.zip: 0.1, b.zip: 0.2}")),
        ({"data.splits": {"val": "dev"}}, ("data.splits=", "{train: FOLDER", "train is required")),
        ({"data.splits": {"train": "a", "dev": "b"}}, ("data.splits=", "val: FOLDER")),
        ({"data.splits": {"train": "a"}}, ("data.splits=", "data.source=archives", "data=folder")),
        ({"model.source": "package"}, ("model.weights=DEFAULT", "PyPI package", "null")),
        ({"training.layer_decay": 0.8}, ("layer_decay=0.8", "that is trained")),
        ({"training.freeze_batchnorm": True}, ("freeze_batchnorm=True", "that is trained")),
        ({"training.mixup": 0.2}, ("mixup=0.2", "that is trained")),
        (
            {
                "training.freeze_backbone": False,
                "training.cutmix": 1.0,
                "training.focal_gamma": 2.0,
                "replicates": 1,
            },
            ("focal_gamma=2.0", "mixed labels"),
        ),
        ({**SOLVED, "replicates": 5}, ("replicates=5", "training.linear_probe=only", "no seed")),
        ({**SOLVED, "training.freeze_backbone": False}, ("freeze_backbone=False", "frozen")),
        (
            {**SOLVED, "augmentation._target_": f"{V2}.ColorJitter"},
            ("augmentation=", "as they are"),
        ),
        (
            {"augmentation.crop_scale": 0.5, "augmentation.test_views": 6},
            ("test_views=6", "stored views"),
        ),
        (
            {
                "augmentation.crop_scale": 0.5,
                "augmentation.views": 6,
                "training.freeze_backbone": False,
                "replicates": 1,
            },
            ("augmentation.views=6", "trained backbone"),
        ),
        (
            {
                "augmentation.crop_scale": 0.5,
                "augmentation.views": 2,
                "augmentation.test_views": 3,
                "evidence.name": "cross_fit",
            },
            ("test_views=3", "2 views"),
        ),
        (
            {**SOLVED, "training.sampling": "balanced"},
            ("sampling=balanced", "class_weights=balanced"),
        ),
        ({**SOLVED, "training.focal_gamma": 2.0}, ("focal_gamma=2.0", "cross-entropy")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_inconsistent_values_are_refused(
    settings: dict[str, object], words: tuple[str, ...]
) -> None:
    message = refusal(changed(settings))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("overrides", "size"),
    [
        (["model.name=resnet18", "transform.size=32"], 32),
        (["model=effnetlite0", "transform.size=32"], 32),
        (["model.name=regnet_y_400mf", "transform.size=32"], 32),
    ],
)
def test_a_batch_of_one_that_batchnorm_cannot_train_on_is_refused(
    overrides: list[str], size: int
) -> None:
    config = validate_config(composed(*overrides, "training=fine_tuning", "batch_size=1"))
    with pytest.raises(UserError) as refused:
        refuse_single_images(config)
    assert refused.value.where == "batch_size=1" and f"{size}x{size} pixels" in refused.value.what
    for way_out in ("batch_size=2", "transform.size", "training=feature_extraction"):
        assert way_out in refused.value.hint


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.name=resnet18", "transform.size=64", "training=fine_tuning"],
        ["model.name=resnet18", "transform=pretrained", "training=fine_tuning"],
        ["model.name=convnext_tiny", "transform.size=32", "training=fine_tuning"],
        ["model.name=resnet18", "transform.size=32"],
        ["model.name=resnet18", "transform.size=32", "augmentation=trivial_augment"],
    ],
)
def test_a_batch_of_one_is_accepted_where_it_can_be_trained_on(overrides: list[str]) -> None:
    refuse_single_images(validate_config(composed(*overrides, "batch_size=1")))


def test_folders_of_splits_are_given_as_a_mapping(tmp_path: Path) -> None:
    splits = "data.splits={train: 'My Train', val: dev}"
    config = validate_config(composed("data=folder", f"data.root={tmp_path}", splits))
    assert config.data.splits == {"train": "My Train", "val": "dev", "test": None}


def test_sgd_takes_momentum() -> None:
    assert (
        validate_config(composed("optimizer=sgd", "optimizer.momentum=0.5")).optimizer.momentum
        == 0.5
    )


def test_every_setting_describes_its_valid_values() -> None:
    said = {key: settings()[key].valid_values for key in settings()}
    assert said["training.freeze_backbone"] == "true or false"
    assert said["data.name"] == "a name, or null" and said["model.name"] == "a text"
    config = composed()
    for key in settings():
        if isinstance(OmegaConf.select(config, key), int | float):
            assert "text" not in said[key], key


def test_nearest_suggests_only_close_names() -> None:
    assert nearest("epohcs", ["epochs", "seed"]) == "; did you mean 'epochs'?"
    assert nearest("xyzzy", ["epochs", "seed"]) == ""


@pytest.mark.parametrize(
    ("changed", "reason"),
    [("training=fine_tuning", "backbone is trained"), ("augmentation=trivial_augment", "augment")],
)
def test_runs_without_stored_features_cannot_be_cross_fitted(changed, reason):
    validate_config(composed("evidence=cross_fit"))
    with pytest.raises(UserError) as refused:
        validate_config(composed("evidence=cross_fit", changed))
    assert reason in refused.value.what and "evidence=holdout" in refused.value.what


def test_library_of_local_weights_is_torchvision_if_it_has_the_name(tmp_path) -> None:
    file = tmp_path / "mine, (2).pth"
    file.touch()
    settings = ["model=local", shell.setting("model.weights", file)]
    model = validate_config(composed(*settings, "model.name=resnet18")).model
    assert (model.library, model.weights) == ("torchvision", str(file))
    model = validate_config(composed(*settings, "model.name=vit_tiny_patch16_224")).model
    assert model.library == "timm"
    for wrong in (["model.name=no_such_net", "model.library=torchvision"], []):
        with pytest.raises(UserError):
            validate_config(composed(*settings, *wrong))
    with pytest.raises(UserError, match=r"model\.library"):
        validate_config(composed("model=effnetb0", "model.library=timm"))
