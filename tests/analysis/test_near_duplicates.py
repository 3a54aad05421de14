"""Near duplicates by hashes and features."""

import numpy as np
import pytest

from visionsweep.analysis import near_duplicates as module
from visionsweep.analysis.near_duplicates import (
    BITS,
    MOST_BITS,
    SURE_BITS,
    candidates,
    centered,
    least_cosine,
    least_cosines,
    near_duplicates,
)

ODD = sum(1 << bit for bit in range(0, BITS, 2))


def flipped(value: int, bits: int, seed: int = 0) -> int:
    places = np.random.default_rng(seed).choice(BITS, bits, replace=False)
    return value ^ sum(1 << int(place) for place in places)


@pytest.mark.parametrize("tile", [1, 7, 1024])
def test_candidates_are_all_pairs_with_few_differing_bits_also_of_mirror_images(monkeypatch, tile):
    monkeypatch.setattr(module, "_TILE", tile)
    draw = np.random.default_rng(0)
    first = [int(value) for value in draw.integers(0, 2**BITS, 40)]
    second = [flipped(value, k % 25, k) ^ ODD * (k % 3 == 0) for k, value in enumerate(first)]
    expected = {
        (i, j, bits)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
        if (bits := min((one ^ other).bit_count(), (one ^ other ^ ODD).bit_count())) <= MOST_BITS
    }
    parts = list(candidates(first, second, MOST_BITS))
    found = {pair for part in parts for pair in zip(*map(np.ndarray.tolist, part), strict=True)}
    assert found == expected
    assert {(k, k) for k in range(40) if k % 25 <= MOST_BITS} <= {pair[:2] for pair in found}


def test_no_images_have_no_near_duplicates():
    for first, second in (([], [1]), ([1], []), ([], [])):
        assert len(near_duplicates(first, second, None).first) == 0


@pytest.mark.parametrize("sparse", [0, 10**9])  # by products of whole blocks, or pair by pair
def test_features_confirm_candidates_the_more_bits_differ_the_stricter(monkeypatch, sparse):
    monkeypatch.setattr(module, "_SPARSE", sparse)
    base = int(np.random.default_rng(1).integers(0, 2**BITS))
    bits = [0, 8, 13, 18, 19]
    second = [flipped(base, count) for count in bits]
    cosines = np.array([0.41, 0.39, 0.56, 0.69, 1.0])  # least: 0.4, 0.4, 0.55, 0.7, never
    rows = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    asked = []

    def features_of(one, other):
        asked.extend(other.tolist())
        return np.array([[1, 0]], np.float32)[one], rows[other]

    found = near_duplicates([base], second, features_of)
    assert found.second.tolist() == [0, 2] and found.bits.tolist() == [0, 13]
    assert found.distance == pytest.approx([0.59, 0.44], abs=1e-5)
    assert asked == [0, 1, 2, 3]  # features of candidates only


def test_without_features_only_hashes_that_hardly_differ_count():
    second = [flipped(0, SURE_BITS), flipped(0, SURE_BITS + 1)]
    found = near_duplicates([0], second, None)
    assert found.second.tolist() == [0] and np.isnan(found.distance).all()


def test_centered_features_are_unit_vectors_whose_common_part_is_gone():
    features = np.random.default_rng(0).normal(50, 1, (400, 30)).astype(np.float32)
    mean = features.mean(0)
    rows = centered(features, mean)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    cosines = (rows @ rows.T)[np.triu_indices(400, 1)]
    assert abs(cosines.mean()) < 0.01 and cosines.max() < 0.9
    same = centered(np.stack([mean, mean]), mean)
    assert same[0] @ same[1] == 1


def test_least_cosine_grows_with_the_differing_bits():
    assert least_cosine(np.array([0, 8, 13, 18])) == pytest.approx([0.4, 0.4, 0.55, 0.7])


def test_features_that_are_alike_anyway_confirm_less():
    draw = np.random.default_rng(0)
    hashes = [int(value) for value in draw.integers(0, 2**BITS, 200)]
    unlike = centered(draw.normal(0, 1, (200, 50)).astype(np.float32), np.zeros(50))
    assert least_cosines(hashes, unlike) == (0.4, 0.7)
    alike = centered(draw.normal(0, 1, (200, 3)).astype(np.float32), np.zeros(3))
    low, high = least_cosines(hashes, alike)
    assert low > 0.9 and high > 0.99
    copies = [hashes[0]] * 200  # near duplicates do not raise what confirms near duplicates
    assert least_cosines(copies, alike) == (0.4, 0.7)
