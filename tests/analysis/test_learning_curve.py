"""Learning curves through losses whose law is known."""

from dataclasses import replace

import numpy as np
import pytest

from visionsweep.analysis.intervals import Estimate
from visionsweep.analysis.learning_curve import images_for, learning_curve
from visionsweep.analysis.predictions import Predictions

BASE = np.random.default_rng(1).exponential(size=80) + 0.2
BASE /= BASE.mean()


@pytest.fixture
def runs_of(with_losses):
    """Make one run a size, whose mean losses are as given exactly but for seeds' share."""

    def make(losses, seeds=0.0):
        by_seed = 1 + seeds * np.array([[1.0], [-1.0], [0.0]])
        return [[with_losses(loss * BASE * by_seed)] for loss in losses]

    return make


def test_two_sizes_give_the_power_law_through_both(runs_of):
    curve = learning_curve([100, 400], runs_of([0.8, 0.4]))  # halved by four times: power 1/2
    assert curve.doubled_images == 800
    assert curve.doubled.value == pytest.approx(0.4 / np.sqrt(2), rel=1e-5)
    assert curve.change.value == pytest.approx(0.4 / np.sqrt(2) - 0.4, rel=1e-5)
    assert curve.fitted == pytest.approx(0.8 * (curve.at / 100) ** -0.5, rel=1e-5)
    assert (curve.at[0], curve.at[-1], len(curve.at)) == (
        pytest.approx(100),
        pytest.approx(800),
        50,
    )
    assert [each.value for each in curve.losses] == pytest.approx([0.8, 0.4], rel=1e-5)


def test_band_covers_the_curve_and_the_gain_of_doubling(runs_of):
    curve = learning_curve([100, 200, 400], runs_of([0.8, 0.6, 0.4], seeds=0.02))
    assert (curve.low < curve.fitted).all() and (curve.fitted < curve.high).all()
    assert curve.doubled.low == curve.low[-1] and curve.doubled.high == curve.high[-1]
    assert curve.change.low < curve.change.value < curve.change.high < 0


def test_band_widens_gradually_beyond_the_largest_size(runs_of):
    curve = learning_curve([100, 200], runs_of([0.5, 0.35], seeds=0.02))
    assert (curve.low[-1], curve.high[-1]) == (curve.doubled.low, curve.doubled.high)
    steps = np.abs(np.diff([curve.low, curve.high]))
    assert steps.max() < 3 * np.median(steps)


def test_variance_of_seeds_widens_the_band(runs_of):
    calm, loud = (
        learning_curve([100, 200], runs_of([0.8, 0.6], seeds=seeds)) for seeds in (0, 0.1)
    )
    assert (loud.high - loud.low)[0] > 1.3 * (calm.high - calm.low)[0]
    assert loud.change.high - loud.change.low > calm.change.high - calm.change.low


def test_curve_that_levels_off_is_recognized_with_four_sizes(runs_of):
    sizes = np.array([50, 100, 200, 400, 800])
    losses = 0.3 + 0.6 * (sizes / 50) ** -0.8
    curve = learning_curve(sizes.tolist(), runs_of(losses))
    assert curve.fitted == pytest.approx(0.3 + 0.6 * (curve.at / 50) ** -0.8, rel=0.01)
    without = learning_curve(sizes[:3].tolist(), runs_of(losses[:3]))
    assert without.doubled.value < losses[3]


def test_curve_without_a_visible_floor_keeps_its_power_and_may_level_off(runs_of):
    sizes = np.array([100, 200, 400, 800])
    losses = 0.6 * (sizes / 100) ** -0.4
    curve = learning_curve(sizes.tolist(), runs_of(losses, seeds=0.05))
    assert curve.fitted == pytest.approx(0.6 * (curve.at / 100) ** -0.4, rel=1e-5)
    assert curve.high[-1] - curve.fitted[-1] > curve.fitted[-1] - curve.low[-1]


def test_rising_losses_are_fitted(runs_of):
    curve = learning_curve([100, 200, 400, 800], runs_of([0.4, 0.5, 0.6, 0.7]))
    assert curve.change.value > 0 and curve.doubled.value > 0.7


def test_order_and_repetition_of_sizes_do_not_matter(runs_of):
    one, two, three = runs_of([0.8, 0.6, 0.4], seeds=0.02)
    straight = learning_curve([100, 200, 400], [one, two, three])
    turned = learning_curve([400, 100, 200], [three, one, two])
    assert turned.doubled == straight.doubled and turned.change == straight.change
    merged = learning_curve([100, 400, 400], [one, two, three])
    assert [each.value for each in merged.losses] == pytest.approx([0.8, 0.5], rel=1e-4)


def test_equal_seeds_give_equal_curves(runs_of):
    runs = runs_of([0.8, 0.6], seeds=0.02)
    one, again = (learning_curve([100, 200], runs, seed=4) for _ in range(2))
    assert one.doubled == again.doubled
    assert learning_curve([100, 200], runs, seed=5).doubled != one.doubled


def test_partners_of_a_diverged_run_at_other_sizes_are_left_out(runs_of):
    first, second = runs_of([0.8, 0.6]), runs_of([0.4, 0.3])
    nothing = np.full_like(first[0][0].logits, np.nan)
    broken = Predictions(nothing, first[0][0].labels, first[0][0].images)
    curve = learning_curve([100, 200], [[broken, second[0][0]], [first[1][0], second[1][0]]])
    assert [each.value for each in curve.losses] == pytest.approx([0.4, 0.3], rel=1e-5)


def test_single_size_has_no_curve(runs_of):
    assert learning_curve([100], runs_of([0.8])) is None
    assert learning_curve([100, 100], runs_of([0.8, 0.7])) is None
    assert learning_curve([], []) is None


def test_interval_of_the_change_accounts_for_misfit_of_the_power_law(with_losses):
    """However many validation images there are, other curves than power laws stay possible."""
    common = np.full(20_000, 0.5)
    curve = learning_curve([100, 200], [[with_losses(common * 1.6)], [with_losses(common)]])
    assert curve.change.value < 0
    assert curve.change.low <= 2 * curve.change.value
    assert curve.change.high >= 0.2 * curve.change.value
    largest = curve.doubled.value - curve.change.value
    assert curve.doubled.low <= largest + 2 * curve.change.value + 1e-9
    assert curve.doubled.high >= largest + 0.2 * curve.change.value - 1e-9


def test_images_for_a_loss_invert_the_power_law(with_losses):
    """Loss = 16 n^-0.5: 0.9 of the loss at 400 takes 400 / 0.81 images."""
    common = np.full(500, 1.0)
    sizes = [100, 400]
    curve = learning_curve(sizes, [[with_losses(common * 16 / np.sqrt(n))] for n in sizes])
    needed = images_for(curve, 0.9)
    assert needed.value == pytest.approx(400 / 0.81, rel=1e-3)
    assert 400 < needed.low < needed.value < needed.high < np.inf
    flat = replace(curve, change=Estimate(-0.1, -0.2, 0.05))
    assert images_for(flat, 0.9).high == np.inf
