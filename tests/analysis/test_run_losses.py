"""What is kept of a run: enough for every comparison, whatever replicates are put together."""

import numpy as np
import pytest
from scipy.special import logsumexp

from visionsweep.analysis.predictions import Predictions
from visionsweep.analysis.resampling import interaction
from visionsweep.analysis.run_losses import RunLosses
from visionsweep.errors import UserError


@pytest.mark.parametrize("shape", [(5, 136, 3), (1, 40, 2), (2, 30, 101), (1, 1, 1)])
def test_losses_equal_scipys(shape):
    logits = (3 * np.random.default_rng(1).normal(size=shape)).astype(np.float32)
    logits[:, ::7] = np.round(logits[:, ::7])  # classes that tie
    labels = np.arange(shape[1]) % shape[2]
    predictions = Predictions(logits, labels, tuple(map(str, labels)))
    wide = logits.astype(np.float64)
    expected = logsumexp(wide, axis=2) - wide[:, np.arange(len(labels)), labels]
    assert predictions.losses == pytest.approx(expected, rel=1e-14, abs=1e-14)


def test_merged_repeats_are_one_run_with_all_replicates(population):
    source = np.random.default_rng(2)
    runs = [population().draw(source, 50, replicates, (0.1,))[0] for replicates in (5, 1, 3)]
    table = np.concatenate([run.losses for run in runs])
    merged = RunLosses.together(list(map(RunLosses.of, runs)))
    assert merged.means == pytest.approx(table.mean(0))
    assert merged.replicates == pytest.approx(table.mean(1))
    assert merged.interaction == pytest.approx(interaction(table))


def test_repeats_on_other_images_are_refused(population):
    run = RunLosses.of(population().draw(np.random.default_rng(3), 5, 2)[0])
    elsewhere = RunLosses.of(population().draw(np.random.default_rng(3), 6, 2)[0])
    with pytest.raises(UserError, match="other images"):
        RunLosses.together([run, elsewhere])


def test_copy_of_a_run_is_recognized_by_its_digest_and_a_diverged_run_by_its_numbers(population):
    one, other = population().draw(np.random.default_rng(4), 20, 3, (0, 0))
    again = Predictions(one.logits.copy(), one.labels, one.images)
    assert RunLosses.of(one).digest == RunLosses.of(again).digest != RunLosses.of(other).digest
    one.logits[1, 4, 2] = np.inf
    broken = RunLosses.of(Predictions(one.logits, one.labels, one.images))
    assert not broken.finite and np.isnan(broken.means).all()
