"""What the model of a run, read back, makes of images."""

import logging
import math
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import msgspec
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from visionsweep.cli.selection import choose_run
from visionsweep.config.schema import ModelConfig
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.transforms import Preprocessing, resized
from visionsweep.errors import UserError
from visionsweep.inference.predictor import Prediction, Predictor, load_predictor, predict
from visionsweep.models import backbone_spec
from visionsweep.models.backbone_spec import BackboneSpec


class BrightnessModel(torch.nn.Module):
    """Says `dark` or `bright` by the mean of an image; the second replicate half as loudly."""

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        logits = torch.stack([-20 * mean, 20 * mean], 1)
        return torch.stack([logits, logits / 2])


@pytest.fixture
def predictor(write_run, tmp_path):
    write_run("a", 0.5)
    run, _ = choose_run(tmp_path / "outputs")
    preprocessing = Preprocessing((8, 8), None, "bilinear", (0.5,) * 3, (0.5,) * 3)
    classes = ["dark", "bright"]
    device, spec = torch.device("cpu"), BackboneSpec("brightness", "none", "none", "0", None, None)
    return Predictor(run, BrightnessModel(), classes, preprocessing, device, 1.0, spec)


def test_images_are_classified_in_order_and_broken_ones_named(predictor, tmp_path):
    paths = []
    for number in range(35):  # more than two batches
        path = tmp_path / f"{number}.png"
        if number == 17:
            path.write_bytes(b"broken")
        else:
            Image.new("RGB", (9, 7), "white" if number % 3 == 0 else "black").save(path)
        paths.append(path)
    predictions = list(predict(predictor, paths))
    assert len(predictions) == 35
    for number, outcome in enumerate(predictions):
        if number == 17:
            assert isinstance(outcome, UnreadableImageError) and "17.png" in str(outcome)
            continue
        assert isinstance(outcome, Prediction) and outcome.path == paths[number]
        name, probability = outcome.probabilities[0]
        assert name == ("bright" if number % 3 == 0 else "dark") and probability > 0.9
        assert sum(p for _, p in outcome.probabilities) == pytest.approx(1)


@pytest.fixture
def grey_image(tmp_path) -> Path:
    """An image whose mean is 0.1 to the model, so its logits are -2 and 2, and half of that."""
    path = tmp_path / "grey.png"
    Image.new("RGB", (8, 8), (140, 140, 140)).save(path)
    return path


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_confidence_is_the_mean_over_replicates_at_the_temperature(
    predictor, grey_image, temperature
):
    (prediction,) = predict(replace(predictor, temperature=temperature), [grey_image])
    mean = 140 / 255 * 2 - 1
    both = [1 / (1 + math.exp(-scale * mean / temperature)) for scale in (40, 20)]
    assert prediction.probabilities[0] == ("bright", pytest.approx(sum(both) / 2, abs=1e-6))


def test_class_is_named_only_at_min_confidence(predictor, grey_image):
    (sure,) = predict(predictor, [grey_image], min_confidence=0.9)
    confidence = sure.probabilities[0][1]
    assert not sure.abstained
    (just,) = predict(predictor, [grey_image], min_confidence=confidence)
    (unsure,) = predict(predictor, [grey_image], min_confidence=confidence + 1e-6)
    assert (just.abstained, unsure.abstained) == (False, True)
    assert unsure.probabilities == sure.probabilities


def test_folder_removed_during_prediction_is_reported_per_file(predictor, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(20)]
    for path in paths:
        Image.new("RGB", (9, 7), "white").save(path)
    predictions = predict(predictor, paths)
    first = next(predictions)
    shutil.rmtree(folder)
    rest = list(predictions)  # of the first batch all were opened
    assert all(isinstance(outcome, Prediction) for outcome in [first, *rest[:15]])
    for path, outcome in zip(paths[16:], rest[15:], strict=True):
        assert isinstance(outcome, UnreadableImageError)
        assert str(path) in str(outcome) and "No such file" in str(outcome)


def test_micro_batches_give_the_same_predictions(predictor, grey_image):
    sizes = []

    class Small(BrightnessModel):
        def forward(self, images):
            sizes.append(len(images))
            if len(images) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().forward(images)

    expected = list(predict(predictor, [grey_image] * 20))
    found = list(predict(replace(predictor, model=Small()), [grey_image] * 20))
    assert [each.probabilities for each in found] == [each.probabilities for each in expected]
    assert sizes == [16, 8, 4] + [2] * 10


def test_diverged_model_names_no_class(predictor, grey_image):
    broken = BrightnessModel()
    broken.forward = lambda images: torch.full((1, len(images), 2), math.nan)
    (prediction,) = predict(replace(predictor, model=broken), [grey_image])
    assert prediction.abstained


