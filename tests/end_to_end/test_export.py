"""A run's model handed over: exported, verified against its record, run without this package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

pytest.importorskip("onnxruntime")
FILES = {"README.md", "labels.json", "predict.py", "preprocessing.json"}
PHOTOGRAPHS = os.environ.get("VISIONSWEEP_PHOTOGRAPHS")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, picture_folder, pictures_in):
    """Runs on pictures that may be moved: two of a sweep, one of which averages over views."""
    commands = pictures_in(tmp_path_factory.mktemp("exported"))
    commands.root = commands.directory / "pictures"
    shutil.copytree(picture_folder, commands.root)
    tiny = [*commands.tiny, f"data.root={commands.root}", "model=resnet18", "epochs=2"]
    done = commands.run(
        "train.py", "-m", *tiny, "augmentation=crop_flip", "augmentation.views=2",
        "augmentation.test_views=1,2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return commands


@pytest.fixture(scope="module")
def run_of(trained):
    def find(views: int) -> Path:
        for file in trained.directory.glob("outputs/*/*/*/result.json"):
            augmentation = json.loads(file.read_text())["config"]["augmentation"]
            if augmentation.get("test_views", 1) == views:
                return file.parent
        raise AssertionError(f"no run with {views} views")

    return find


@pytest.fixture(scope="module")
def exported(trained, run_of):
    run = run_of(1)
    return run, trained.run("export.py", run)


def run_code(folder: Path, *images: Path, card: bool = True) -> dict[str, tuple[str, float]]:
    """Run the code block of a model card in another process, without this package or torch."""
    code = (folder / "predict.py").read_text()
    if card:
        code = re.search(r"```python\n(.*?)\n```", (folder / "README.md").read_text(), re.S)[1]
    blocked = ["visionsweep", "torchvision", "timm"]
    blocked += [] if "import torch" in code else ["torch"]
    file = folder / "of_card.py"
    file.write_text(code)
    start = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({blocked})); "
        f"sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VISION"))}
    done = subprocess.run(
        [sys.executable, "-c", start, file, *images], cwd=folder.parent, env=environment,
        capture_output=True, text=True,
    )  # fmt: skip
    file.unlink()
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return {name: (label, float(probability)) for name, label, probability in lines}


def predicted(commands, run: Path, *images: Path) -> dict[str, tuple[str, float]]:
    done = commands.run("predict.py", *images, "--run", run, "--json")
    found = json.loads(done.stdout)["predictions"]
    best = {p["image"]: max(p["probabilities"].items(), key=lambda item: item[1]) for p in found}
    assert len(best) == len(images)
    return best


def assert_same(some: dict, others: dict) -> None:
    assert some.keys() == others.keys() and some
    for name, (label, probability) in some.items():
        assert others[name] == (label, pytest.approx(probability, abs=2e-4))


def test_onnx_predicts_as_predict_py_without_this_package(trained, exported):
    run, done = exported
    assert done.returncode == 0, done.stderr
    folder = run / "export-onnx"
    assert {path.name for path in folder.iterdir()} == FILES | {"model.onnx"}
    assert "12 of 12 validation images" in done.stdout
    difference = float(re.search(r"in probability (\S+),", done.stdout)[1])
    assert 0 < difference < 1e-3
    assert re.search(r"model\.onnx +\d+\.\d +\d+\.\d\d\noriginal +\d+\.\d +\d+\.\d\d", done.stdout)
    images = sorted((trained.root / "test").rglob("*.png"))
    assert_same(run_code(folder, *images), predicted(trained, run, *images))


def test_any_number_of_images_at_once(exported):
    import onnxruntime

    run, _ = exported
    session = onnxruntime.InferenceSession(run / "export-onnx" / "model.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), np.uint8)
    (whole,) = session.run(None, {"pixels": pixels})
    rows = [session.run(None, {"pixels": pixels[i : i + 1]})[0][0] for i in range(5)]
    assert whole.shape == (5, 3)
    np.testing.assert_allclose(whole, rows, atol=1e-5)
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-5)


def test_model_card_states_the_record(exported):
    run, _ = exported
    record = json.loads((run / "result.json").read_text())
    card = (run / "export-onnx" / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["pipeline_tag"] == "image-classification" and facts["library_name"] == "onnx"
    assert facts["license"] == "other" and facts["license_name"] == "not-stated"
    (entry,) = facts["model-index"]
    by_split = {r["dataset"]["split"]: r["metrics"] for r in entry["results"]}
    assert by_split.keys() == {"validation", "test"}
    (accuracy,) = (m["value"] for m in by_split["test"] if m["type"] == "accuracy")
    assert accuracy == round(record["deployed"]["test"]["accuracy"]["value"], 4)
    for text in ("random weights", "Fewer than 10 validation images", "12 validation"):
        assert text in body
    assert (
        json.loads((run / "export-onnx" / "labels.json").read_text()) == record["data"]["classes"]
    )
    steps = json.loads((run / "export-onnx" / "preprocessing.json").read_text())
    assert steps.items() >= record["model"]["preprocessing"].items()


def test_existing_folder_is_replaced_only_by_force_and_never_a_foreign_one(
    trained, exported, tmp_path
):
    run, _ = exported
    before = {p.name: p.read_bytes() for p in (run / "export-onnx").iterdir()}
    refused = trained.run("export.py", run)
    assert refused.returncode == 1 and "--force" in refused.stderr
    assert {p.name: p.read_bytes() for p in (run / "export-onnx").iterdir()} == before
    (tmp_path / "thesis.txt").write_text("years of work")
    foreign = trained.run("export.py", run, "--to", tmp_path, "--force")
    assert foreign.returncode == 1 and "thesis.txt" in foreign.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_torch_export_replaces_by_force_and_names_images_that_moved_or_changed(
    trained, run_of, tmp_path
):
    run, folder = run_of(1), tmp_path / "handed" / "over"
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text("[]")
    away = trained.root / "val" / "pizza" / "0.png"
    changed = trained.root / "val" / "steak" / "1.png"
    moved, original = tmp_path / "elsewhere.png", changed.read_bytes()
    away.rename(moved)
    changed.write_bytes(original + b"more")
    try:
        command = ("export.py", run, "--format", "torch_export", "--to", folder)
        assert trained.run(*command).returncode == 1
        done = trained.run(*command, "--force")
        assert done.returncode == 0, done.stderr
        assert {path.name for path in folder.iterdir()} == FILES | {"model.pt2"}
        assert [path.name for path in folder.parent.iterdir()] == ["over"]
        assert "10 of 12 validation images" in done.stdout
        assert str(away) in done.stderr and str(changed) in done.stderr
        again = trained.run(*command, "--force", "--images", tmp_path)
        assert "11 of 12 validation images" in again.stdout
        assert str(away) not in again.stderr and str(changed) in again.stderr
    finally:
        moved.rename(away)
        changed.write_bytes(original)
    images = sorted((trained.root / "test").rglob("*.png"))
    assert_same(run_code(folder, *images), predicted(trained, run, *images))


def test_nothing_is_written_when_no_validation_image_is_left(trained, run_of, tmp_path):
    (trained.root / "val").rename(trained.root / "gone")
    try:
        done = trained.run("export.py", run_of(1), "--to", tmp_path / "new")
    finally:
        (trained.root / "gone").rename(trained.root / "val")
    assert done.returncode == 1 and "--images" in done.stderr and "pizza" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_model_that_predicts_otherwise_than_its_record_is_refused(trained, run_of, tmp_path):
    run = shutil.copytree(run_of(1), tmp_path / "run")
    weights = load_file(run / "head.safetensors")
    for name in ("head.weight", "head.bias"):
        weights[name] = weights[name].roll(1, dims=1)  # each class gets another's
    save_file(weights, run / "head.safetensors")
    done = trained.run("export.py", run, "--format", "torch_export", "--to", tmp_path / "new")
    assert done.returncode == 1
    assert "differs from the record" in done.stderr and "val/pizza/0.png" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_refusals_come_before_work(trained, run_of, tmp_path, monkeypatch):
    ignored = shutil.ignore_patterns("export-*")
    run = shutil.copytree(run_of(1), tmp_path / "run", ignore=ignored)
    nearest = trained.run("export.py", run, "--format", "onxn")
    assert nearest.returncode == 1 and "did you mean 'onnx'?" in nearest.stderr
    views = trained.run("export.py", run_of(2), "--format", "torch_export")
    assert views.returncode == 1 and "augmentation.test_views=2" in views.stderr
    (run / "head.safetensors").unlink()
    weightless = trained.run("export.py", run)
    assert weightless.returncode == 1 and "head.safetensors" in weightless.stderr
    record = json.loads((run / "result.json").read_text())
    failed = record | {"status": "failed", "failure": {"type": "UserError", "message": "full disk"}}
    (run / "result.json").write_text(json.dumps(failed))
    stopped = trained.run("export.py", run)
    assert stopped.returncode == 1 and "full disk" in stopped.stderr
    assert not list(run.glob("*export*"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    missing = trained.run("export.py", run)
    assert missing.returncode == 1 and "onnxscript" in missing.stderr
    assert "[export]" in missing.stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "settings",
    [
        ["model=resnet18", "training=fine_tuning"],
        ["model=torchvision", "model.name=efficientnet_b0", "training=fine_tuning_plain"],
        ["model=timm", "model.name=vit_tiny_patch16_224", "model.pooling=cls+avg"],
        ["model=timm", "model.name=convnext_atto", "transform=resize"],
    ],
)
@pytest.mark.parametrize("form", ["onnx", "torch_export"])
def test_every_kind_of_backbone(pictures, settings, form, tmp_path):
    tiny = [setting for setting in pictures.tiny if not setting.startswith("replicates=")]
    alone = ["replicates=1"] if "training=" in " ".join(settings) else ["replicates=2"]
    done = pictures.run("train.py", *tiny, *alone, *settings, "epochs=1")
    assert done.returncode == 0, done.stderr
    (file,) = pictures.directory.glob("outputs/*/*/result.json")
    handed = pictures.run("export.py", "--format", form, "--to", tmp_path / "new")
    assert handed.returncode == 0, handed.stderr
    assert "12 of 12 validation images" in handed.stdout
    images = sorted((pictures.root / "test").rglob("*.png"))
    assert_same(run_code(tmp_path / "new", *images), predicted(pictures, file.parent, *images))


@pytest.mark.exhaustive
@pytest.mark.photographs
@pytest.mark.skipif(not PHOTOGRAPHS, reason="VISIONSWEEP_PHOTOGRAPHS names no folder")
def test_effnetlite0_on_the_photographs(commands):
    done = commands.run(
        "train.py", "model=effnetlite0", "data=10pct", "epochs=5",
        f"data.base_url={Path(PHOTOGRAPHS).resolve().as_uri()}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (file.parent for file in commands.directory.glob("outputs/*/*/result.json"))
    handed = commands.run("export.py")
    assert handed.returncode == 0, handed.stderr
    assert "136 of 136 validation images" in handed.stdout
    images = sorted(commands.directory.glob("data/*/test/*/*.jpg"))[::20]
    assert_same(run_code(run / "export-onnx", *images), predicted(commands, run, *images))
    card = yaml.safe_load((run / "export-onnx" / "README.md").read_text().split("---\n")[1])
    assert card["license"] == "apache-2.0"
