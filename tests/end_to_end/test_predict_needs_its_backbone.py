"""A head is worth nothing without the backbone that it was trained on."""

import json
import shutil

import pytest
from PIL import Image


@pytest.fixture
def a_run(sweep_of_eight, tmp_path):
    commands, _ = sweep_of_eight
    found = next(commands.directory.glob("outputs/*/*/effnetb0_10pct_5-epochs_size-32"))
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    directory = shutil.copytree(found, tmp_path / "run")

    def predict_after(change):
        record = json.loads((directory / "result.json").read_text())
        change(record)
        (directory / "result.json").write_text(json.dumps(record))
        return commands.run("predict.py", tmp_path / "photo.png", "--run", directory)

    return predict_after


def test_a_moved_run_still_predicts(a_run):
    done = a_run(lambda record: None)
    assert done.returncode == 0, done.stderr


def test_changed_backbone_is_refused_by_predict(a_run):
    done = a_run(lambda record: record["model"].update(fingerprint="0" * 32))
    assert done.returncode == 1
    assert "another backbone" in done.stderr and "Traceback" not in done.stderr


def test_unreachable_weights_are_reported_by_predict(a_run):
    done = a_run(lambda record: record.update(weights="IMAGENET1K_V1"))
    assert done.returncode == 1
    assert "cannot be had" in done.stderr and "checkpoints/efficientnet_b0" in done.stderr