@pytest.fixture
def trained_run(write_run, make_record, tmp_path):
    """Write a run of a random resnet18 with a checkpoint; returns the run."""
    config = ModelConfig(label="resnet18", name="resnet18", weights=None)
    fingerprint = backbone_spec.resolve_backbone(config, random_if_unavailable=False).fingerprint

    def write(**tensors):
        directory = write_run("run", 0.5, weights="random")
        run, _ = choose_run(directory)
        run.record.config["model"] = asdict(config)
        run.record.model = msgspec.structs.replace(
            run.record.model,
            name="resnet18",
            fingerprint=fingerprint,
            width=512,
            preprocessing=asdict(resized(32)),
        )
        save_file(tensors, directory / "head.safetensors")
        return run

    return write


def test_all_replicates_and_the_temperature_are_read_from_the_weights_file(trained_run, caplog):
    weight, bias = torch.randn(4, 3, 512), torch.randn(4, 3)
    stored = {"head.weight": weight, "head.bias": bias, "temperature": torch.tensor(2.5)}
    predictor = load_predictor(trained_run(**stored), torch.device("cpu"))
    assert torch.equal(predictor.model.head.weight, weight)
    assert torch.equal(predictor.model.head.bias, bias)
    assert predictor.temperature == 2.5
    assert predictor.model(torch.zeros(2, 3, 32, 32)).shape == (4, 2, 3)
    assert not caplog.records


def test_weights_of_one_head_without_temperature_load_with_one_notice(
    trained_run, caplog, grey_image
):
    weight, bias = torch.randn(3, 512), torch.randn(3)
    run = trained_run(**{"head.1.weight": weight, "head.1.bias": bias})
    with caplog.at_level(logging.WARNING):
        predictor = load_predictor(run, torch.device("cpu"))
        (prediction,) = predict(predictor, [grey_image])
    assert predictor.temperature == 1.0
    assert [record.getMessage().count("without a temperature") for record in caplog.records] == [1]
    with Image.open(grey_image) as image, torch.inference_mode():
        features = predictor.model.backbone(resized(32).build()(image.convert("RGB"))[None])
        expected = (features.flatten(1) @ weight.T + bias).softmax(1)[0]
    assert dict(prediction.probabilities) == pytest.approx(
        dict(zip(["pizza", "steak", "sushi"], expected.tolist(), strict=True)), abs=1e-5
    )


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"head.weight": (2, 3, 512)}, "head.bias missing"),
        ({"head.weight": (1, 3, 99), "head.bias": (1, 3)}, "does not fit its run"),
        ({"other": (1,)}, "not the checkpoint of this run"),
    ],
)
def test_weights_of_something_else_are_refused(trained_run, tensors, message):
    stored = {name: torch.zeros(shape) for name, shape in tensors.items()}
    with pytest.raises(UserError, match=message):
        load_predictor(trained_run(**stored), torch.device("cpu"))


def test_damaged_weights_file_is_refused(trained_run):
    run = trained_run(**{"head.weight": torch.zeros(1)})
    (run.directory / "head.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"head\.safetensors: the checkpoint cannot be read"):
        load_predictor(run, torch.device("cpu"))


def test_deep_gray_images_are_scaled_by_the_range_of_the_run(predictor, tmp_path, caplog):
    path = tmp_path / "scan.png"
    Image.new("I;16", (8, 8), 3000).save(path)
    trained = replace(predictor.preprocessing, gray_range=(0.0, 4095.0))
    (seen,) = predict(replace(predictor, preprocessing=trained), [path])
    assert seen.probabilities[0][0] == "bright" and not caplog.records
    (unscaled,) = predict(predictor, [path])  # a run that was trained on images of 8 bits
    assert unscaled.probabilities[0][0] == "dark"
    assert "more than 8 bits" in caplog.text and "scan.png" in caplog.text


GOOD = {
    "head.weight": torch.zeros(2, 3, 512), "head.bias": torch.zeros(2, 3),
    "temperature": torch.tensor(1.0),
}  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"temperature": torch.tensor(0.0)},
        {"temperature": torch.tensor(-1.0)},
        {"temperature": torch.tensor(math.nan)},
        {"temperature": torch.tensor(math.inf)},
        {"temperature": torch.ones(2)},
        {"head.bias": torch.full((2, 3), math.nan)},
        {"head.weight": torch.full((2, 3, 512), math.inf)},
        {"head.weight": torch.zeros(2, 3, 512, dtype=torch.float64)},
        {"head.bias": torch.zeros(2, 3, dtype=torch.int64)},
        {"head.weight": torch.zeros(2, 4, 512), "head.bias": torch.zeros(2, 4)},
        {"head.weight": torch.zeros(3, 512), "head.bias": torch.zeros(3)},
        {"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)},
    ],
)
def test_weights_that_contradict_the_record_are_refused(trained_run, changed):
    run = trained_run(**GOOD | changed)
    with pytest.raises(UserError) as error:
        load_predictor(run, torch.device("cpu"))
    assert error.value.where == str(run.directory / "head.safetensors")


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_weights_that_are_no_regular_file_are_refused_at_once(trained_run, tmp_path, kind):
    run = trained_run(**GOOD)
    path = run.directory / "head.safetensors"
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path) if kind == "fifo" else path.mkdir()
    with pytest.raises(UserError) as error:
        load_predictor(run, torch.device("cpu"))
    assert error.value.where == str(path)
