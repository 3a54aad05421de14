"""Simulated runs: how often intervals hold the truth and differences are found.

`pytest tests/analysis/test_rates.py -rP` prints the rates that docs/evidence.md states.
"""

import numpy as np
import pytest

from visionsweep.analysis.comparison import compare, images_needed
from visionsweep.analysis.factors import effects
from visionsweep.analysis.intervals import estimates, wilson
from visionsweep.analysis.learning_curve import learning_curve

pytestmark = pytest.mark.exhaustive

# What simulated runs differ in from those of `Population`, and how many replicates they have.
KINDS = {
    "usual": ({}, 5),
    "seeds differ much": ({"seeds": 0.4}, 5),
    "seeds differ image by image": ({"seeds": 0.05, "interaction": 1.0}, 5),
    "far too sure": ({"ease": 1.5, "sharpness": 3.0}, 5),
    "one replicate": ({"seeds": 0.0}, 1),
}


@pytest.fixture(scope="module")
def coverage(population):
    """Return how often the intervals of 136 images hold the truth, by metric."""
    intervals = {}

    def measure(kind):
        if kind not in intervals:
            changes, replicates = KINDS[kind]
            people = population(**changes)
            truth = people.truth()
            source = np.random.default_rng(4)
            held = []
            for _ in range(500):
                estimated = estimates(people.draw(source, 136, replicates)[0])
                held.append([estimated[m].low <= truth[m] <= estimated[m].high for m in truth])
            intervals[kind] = dict(zip(truth, np.mean(held, axis=0), strict=True))
            print(kind, {metric: f"{rate:.1%}" for metric, rate in intervals[kind].items()})
        return intervals[kind]

    return measure


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["loss", "accuracy", "macro_f1"])
def test_intervals_cover_the_truth_in_95_of_100_cases(coverage, kind, metric):
    assert 0.93 <= coverage(kind)[metric] <= 0.97


def test_interval_of_the_calibration_error_covers_the_truth(coverage):
    assert 0.93 <= coverage("usual")["ece"] <= 0.97
    assert 0.93 <= coverage("far too sure")["ece"] <= 0.97
    # Where runs are calibrated, the error cannot fall below zero: more is held than promised.
    assert coverage("seeds differ image by image")["ece"] >= 0.93


@pytest.mark.parametrize(("ease", "sharpness"), [(4.3, 1.0), (4.3, 1.8), (5.0, 1.2)])
@pytest.mark.parametrize("images", [20, 60, 136])
def test_interval_of_the_loss_covers_the_truth_where_nearly_all_images_are_correct(
    population, ease, sharpness, images
):
    people, source = (
        population(ease=ease, sharpness=sharpness, seeds=0.0),
        np.random.default_rng(13),
    )
    truth, held = people.truth()["loss"], []
    for _ in range(300):
        estimated = estimates(people.draw(source, images, 1)[0])["loss"]
        held.append(estimated.low <= truth <= estimated.high)
    print(f"loss, {images} images, ease {ease}, sharpness {sharpness}: {np.mean(held):.1%}")
    assert np.mean(held) >= 0.93


def test_wilson_interval_covers_the_truth_in_95_of_100_cases():
    source = np.random.default_rng(5)
    rates = []
    for share in np.linspace(0.6, 0.97, 38):
        intervals = [wilson(int(hits), 136) for hits in source.binomial(136, share, size=400)]
        rates.append(np.mean([each.low <= share <= each.high for each in intervals]))
    print(f"Wilson {np.mean(rates):.1%}")
    assert 0.93 <= np.mean(rates) <= 0.97


@pytest.mark.parametrize("kind", ["usual", "seeds differ much", "one replicate"])
def test_two_equal_runs_differ_significantly_in_at_most_5_of_100_cases(population, kind):
    changes, replicates = KINDS[kind]
    people, source = population(**changes), np.random.default_rng(6)
    alarms = []
    for _ in range(600):
        runs = people.draw(source, 136, replicates, (0, 0))
        runs.sort(key=lambda run: run.losses.mean())  # the best first
        alarms.append(compare(runs)[0].distinguishable)
    print(f"false alarms among two equal runs, {kind}: {np.mean(alarms):.1%}")
    assert 0.02 <= np.mean(alarms) <= 0.06


def test_eight_equal_runs_cause_false_alarms_in_at_most_5_of_100_cases(population):
    """The leader was picked on these images: correcting for its seven comparisons falls short."""
    people, source = population(), np.random.default_rng(12)
    smallest = []
    for _ in range(1000):
        runs = people.draw(source, 136, 5, (0,) * 8)
        runs.sort(key=lambda run: run.losses.mean())
        smallest.append(min(found.p for found in compare(runs)))  # 28 times what it was by itself
    alarms, of_seven = (np.array(smallest) * tests / 28 <= 0.05 for tests in (28, 7))
    print(f"false alarms among eight equal runs: {np.mean(alarms):.1%}")
    print(f"the same, corrected for seven comparisons alone: {np.mean(of_seven):.1%}")
    assert np.mean(alarms) <= 0.05
    assert np.mean(of_seven) > 0.08


