"""Which run predicts, and what it does with images."""

import pytest
import torch
from PIL import Image

from visionsweep.data.images import UnreadableImageError
from visionsweep.errors import UserError
from visionsweep.prediction import Prediction, Predictor, choose_run, expand, predict
from visionsweep.report.figures import prediction_figures


class BrightnessModel(torch.nn.Module):
    """Says `dark` or `bright` by the mean of an image."""

    def forward(self, images):
        mean = images.mean((1, 2, 3))
        return torch.stack([-20 * mean, 20 * mean], 1)


@pytest.fixture
def predictor(write_run, tmp_path):
    from visionsweep.data.transforms import Preprocessing

    write_run("a", 0.5)
    run, _ = choose_run(tmp_path / "outputs")
    transform = Preprocessing((8, 8), None, "bilinear", (0.5,) * 3, (0.5,) * 3).build()
    return Predictor(run, BrightnessModel(), ["dark", "bright"], transform, torch.device("cpu"))


def test_lowest_validation_loss_is_chosen(write_run, tmp_path):
    for name, loss in (("a", 0.5), ("b", 0.2), ("c", 0.9)):
        write_run(name, loss)
    run, reason = choose_run(tmp_path / "outputs")
    assert run.record.name == "b"
    assert reason == "lowest validation loss of 3 runs on sample"


def test_runs_scored_on_other_images_do_not_compete(write_run, tmp_path):
    write_run("others", 0.1, val_images="elsewhere", dataset="pets")
    write_run("a", 0.5)
    write_run("b", 0.4)
    later = tmp_path / "outputs" / "b" / "result.json"
    later.write_text(later.read_text().replace("2026-01-31", "2026-02-01"))
    run, reason = choose_run(tmp_path / "outputs")
    assert run.record.name == "b"
    assert "1 runs on other images left out" in reason


def test_failed_runs_cannot_predict(write_run, tmp_path):
    write_run("a")
    with pytest.raises(UserError, match="no completed run"):
        choose_run(tmp_path / "outputs")


def test_images_are_classified_in_order_and_broken_ones_named(predictor, tmp_path):
    paths = []
    for number in range(35):  # more than two batches
        path = tmp_path / f"{number}.png"
        if number == 17:
            path.write_bytes(b"broken")
        else:
            Image.new("RGB", (9, 7), "white" if number % 3 == 0 else "black").save(path)
        paths.append(path)
    outcomes = list(predict(predictor, paths))
    assert len(outcomes) == 35
    for number, outcome in enumerate(outcomes):
        if number == 17:
            assert isinstance(outcome, UnreadableImageError) and "17.png" in str(outcome)
            continue
        assert isinstance(outcome, Prediction) and outcome.path == paths[number]
        name, probability = outcome.probabilities[0]
        assert name == ("bright" if number % 3 == 0 else "dark") and probability > 0.9
        assert sum(p for _, p in outcome.probabilities) == pytest.approx(1)


def test_folders_are_searched_and_an_empty_one_refused(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "deep" / "er" / "b.png")
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert [p.name for p in expand([tmp_path])] == ["a.png", "b.png"]
    assert expand([tmp_path / "absent.jpg"]) == [tmp_path / "absent.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        expand([tmp_path / "empty"])


@pytest.mark.parametrize(("images", "figures"), [(1, 1), (25, 1), (26, 2)])
def test_at_most_25_images_stand_in_a_figure(predictor, tmp_path, images, figures):
    path = tmp_path / "50 % $name$.png"
    Image.new("RGB", (50, 30), "red").save(path)
    (prediction,) = predict(predictor, [path])
    assert isinstance(prediction, Prediction)
    files = prediction_figures([prediction] * images, tmp_path / "figures", "a title")
    assert len(files) == figures
    for file in files:
        with Image.open(file) as figure:
            assert figure.format == "PNG" and figure.convert("L").getextrema() != (255, 255)
