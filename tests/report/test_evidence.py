"""What runs prove together: planted predictions, and the marks, words and columns they lead to."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from visionsweep.analysis.calibration import deployed_predictions, fit_temperature
from visionsweep.analysis.comparison import compare
from visionsweep.analysis.predictions import Predictions
from visionsweep.data.images import digest_of
from visionsweep.report import leaderboard
from visionsweep.report.columns import as_csv
from visionsweep.report.evidence import gather
from visionsweep.report.hints import hints
from visionsweep.runs import logits as kept
from visionsweep.runs.discovery import completed, find_runs
from visionsweep.runs.measures import estimate_deployed, estimate_metrics
from visionsweep.runs.record_file import read_record, write_record

IMAGES = tuple(f"{number:032x}" for number in range(300))


def planted(skill: float, *, replicates: int = 5, seed: int = 0, order=slice(None)) -> Predictions:
    """Predictions on images of which some are hard for every run; more skill, less loss."""
    hardness = np.random.default_rng(7).normal(size=len(IMAGES))
    noise = np.random.default_rng(seed).normal(size=(replicates, len(IMAGES), 3)) / 4
    labels = np.arange(len(IMAGES)) % 3
    logits = noise
    logits[:, np.arange(len(IMAGES)), labels] += skill + hardness
    places = np.arange(len(IMAGES))[order]
    images = tuple(IMAGES[place] for place in places)
    return Predictions(logits[:, places].astype(np.float32), labels[places], images)


@pytest.fixture
def write(write_run, keep_outcomes):
    """Write a run whose record agrees with its predictions."""

    def write(name: str, predictions: Predictions | None, **facts) -> None:
        loss = 1.0 if predictions is None else float(predictions.losses.mean())
        run_dir = write_run(name, 2.0, loss, **facts)
        if predictions is not None:
            keep_outcomes(run_dir, {"val": predictions, "test": predictions})

    return write


@pytest.fixture
def evidence(tmp_path):
    return lambda: gather(completed(find_runs([tmp_path / "outputs"]).runs))


def marks(evidence) -> dict[str, str]:
    return {row.run.record.name: row.mark for row in evidence.rows}


def scattered(noise: float, *, seed: int) -> Predictions:
    """Predictions of five replicates with independent errors, which their mean averages out."""
    predictions = planted(2.0, seed=0)
    own = np.random.default_rng(seed).normal(size=predictions.logits.shape)
    return replace(predictions, logits=(predictions.logits + noise * own).astype(np.float32))


@pytest.mark.parametrize(("noise", "reversed"), [(1.2, True), (0.0, False)])
def test_a_run_that_single_replicates_rank_first_is_named(
    write, evidence, tmp_path, noise, reversed
):
    steady = planted(1.2, seed=0)
    calibrated = (steady.logits / fit_temperature(steady)).astype(np.float32)
    runs = {"averaged": scattered(noise, seed=1), "steady": replace(steady, logits=calibrated)}
    for name, predictions in runs.items():
        write(name, predictions, model=name)
        record = read_record(tmp_path / "outputs" / name / "result.json")
        record.config["replicates"] = 5
        record.temperature = fit_temperature(predictions)
        record.evaluation = dict.fromkeys(("val", "test"), estimate_metrics(predictions))
        deployed = estimate_deployed(deployed_predictions(predictions, record.temperature))
        record.deployed = dict.fromkeys(("val", "test"), deployed)
        write_record(record, tmp_path / "outputs" / name)
    assert not find_runs([tmp_path / "outputs"]).skipped
    found = evidence()
    assert [row.run.record.name for row in found.rows] == ["averaged", "steady"]
    assert (found.reversal is not None) == reversed
    assert any("replicates" in line and "steady" in line for line in hints(found)) == reversed
    if reversed:
        difference = runs["averaged"].losses.mean() - runs["steady"].losses.mean()
        assert found.reversal.difference.value == pytest.approx(difference, abs=1e-5)
        assert found.reversal.difference.low > 0


def test_a_clearly_worse_run_cannot_be_the_best_and_an_equal_one_can(write, evidence):
    write("best", planted(2.0, seed=1))
    write("equal", planted(2.0, seed=2), model="effnetb1")
    write("worse", planted(1.0, seed=3), model="effnetb2")
    found = evidence()
    assert sorted(marks(found).values()) == ["possible", "recommended", "worse"]
    assert marks(found)["worse"] == "worse"
    difference = found.rows[-1].comparison.difference
    assert 0 < difference.low < difference.value < difference.high


def test_runs_that_differ_by_their_seed_alone_are_one_recipe(write, tmp_path):
    write("best", planted(2.0, seed=1))
    write("repeat", planted(1.0, seed=3))
    write("other-images", planted(1.0, seed=4))
    for name, key, value in (
        ("repeat", '"seed":42', '"seed":43'),
        ("other-images", digest_of(b"train"), "0" * 32),
    ):
        path = tmp_path / "outputs" / name / "result.json"
        content = "".join(json.dumps(json.loads(path.read_text()), separators=(",", ":")))
        assert content.count(key) == 1
        path.write_text(content.replace(key, value))
    runs = completed(find_runs([tmp_path / "outputs"]).runs)
    pooled, expanded = gather(runs), gather(runs, expand_seeds=True)
    assert [len(row.runs) for row in expanded.rows] == [1, 1, 1]
    assert expanded.recommended is None and expanded.withheld == "seeds"
    assert pooled.withheld != "seeds"
    seeds = {row.run.record.name: [run.record.name for run in row.runs] for row in pooled.rows}
    assert seeds == {"best": ["best", "repeat"], "other-images": ["other-images"]}


def test_the_order_in_which_a_run_lists_its_images_does_not_matter(write, evidence):
    write("best", planted(2.0, seed=1))
    write("worse", planted(1.9, seed=3, order=slice(None, None, -1)), model="effnetb2")
    backwards = evidence().rows[1].comparison
    write("same", planted(1.9, seed=3), model="effnetb3")
    forwards = evidence().rows[2].comparison
    assert (forwards.difference.value, forwards.error) == pytest.approx(
        (backwards.difference.value, backwards.error)
    )


def test_the_cheapest_run_within_one_standard_error_is_recommended(write, evidence):
    write("best", planted(2.0, seed=1), parameters=9_000_000)
    write("cheap", planted(2.0, seed=2), model="effnetb1", parameters=4_000_000)
    write("cheaper-but-worse", planted(1.0, seed=3), model="small", parameters=1_000_000)
    found = evidence()
    best, second = found.rows[:2]
    within = second.comparison.difference.value <= second.comparison.error
    expected = "cheap" if within or best.run.record.name == "cheap" else "best"
    assert found.recommended.record.name == expected == found.chosen.record.name
    if found.price is not None:
        assert found.price.loss == second.comparison.difference.high > 0
        assert 0 <= found.price.accuracy < 0.2


def test_a_tied_run_that_is_more_than_one_standard_error_worse_is_not_recommended(write, evidence):
    """Taking the cheapest tied run would cost more than the noise of the comparison."""
    best = planted(2.0, seed=1)
    write("best", best, parameters=9_000_000)
    write("worse", planted(0.5, seed=3), model="small", parameters=1_000_000)
    for skill in np.linspace(2.0, 1.9, 41):
        (found,) = compare([best, planted(skill, seed=2)])
        if found.difference.value > 1.2 * found.error and not found.distinguishable:
            break
    write("tied", planted(skill, seed=2), model="effnetb1", parameters=4_000_000)
    found = evidence()
    tied = found.rows[1].comparison
    assert found.rows[1].run.record.name == "tied"
    assert not tied.distinguishable and not tied.within_one_error
    assert found.recommended.record.name == "best" and found.price is None


def test_no_run_is_recommended_where_each_could_be_the_best(write, evidence):
    write("one", planted(2.0, seed=1), parameters=9_000_000)
    write("two", planted(2.0, seed=2), model="effnetb1", parameters=4_000_000)
    found = evidence()
    assert found.recommended is None and found.withheld == "inseparable"
    assert found.chosen is found.rows[0].run
    assert {row.mark for row in found.rows} == {"possible"}


def test_runs_without_predictions_are_listed_and_not_compared(write, evidence):
    write("best", planted(2.0, seed=1))
    write("old", None)
    found = evidence()
    assert marks(found) == {"best": "possible", "old": "unknown"}
    assert found.recommended is None and found.withheld == "alone"
    assert found.effects == [] and found.curve is None


DAMAGE = {
    "truncated": lambda found: None,
    "of other images": lambda found: replace(found, images=tuple(reversed(found.images))),
    "fewer images": lambda found: Predictions(
        found.logits[:, :9], found.labels[:9], found.images[:9]
    ),
    "more classes": lambda found: replace(found, logits=np.tile(found.logits, 2)),
    "in float64": lambda found: replace(found, logits=found.logits.astype(np.float64)),
    "labels that are no class": lambda found: replace(found, labels=found.labels + 1),
    "digests that are none": lambda found: replace(found, images=("../x", *found.images[1:])),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_predictions_of_the_best_run_are_named_and_left_out(
    write, evidence, tmp_path, damage
):
    """Even of the run that claims to lead: the others are compared without it."""
    write("damaged", planted(3.0, seed=2))
    write("better", planted(2.0, seed=1), model="effnetb1")
    write("worse", planted(1.0, seed=3), model="effnetb2")
    path = tmp_path / "outputs" / "damaged" / kept.FILE_NAME
    if (other := damage(planted(3.0, seed=2))) is None:
        path.write_bytes(path.read_bytes()[:100])
    else:
        kept.write(path.parent, {"val": other, "test": other}, 1.0)
    found = evidence()
    assert marks(found) == {"better": "recommended", "worse": "worse"}
    (named,) = found.passed_over
    assert named.startswith(f"{path}: ")


def test_tensors_beside_the_logits_and_links_to_logits_are_named(write, evidence, tmp_path):
    for name in ("extra", "linked", "fine"):
        write(name, planted(2.0))
    extra, linked, fine = (
        tmp_path / "outputs" / name / kept.FILE_NAME for name in ("extra", "linked", "fine")
    )
    tensors = load_file(extra) | {"more": np.zeros(3, np.float32)}
    save_file(tensors, extra, {"val": "[]"})
    linked.unlink()
    linked.symlink_to(fine)
    found = evidence()
    assert list(marks(found)) == ["fine"]
    assert {line.partition(":")[0] for line in found.passed_over} == {str(extra), str(linked)}


def test_swept_settings_have_effects_and_data_sizes_a_learning_curve(write, evidence):
    for model, gain in (("effnetb0", 0.0), ("effnetb2", 0.0)):
        for data, skill in (("10pct", 1.0), ("20pct", 2.0)):
            seed = len(model + data) + int(gain) + ord(model[-1])
            write(
                f"{model}-{data}",
                planted(skill + gain, seed=seed),
                model=model,
                data=data,
                images=225 if data == "10pct" else 450,
            )
    found = evidence()
    by_key = {effect.key: effect for effect in found.effects}
    assert by_key["data"].distinguishable and by_key["data"].effect.high < 0
    assert (by_key["data"].value, by_key["data"].baseline) == ("20pct", "10pct")
    assert by_key["data"].pairs == 2
    assert not by_key["model"].distinguishable
    assert found.curve.images.tolist() == [225, 450] and found.curve.doubled_images == 900
    assert found.curve.change.value < 0


def test_terminal_states_the_verdict_and_effects(write, tmp_path):
    write("best", planted(2.0, seed=1))
    write("worse", planted(1.0, seed=3), model="effnetb2")
    found = find_runs([tmp_path / "outputs"])
    text = io.StringIO()
    console = Console(file=text, width=300)
    groups = leaderboard.groups_of(found.runs)
    leaderboard.show([tmp_path / "outputs"], found, groups, console=console)
    said = text.getvalue()
    assert "│ ★ │ effnetb0" in said
    assert "docs/evidence.md" in said
    assert "lowest validation loss" in said and "is recommended" in said
    assert "effnetb2 over effnetb0: +" in said


def test_csv_holds_the_difference_with_its_interval_and_the_corrected_p_value(write, evidence):
    write("best", planted(2.0, seed=1))
    write("worse", planted(1.0, seed=3), model="effnetb2")
    best, worse = csv.DictReader(io.StringIO(as_csv(evidence().rows)))
    assert (best["mark"], worse["mark"]) == ("recommended", "worse")
    assert float(worse["difference_low"]) < float(worse["difference"])
    assert float(worse["p_holm"]) < 0.001 and best["p_holm"] == "nan"
