"""Effects of swept keys: matched pairs, baselines, repeats."""

import numpy as np
import pytest

from visionsweep.analysis.factors import effects, natural_order
from visionsweep.analysis.predictions import Predictions

SOURCE = np.random.default_rng(1)
COMMON = SOURCE.random(60) + 0.5


@pytest.fixture
def grid(with_losses):
    """Two models, three sizes, two lengths: losses that add up."""
    settings = [
        {"model": model, "data": data, "epochs": epochs}
        for model in ("b0", "b2")
        for data in ("10pct", "20pct", "100pct")
        for epochs in (5, 10)
    ]
    shift = {"b0": 0, "b2": 0.05, "10pct": 0.3, "20pct": 0.2, "100pct": 0.1, 5: 0, 10: 0}
    source = np.random.default_rng(2)
    predictions = [
        with_losses(
            COMMON + sum(map(shift.get, each.values())) + 0.01 * source.normal(size=(3, 60))
        )
        for each in settings
    ]
    return settings, predictions


def test_effects_are_means_over_matched_pairs(grid):
    estimated = effects(*grid)
    assert [(each.key, each.value, each.baseline, each.pairs) for each in estimated] == [
        ("model", "b2", "b0", 6),
        ("data", "20pct", "10pct", 4),
        ("data", "100pct", "10pct", 4),
        ("epochs", 10, 5, 6),
    ]
    assert [each.effect.value for each in estimated] == pytest.approx(
        [0.05, -0.1, -0.2, 0], abs=0.005
    )
    assert [each.distinguishable for each in estimated] == [True, True, True, False]


def test_effect_of_two_runs_is_their_difference(with_losses):
    one, other = COMMON, COMMON + 0.1 * SOURCE.normal(size=60)
    estimated = effects([{"lr": 0.01}, {"lr": 0.001}], [with_losses(one), with_losses(other)])
    assert len(estimated) == 1 and (estimated[0].baseline, estimated[0].value) == (0.001, 0.01)
    assert estimated[0].effect.value == pytest.approx((one - other).mean(), abs=1e-6)


def test_order_of_runs_does_not_matter(grid):
    settings, predictions = grid
    order = np.random.default_rng(3).permutation(len(settings))
    turned = effects([settings[k] for k in order], [predictions[k] for k in order])
    for one, other in zip(effects(*grid), turned, strict=True):
        assert (one.key, one.value, one.pairs) == (other.key, other.value, other.pairs)
        assert other.effect.low == pytest.approx(one.effect.low)
        assert other.effect.high == pytest.approx(one.effect.high)


def test_runs_that_differ_by_seed_alone_are_repeats_not_pairs(with_losses):
    def run(shift):
        return with_losses(COMMON + shift)

    settings = [{"model": m, "seed": s} for m in ("b0", "b2") for s in (1, 2, 3)]
    shifts = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    estimated = effects(settings, [run(shift) for shift in shifts])
    assert [(each.key, each.pairs) for each in estimated] == [("model", 1)]
    assert estimated[0].effect.value == pytest.approx(0.3, abs=1e-5)
    # seeds that differ by 0.1 leave an error of 0.1 x sqrt(2 / 3), at Student's 2.78
    reach = (estimated[0].effect.high - estimated[0].effect.low) / 2
    assert reach == pytest.approx(2.776 * 0.1 * np.sqrt(2 / 3), rel=0.05)


def test_run_in_two_folders_is_not_a_repeat(with_losses):
    by_seed = np.array([[0.1], [-0.1]])
    one, other = with_losses(COMMON + by_seed), with_losses(COMMON + 0.1 - by_seed)
    once = effects([{"m": 0}, {"m": 1}], [one, other])
    assert effects([{"m": 0}, {"m": 0}, {"m": 1}], [one, one, other]) == once


def test_keys_without_matched_pairs_have_no_effect(with_losses):
    settings = [{"model": "b0", "data": "10pct"}, {"model": "b2", "data": "20pct"}]
    assert effects(settings, [with_losses(COMMON), with_losses(COMMON + 0.1)]) == []
    assert effects(settings[:1], [with_losses(COMMON)]) == []
    assert effects([], []) == []


def test_diverged_run_is_left_out(grid):
    settings, predictions = grid
    nothing = np.full_like(predictions[0].logits, np.nan)
    predictions[0] = Predictions(nothing, predictions[0].labels, predictions[0].images)
    estimated = effects(settings, predictions)
    assert [each.pairs for each in estimated] == [5, 3, 3, 5]
    assert all(np.isfinite(each.effect.low) for each in estimated)


def test_natural_order_sorts_numbers_and_numbers_in_names_by_size():
    def ordered(*values):
        return sorted(values, key=natural_order)

    assert ordered("100pct", "20pct", "10pct") == ["10pct", "20pct", "100pct"]
    assert ordered("effnetb10", "effnetb2", "effnetb0") == ["effnetb0", "effnetb2", "effnetb10"]
    assert ordered(10, 0.5, 5) == [0.5, 5, 10]
    assert ordered("sgd", None, 3, "adam", True) == [None, True, 3, "adam", "sgd"]
    assert ordered("1e-3", "folder", "10pct") == ["1e-3", "10pct", "folder"]


def test_a_run_without_a_setting_is_paired_with_every_value_of_it(with_losses):
    trained = [{"training": "heads", "epochs": epochs, "lr": 0.1} for epochs in (5, 10)]
    shifts = (0.3, 0.1, 0.0)
    predictions = [with_losses(COMMON + shift) for shift in shifts]
    found = effects([*trained, {"training": "solved"}], predictions)
    assert [(each.key, each.value, each.baseline, each.pairs) for each in found] == [
        ("training", "solved", "heads", 2),
        ("epochs", 10, 5, 1),
    ]
    assert [each.effect.value for each in found] == pytest.approx([-0.2, -0.2], abs=1e-5)
    # Whichever of the two is the baseline.
    named = [{**each, "training": "trained"} for each in trained]
    (first, _) = effects([*named, {"training": "solved"}], predictions)
    assert (first.value, first.pairs) == ("trained", 2)
    assert first.effect.value == pytest.approx(0.2, abs=1e-5)
