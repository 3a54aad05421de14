"""What a user sees of refused, failing and interrupted commands."""

import json
import math
import time

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from visionsweep.cli.selection import choose_run
from visionsweep.runs.discovery import completed, find_runs


def folder_of_cats_and_dogs(commands):
    folder = commands.directory / "mine"
    for name, colour in (("cat", "red"), ("dog", "blue")):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            Image.new("RGB", (40, 40 + number), colour).save(folder / name / f"{number}.png")
    return folder


def test_refused_command_writes_nothing(commands):
    done = commands.train("model=effnetb9")
    assert done.returncode == 1
    assert "effnetb9" in done.stderr and "effnetb0" in done.stderr
    assert list(commands.directory.iterdir()) == []


def test_unreachable_weights_are_refused_before_the_first_run(commands):
    done = commands.train("-m", "model=resnet18", "epochs=1", "model.weights=NONSENSE,null")
    assert done.returncode == 1 and "NONSENSE" in done.stderr and "IMAGENET1K_V1" in done.stderr
    assert not list(commands.directory.glob("outputs/*/*/*/result.json"))


def test_diverging_run_fails_alone_and_is_never_chosen(pictures):
    done = pictures.train(
        "-m", "model=resnet18", "optimizer=sgd", "optimizer.lr=3e38,0.001", "epochs=2"
    )  # fmt: skip
    assert done.returncode == 1
    assert "Training diverged in epoch 1" in done.stderr and "Traceback" not in done.stderr
    assert "optimizer.lr=3e+37" in done.stderr and "Traceback" not in done.stdout
    found = find_runs([pictures.directory / "outputs"])
    (run,) = completed(found.runs)
    assert run.record.config["optimizer"]["lr"] == 0.001
    (failed,) = found.unfinished
    assert failed.record.status == "failed" and failed.record.failure.type == "DivergedError"
    (epoch,) = failed.history
    assert not math.isfinite(epoch.train.loss)
    assert [each.step for each in scalars(failed.directory, "loss/train")] == [1]
    assert "DivergedError: Training diverged" in done.stdout and "≈" in done.stdout
    assert choose_run(pictures.directory / "outputs")[0].directory == run.directory


def scalars(directory, tag):
    events = EventAccumulator(str(directory))
    events.Reload()
    return events.Scalars(tag)


def test_unreadable_image_is_named_and_can_be_skipped(commands):
    folder = folder_of_cats_and_dogs(commands)
    (folder / "cat" / "broken.jpg").write_bytes(b"\xff\xd8 but no more")
    settings = ["data=folder", "model=resnet18", "model.weights=null", "epochs=1"]
    settings += ["transform.size=32", f"data.root={folder}"]
    refused = commands.run("train.py", *settings)
    assert refused.returncode == 1
    assert str(folder / "cat" / "broken.jpg") in refused.stderr
    assert "data.on_bad_image=skip" in refused.stderr and "Traceback" not in refused.stderr
    done = commands.run("train.py", *settings, "data.on_bad_image=skip")
    assert done.returncode == 0, done.stderr
    skipped = [
        json.loads(f.read_text()) for f in commands.directory.glob("outputs/*/*/result.json")
    ]
    completed = next(r for r in skipped if r["status"] == "completed")
    assert [line for line in completed["data"]["skipped"] if "broken.jpg" in line]
    assert completed["dataset"] == "mine"


@pytest.mark.exhaustive
def test_folder_removed_during_a_sweep_fails_the_remaining_runs_and_a_later_sweep_completes(
    commands,
):
    folder = folder_of_cats_and_dogs(commands)
    settings = ["data=folder", f"data.root={folder}", "model=resnet18", "model.weights=null"]
    settings += ["transform.size=32", "augmentation=trivial_augment", "num_workers=1"]
    process = commands.start("train.py", "-m", "epochs=1,100000,2", *settings)
    begun = "outputs/*/*/*_100000-epochs*/events.*"
    wait_until(lambda: list(commands.directory.glob(begun)) or process.poll() is not None)
    time.sleep(1)
    folder.rename(commands.directory / "away")
    out, error = process.communicate(timeout=100)
    assert process.returncode == 1
    found = find_runs([commands.directory / "outputs"])
    assert [run.record.config["epochs"] for run in completed(found.runs)] == [1]
    reasons = {run.record.config["epochs"]: run.record.failure for run in found.unfinished}
    assert {failure.type for failure in reasons.values()} == {"UserError"}
    for words in ("No such file", f"folder {folder} is missing", "give the same command again"):
        assert words in reasons[100000].message
    assert f"{folder}: no such folder" in reasons[2].message
    assert "Traceback" not in error and "Traceback" not in out
    assert all(str(folder) in text for text in (error, out))
    (commands.directory / "away").rename(folder)
    done = commands.run("train.py", "-m", "epochs=1,2", *settings)
    assert done.returncode == 0, done.stderr


def wait_until(true):
    for _ in range(1200):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("never came true")


def test_real_images_require_pretrained_weights(commands):
    folder = folder_of_cats_and_dogs(commands)
    done = commands.run(
        "train.py", "data=folder", f"data.root={folder}", "model.weights_url=http://127.0.0.1:9"
    )
    assert done.returncode == 1
    for way_out in ("checkpoints/efficientnet_b0", "effnetlite0", "model.weights=null"):
        assert way_out in done.stderr


def test_interrupted_run_leaves_a_record_and_ends_with_status_130(pictures):
    pictures.interrupt_when("outputs/*/*/events.*")
    done = pictures.train("model=resnet18", "epochs=100000")
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    (record,) = pictures.records().values()
    assert record["status"] == "interrupted"


def test_fine_tuning_trains_the_whole_network_on_augmented_images_and_predicts(commands):
    folder = folder_of_cats_and_dogs(commands)
    done = commands.run(
        "train.py", "data=folder", f"data.root={folder}", "model=resnet18", "model.weights=null",
        "training=fine_tuning", "augmentation=trivial_augment", "epochs=2", "transform.size=32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the whole network in every epoch" in done.stdout
    directory = next(commands.directory.glob("outputs/*/*/result.json")).parent
    record = json.loads((directory / "result.json").read_text())
    assert record["model"]["trainable"] == record["model"]["parameters"]
    assert record["config"]["optimizer"]["lr"] == 0.0001
    assert (directory / "model.safetensors").is_file()
    predicted = commands.run("predict.py", folder)
    assert predicted.returncode == 0, predicted.stderr
