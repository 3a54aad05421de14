"""Training samples in comparisons: where they count, how much, and that intervals then hold."""

import numpy as np
import pytest
from scipy.special import softmax

from visionsweep.analysis.comparison import compare, images_needed
from visionsweep.analysis.differences import MANY_IMAGES, losses_of
from visionsweep.analysis.factors import effects
from visionsweep.analysis.learning_curve import learning_curve
from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.run_losses import RunLosses

R, B = 5, 8


def sampled_runs(
    source: np.random.Generator,
    images: int = 136,
    ahead=(0.4, 0.0),
    sets=("a", "b"),
    by_sample: float = 0.15,
    by_seed: float = 0.05,
    seeds=(42, 42),
    heads: int = B,
) -> list[RunLosses]:
    """Draw runs of three classes whose heads depend on a training sample and on a seed.

    Heads find the true class easier by `ahead`, and by normal deviations of each training set, of
    its bootstrap samples, and of seeds. Runs on one set have half of its deviations in common.
    """
    labels = source.integers(3, size=images)
    true = np.eye(3)[labels]
    common = 0.7 * source.normal(size=(images, 3)) + true * (2 + source.normal(size=(images, 1)))
    shared = {name: source.normal(size=1 + heads) for name in dict.fromkeys(sets)}
    runs = []
    for more, name, seed in zip(ahead, sets, seeds, strict=True):
        of_set = by_sample * np.sqrt(0.5) * (shared[name] + source.normal(size=1 + heads))
        easier = np.concatenate([np.full(R, of_set[0]), of_set[0] + of_set[1:]])
        easier += more + by_seed * source.normal(size=R + heads)
        noise = 0.3 * source.normal(size=(R + heads, images, 3))
        logits = (common + true * easier[:, None, None] + noise).astype(np.float32)
        resampled = -np.log(softmax(logits[R:], axis=2)[:, np.arange(images), labels])
        found = Predictions(logits[:R], labels, tuple(map(str, range(images))), resampled)
        named = tuple((seed, place) for place in range(R))
        runs.append(RunLosses.of(found, temperature=1.0, seeds=named, training=name))
    return runs


def without_samples(run: RunLosses) -> RunLosses:
    return RunLosses(**{**vars(run), "by_sample": run.by_sample[:0], "samples": ()})


def test_training_sample_counts_between_data_sets_and_among_many_images():
    source = np.random.default_rng(1)
    few, many = 136, MANY_IMAGES + 1
    for images, sets, counted in (
        (few, ("a", "b"), True), (few, ("a", "a"), False), (many, ("a", "a"), True),
    ):  # fmt: skip
        runs = sampled_runs(source, images, sets=sets)
        (found,), (other,) = compare(runs), compare([without_samples(run) for run in runs])
        assert (found.training_error > 0) == counted
        assert found.error**2 == pytest.approx(other.error**2 + found.training_error**2)
        assert found.difference.value == other.difference.value and other.training_error == 0
        width, narrower = (c.difference.high - c.difference.low for c in (found, other))
        assert width > 1.02 * narrower if counted else found == other


def test_training_error_is_the_variance_over_training_sets():
    source = np.random.default_rng(2)
    found, values = [], []
    for _ in range(150):
        losses = losses_of(sampled_runs(source, 2000, by_seed=0.1)).minus_first()
        found.append(losses.training.size[0] ** 2)
        values.append(losses.images.mean())
    of_images = 0.012  # standard error over 2000 images and seeds, as computed without samples
    truth = np.var(values, ddof=1) - of_images**2 - 2 * (0.1 * 0.35) ** 2 / R
    assert np.mean(found) == pytest.approx(truth, rel=0.3)


def test_heads_that_differ_by_seeds_alone_show_no_training_error():
    source = np.random.default_rng(3)
    errors = [
        losses_of(sampled_runs(source, 500, by_sample=0.0, by_seed=0.2)).minus_first()
        for _ in range(40)
    ]
    training = np.mean([each.training.size[0] ** 2 for each in errors])
    of_one_seed = R * np.mean([each.seeds.size[0] ** 2 for each in errors])
    assert training < 0.6 * of_one_seed  # the mean of what is positive by chance


