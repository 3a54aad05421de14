"""Run names: readable, safe as a directory, and different for different settings."""

import itertools
import random
import string
from pathlib import Path

import pytest

from visionsweep.config.schema import Config
from visionsweep.runs.names import relabel, run_name

CHOICES = {
    "model": "effnetb0",
    "data": "10pct",
    "transform": "resize",
    "augmentation": "none",
    "optimizer": "adam",
    "training": "feature_extraction",
}
NASTY = [
    "", " ", ".", "..", "../..", "/", "//", "/etc/passwd", "a/b", "a-b", "a b", "a_b", "a  b", "-",
    "--", "-1", "1", "a.", ".a", "a", "A:b", "C:\\x", "\\", "\n", "a\nb", "\t", "\0", "é", "e", "ß",
    "日本", "日", "😀", "'", '"', "'a'", '"a"', "$HOME", "`x`", "*", "?", "|", "<>", "a=b", "a,b",
    "[a,b]", "{a:1}", "null", "'null'", "~", "#", "%", "%2F", "x" * 119, "x" * 120, "x" * 300,
    "x" * 299 + "y", "y/" * 200, "CON", "a&b", "a;b", "a\u202eb", "a\\b", "+", "a+b",
]  # fmt: skip


def name(overrides=(), choices=None, epochs: int = 5, study: bool = False) -> str:
    return run_name(CHOICES | (choices or {}), epochs, list(overrides), study=study)


def test_name_holds_model_data_and_epochs() -> None:
    assert name() == "effnetb0_10pct_5-epochs"
    assert name(["model=effnetb0", "data=10pct", "epochs=5"]) == "effnetb0_10pct_5-epochs"


def test_eight_runs_have_the_expected_names() -> None:
    sweep = itertools.product(("effnetb0", "effnetb2"), ("10pct", "20pct"), (5, 10))
    for model, data, epochs in sweep:
        overrides = [f"model={model}", f"data={data}", f"epochs={epochs}"]
        for study in (False, True):
            settings = [*overrides, "experiment=foodvision_mini"] if study else overrides
            given = name(settings, {"model": model, "data": data}, epochs, study=study)
            assert given == f"{model}_{data}_{epochs}-epochs"


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("optimizer.lr=0.01", "lr-0.01"),
        ("seed=3", "seed-3"),
        ("batch_size=16", "batch_size-16"),
        ("model.dropout=0.5", "dropout-0.5"),
        ("data.fraction=0.05", "fraction-0.05"),
        ("model.name=resnet34", "model.name-resnet34"),  # several keys end in `name`
        ("optimizer.name=SGD", "optimizer.name-SGD"),
        ("optimizer.lr=1e-3", "lr-1e-3"),
        ("++seed=3", "seed-3"),
    ],
)
def test_every_other_setting_appears(override: str, part: str) -> None:
    assert name([override]) == f"effnetb0_10pct_5-epochs_{part}"


def test_other_options_and_studies_appear() -> None:
    chosen = {"training": "fine_tuning", "experiment": "my_study"}
    given = name(["training=fine_tuning", "experiment=my_study"], chosen)
    assert given == "effnetb0_10pct_5-epochs_experiment-my_study_training-fine_tuning"


def test_name_of_a_solved_head_holds_no_setting_of_training_in_steps() -> None:
    chosen = {"training": "linear_probe", "optimizer": "sgd"}
    given = ["training=linear_probe", "epochs=10", "optimizer=sgd", "optimizer.lr=0.1", "seed=3"]
    solved = run_name(CHOICES | chosen, None, given, study=False)
    assert solved == "effnetb0_10pct_training-linear_probe"
    assert run_name(CHOICES | chosen, None, [*given, "transform.size=64"], study=False) != solved


def test_order_of_a_command_does_not_matter() -> None:
    overrides = ["seed=3", "optimizer.lr=0.01", "batch_size=8"]
    assert len({name(order) for order in itertools.permutations(overrides)}) == 1


def test_location_of_a_run_is_not_part_of_its_name() -> None:
    where = ["outputs_dir=/somewhere", "device=cpu", "data.base_url=file:///x", "data.root=/data"]
    assert name(where) == name()
    folder = {"data": "folder"}
    assert name(["data.root=/a/pets"], folder) != name(["data.root=/b/pets"], folder)
    assert "root-pets" in name(["data.root=/a/pets"], folder)


def assert_is_a_plain_directory_name(given: str, tmp_path: Path) -> None:
    assert set(given) <= set(string.ascii_letters + string.digits + ".+-_"), given
    assert len(given) <= 200 and given.startswith("effnetb0_10pct_5-epochs")
    (tmp_path / given).mkdir()
    assert (tmp_path / given).resolve().parent == tmp_path.resolve()


def test_values_never_break_a_path_or_share_a_name(tmp_path: Path) -> None:
    for key in ("data.name", "model.weights", "optimizer.lr"):
        names = [name([f"{key}={value}"]) for value in NASTY]
        assert len(set(names)) == len(NASTY)
        for given in names:
            assert_is_a_plain_directory_name(given, tmp_path)


def test_random_settings_never_share_a_name_or_break_a_path(tmp_path: Path) -> None:
    """Two keys with values made of separators: where joined text would be ambiguous."""
    rng = random.Random(0)
    keys = [
        "data.name",
        "model.label",
        "model.name",
        "optimizer.name",
        "seed",
        "data.archives.seed",
    ]
    made: dict[str, tuple[str, ...]] = {}
    for _ in range(3000):
        settings = tuple(
            f"{key}={''.join(rng.choices('a1-_./ =', k=rng.randint(0, 4)))}"
            for key in sorted(rng.sample(keys, rng.randint(0, 3)))
        )
        given = name(settings)
        assert made.setdefault(given, settings) == settings
    for given in made:
        assert_is_a_plain_directory_name(given, tmp_path)


def test_value_cannot_be_confused_with_another_key() -> None:
    assert name(["data.name=a_seed-3"]) != name(["data.name=a", "seed=3"])
    assert name(["data.name=a", "model.label=b"]) != name(["data.name=a_model.label-b"])


def test_long_names_that_differ_at_their_end_differ() -> None:
    many = [f"data.name={'x' * 200}", "seed=1"]
    assert name(many) != name([many[0], "seed=2"])
    long_models = [name(choices={"model": "m" * 200 + end}) for end in "ab"]
    assert long_models[0] != long_models[1] and max(map(len, long_models)) < 200


def test_label_reflects_overridden_settings() -> None:
    config = Config()
    config.model.label, config.model.name = "effnetb0", "resnet34"
    config.data.label, config.data.source, config.data.fraction = "10pct", "archives", 0.05
    relabel(config, ["model.name=resnet34", "data.fraction=0.05"])
    assert (config.model.label, config.data.label) == ("resnet34", "5pct")
    config.data.source, config.data.label = "folder", "folder"
    relabel(config, ["data.fraction=0.05"])
    assert config.data.label == "folder-5pct"
    relabel(
        config, ["model.name=resnet34", "model.label=mine", "data.fraction=0.1", "data.label=x"]
    )
    assert (config.model.label, config.data.label) == ("resnet34", "folder-5pct")