@pytest.mark.parametrize(("replicates", "seeds"), [(1, 0.0), (5, 0.02)])
def test_images_needed_find_the_difference_in_80_of_100_cases(with_losses, replicates, seeds):
    source = np.random.default_rng(8)

    def pair(images, *, exact=False):
        """Draw runs 0.1 apart; `exact` makes what is measured the truth."""
        off, by_seed = source.normal(size=images), source.normal(size=(2, replicates, 1))
        if exact:
            off = (off - off.mean()) / off.std(ddof=1)
            by_seed -= by_seed.mean(1, keepdims=True)
            by_seed /= by_seed.std(1, ddof=1, keepdims=True) if replicates > 1 else 1
        common = 3 + source.random(images)
        by_seed = seeds * by_seed
        return with_losses(common + by_seed[0]), with_losses(common + 0.1 + 0.5 * off + by_seed[1])

    more = images_needed(*pair(60, exact=True))
    assert more is not None
    power = np.mean([compare(pair(60 + more))[0].distinguishable for _ in range(600)])
    print(f"found with {60 + more} images of {replicates} replicates: {power:.1%}")
    assert 0.75 <= power <= 0.85


@pytest.mark.parametrize("kind", ["usual", "seeds differ much", "one replicate"])
def test_intervals_of_effects_cover_the_simulated_effect(population, kind):
    changes, replicates = KINDS[kind]
    people, source = population(**changes), np.random.default_rng(9)
    grid = [
        {"model": model, "data": data, "epochs": epochs}
        for model in ("b0", "b2")
        for data in ("10pct", "20pct")
        for epochs in (5, 10)
    ]
    ahead = [0.5 * (each["model"] == "b2") + 0.4 * (each["data"] == "20pct") for each in grid]
    loss = {each: people.truth(each)["loss"] for each in set(ahead)}
    planted = {
        "model": (loss[0.9] + loss[0.5] - loss[0.4] - loss[0.0]) / 2,
        "data": (loss[0.9] + loss[0.4] - loss[0.5] - loss[0.0]) / 2,
        "epochs": 0.0,
    }
    held = []
    for _ in range(300):
        estimated = effects(grid, people.draw(source, 136, replicates, ahead))
        held.append(
            [each.effect.low <= planted[each.key] <= each.effect.high for each in estimated]
        )
    rates = dict(zip(planted, np.mean(held, axis=0), strict=True))
    print(f"effects, {kind}", {key: f"{rate:.1%}" for key, rate in rates.items()})
    assert 0.93 <= np.mean(held) <= 0.97
    assert all(0.92 <= rate <= 0.98 for rate in rates.values())


@pytest.mark.parametrize(
    ("sizes", "power", "floor"),
    [
        ((100, 200), 0.4, 0.0),
        ((100, 200, 400, 800), 0.4, 0.0),
        ((100, 200, 400, 800), 0.4, 0.1),
        ((50, 100, 200, 400, 800), 0.8, 0.3),
    ],
)
def test_learning_curves_cover_the_simulated_law_and_the_gain_of_doubling(
    with_losses, sizes, power, floor
):
    source = np.random.default_rng(10)

    def law(images):
        return floor + 0.6 * (np.asarray(images) / sizes[0]) ** -power

    def spread(by, *shape):
        """Draw factors around one."""
        return np.exp(by * source.normal(size=shape) - by**2 / 2)

    held = []
    for _ in range(200):
        common = spread(0.8, 136)
        runs = [
            [with_losses(law(size) * common * spread(0.15, 136) * spread(0.02, 5, 1))]
            for size in sizes
        ]
        curve = learning_curve(sizes, runs)
        brought = law(2 * sizes[-1]) - law(sizes[-1])
        held.append(
            [
                curve.doubled.low <= law(2 * sizes[-1]) <= curve.doubled.high,
                curve.change.low <= brought <= curve.change.high,
                ((curve.low <= law(curve.at)) & (law(curve.at) <= curve.high)).mean(),
            ]
        )
    doubled, change, band = np.mean(held, axis=0)
    print(f"curve {sizes} {power=} {floor=}: {doubled=:.1%} {change=:.1%} {band=:.1%}")
    assert 0.91 <= band <= 0.99
    assert min(doubled, change) >= 0.95  # their intervals also allow for the misfit of a power law
