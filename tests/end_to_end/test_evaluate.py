"""A stored run is scored again: on its own images to the last digit, on others honestly."""

import json
import shutil

import numpy as np
import pytest

NAME = "effnetb0_20pct_5-epochs_size-32"


@pytest.fixture
def run_dir(sweep_of_eight):
    commands, _ = sweep_of_eight
    return next(commands.directory.glob(f"outputs/*/*/{NAME}"))


def evaluated(sweep_of_eight, run_dir, *arguments):
    commands, _ = sweep_of_eight
    own = [] if "data=folder" in arguments else commands.own
    done = commands.run("evaluate.py", run_dir, *own, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("split", ["test", "val"])
def test_recorded_images_give_exactly_the_recorded_metrics(sweep_of_eight, run_dir, split):
    record = json.loads((run_dir / "result.json").read_text())
    found = evaluated(sweep_of_eight, run_dir, "--split", split)
    assert found["as_recorded"] and found["metrics"] == record["evaluation"][split]
    assert found["images"] == record["data"]["counts"][split]
    assert found["deployed"] == record["deployed"][split]
    counts = np.array(found["confusion"])
    assert counts.sum() == found["images"]
    assert np.trace(counts) / counts.sum() == pytest.approx(found["deployed"]["accuracy"]["value"])
    for place, name in enumerate(record["data"]["classes"]):
        scores = found["classes"][name]
        assert (scores["images"], scores["predicted"]) == (
            counts[place].sum(),
            counts[:, place].sum(),
        )
    assert found["metrics"]["loss"]["value"] == pytest.approx(
        record["metrics"]["final"][split]["loss"], rel=1e-5
    )
    assert len(found["metrics"]["loss"]["replicates"]) == 5


def test_table_says_that_these_are_the_recorded_metrics(sweep_of_eight, run_dir):
    commands, _ = sweep_of_eight
    done = commands.run("evaluate.py", run_dir, *commands.own)
    assert done.returncode == 0, done.stderr
    assert "these are its numbers" in done.stdout and "macro_f1" in done.stdout


@pytest.mark.parametrize("setting", ["augmentation=trivial_augment", "training=fine_tuning_plain"])
def test_run_trained_on_images_is_scored_again_exactly(setting, pictures):
    tiny = [value for value in pictures.tiny if not value.startswith("replicates")]
    given = ["model=mobilenet_v3_small", "epochs=1", setting, "sweep_dir=run", *tiny]
    done = pictures.run("train.py", *given)
    assert done.returncode == 0, done.stderr
    record = json.loads((pictures.directory / "run" / "result.json").read_text())
    found = pictures.run("evaluate.py", "run", *pictures.own, "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["metrics"] == record["evaluation"]["test"]


def test_every_image_of_another_folder_is_scored(sweep_of_eight, run_dir, sample_root, tmp_path):
    source = next(path for path in sample_root.rglob("test") if path.is_dir())
    for kind in ("pizza", "sushi"):  # not all of the run's classes, and under other labels
        shutil.copytree(source / kind, tmp_path / "mine" / kind)
    images = len([path for path in (tmp_path / "mine").rglob("*") if path.is_file()])
    settings = ("data=folder", f"data.root={tmp_path / 'mine'}", "--split", "all")
    assert evaluated(sweep_of_eight, run_dir, *settings)["trained_on"] is None
    settings += ("--own-images", sample_root)
    found = evaluated(sweep_of_eight, run_dir, *settings)
    assert found["images"] == images and not found["as_recorded"]
    assert found["trained_on"] == 0
    assert 0 < found["metrics"]["accuracy"]["value"] <= 1


def test_training_images_among_those_scored_are_counted(
    sweep_of_eight, run_dir, sample_root, tmp_path
):
    for split in ("train", "val"):
        source = next(path for path in sample_root.rglob(split) if path.is_dir())
        for file in sorted((source / "pizza").iterdir())[:5]:
            (tmp_path / "mine" / "pizza").mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "mine" / "pizza" / f"{split}-{file.name}")
        shutil.copytree(source / "sushi", tmp_path / "mine" / "sushi", dirs_exist_ok=True)
    settings = ("data=folder", f"data.root={tmp_path / 'mine'}", "--split", "all")
    assert evaluated(sweep_of_eight, run_dir, *settings)["trained_on"] is None
    settings += ("--own-images", sample_root)
    found = evaluated(sweep_of_eight, run_dir, *settings)
    assert 5 < found["trained_on"] < found["images"]
    commands, _ = sweep_of_eight
    done = commands.run("evaluate.py", run_dir, *settings)
    said = f"trained on {found['trained_on']} of these {found['images']}: the scores are optimistic"
    assert said in done.stdout


def test_unknown_classes_are_refused(sweep_of_eight, run_dir, sample_root, tmp_path):
    source = next(path for path in sample_root.rglob("test") if path.is_dir())
    shutil.copytree(source / "pizza", tmp_path / "mine" / "pizza")
    shutil.copytree(source / "sushi", tmp_path / "mine" / "soup")
    commands, _ = sweep_of_eight
    done = commands.run("evaluate.py", run_dir, "data=folder", f"data.root={tmp_path / 'mine'}")
    assert done.returncode == 1
    assert "was not trained on soup" in done.stderr and "pizza, steak and sushi" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["absent"], "no such folder or file"),
        (["RUN", "epochs=3"], "only data=... and data.KEY=..."),
        (["RUN", "data.rot=3"], "did you mean 'data.root'"),
        (["RUN", "data=nope"], "100pct"),
        (["RUN", "data=folder", "data.root=absent"], "no such folder"),
    ],
)
def test_invalid_arguments_are_refused(sweep_of_eight, run_dir, arguments, said):
    commands, _ = sweep_of_eight
    done = commands.run("evaluate.py", *[run_dir if a == "RUN" else a for a in arguments])
    assert done.returncode == 1 and said in done.stderr