@pytest.mark.parametrize(("images", "sets"), [(600, ("a", "a")), (600, ("a", "b"))])
def test_intervals_cover_the_expected_difference_over_training_sets(images, sets):
    source = np.random.default_rng(4)
    runs = [sampled_runs(source, images, sets=sets, by_sample=0.3) for _ in range(150)]
    truth = np.mean([each[1].means.mean() - each[0].means.mean() for each in runs])

    def coverage(groups) -> float:
        found = [compare(each)[0].difference for each in groups]
        return float(np.mean([each.low <= truth <= each.high for each in found]))

    without = coverage([[without_samples(run) for run in each] for each in runs])
    print(f"{images} images, sets {sets}: {coverage(runs):.1%}, without samples {without:.1%}")
    assert without < 0.8 and 0.91 <= coverage(runs) <= 0.99


def test_effects_of_data_count_the_training_sample_and_others_do_not():
    source = np.random.default_rng(5)
    runs = sampled_runs(source, 136, (0.5, 0.2, 0.3, 0.0), ("a", "b") * 2, seeds=(42,) * 4)
    grid = [{"model": m, "data": d} for m in ("b0", "b2") for d in ("20pct", "10pct")]
    found, other = effects(grid, runs), effects(grid, [without_samples(run) for run in runs])
    for one, two in zip(found, other, strict=True):
        width, narrower = (e.effect.high - e.effect.low for e in (one, two))
        assert width > 1.01 * narrower if one.key == "data" else width == narrower


def test_learning_curve_counts_the_training_sample():
    runs = sampled_runs(np.random.default_rng(6), 136, (0.0, 0.4), by_sample=0.3)
    found = learning_curve([100, 200], [[run] for run in runs])
    other = learning_curve([100, 200], [[without_samples(run)] for run in runs])
    assert found.doubled.high - found.doubled.low > other.doubled.high - other.doubled.low
    assert found.fitted == pytest.approx(other.fitted)


def test_runs_of_other_seeds_have_independent_samples_that_count_between_data_sets_alone():
    source = np.random.default_rng(7)
    (apart,) = compare(sampled_runs(source, seeds=(42, 43)))
    (same,) = compare(sampled_runs(source, 600, sets=("a", "a"), seeds=(42, 43)))
    assert apart.training_error > 0 and same.training_error == 0


def test_diverged_head_on_a_sample_leaves_the_comparison_without_it():
    runs = sampled_runs(np.random.default_rng(8))
    logits = np.zeros((R, 3, 3), np.float32)
    losses = np.ones((B, 3), np.float32)
    losses[2, 1] = np.nan
    found = Predictions(logits, np.arange(3), ("a", "b", "c"), losses)
    broken = RunLosses.of(found, temperature=1.0, seeds=runs[0].seeds)
    assert broken.finite and broken.by_sample.shape == (0, 3) and broken.samples == ()


def test_more_images_do_not_separate_what_other_training_images_would_change():
    """Beyond 500 images the training sample counts, however many there are."""
    source = np.random.default_rng(9)
    needed = []
    for _ in range(40):
        runs = sampled_runs(source, 100, (0.0, 0.05), ("a", "a"), by_sample=0.03, by_seed=0.0)
        without = images_needed(*[without_samples(run) for run in runs])
        if without:
            needed.append((without, images_needed(*runs)))
    few = [pair for pair in needed if 100 + pair[0] <= MANY_IMAGES]
    beyond = [pair for pair in needed if 100 + pair[0] > MANY_IMAGES]
    assert few and all(more == without for without, more in few)
    assert any(more is None for _, more in beyond)
    assert all(more is None or more >= without for without, more in beyond)


def test_order_of_the_images_is_common_to_losses_and_bootstrap_losses():
    run = Predictions(
        np.zeros((1, 2, 2), np.float32), np.array([0, 1]), ("b", "a"), np.float32([[1, 2]])
    )
    assert run.sorted_by_image().bootstrap.tolist() == [[2, 1]]
