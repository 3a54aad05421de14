"""Find near duplicates: images with similar perceptual hashes, confirmed by their features.

The thresholds were measured on 691 photographs of three classes and 1,440 copies of 120 of them,
with the features of EfficientNet-Lite0 and -Lite2 (`benchmarks/near_duplicates.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

BITS = 63  # of a perceptual hash
MOST_BITS = 18  # that differ between candidates
SURE_BITS = 8  # below which no two of 691 distinct photographs were, whatever their features
_ODD = np.uint64(sum(1 << bit for bit in range(0, BITS, 2)))  # that change by mirroring
_LEAST_COSINE = (0.4, 0.7)  # of centered features, where `SURE_BITS` and `MOST_BITS` differ
_TILE = 1024  # images of each kind that are compared at once, which bounds memory
_SPARSE = 20  # pairs of a tile per candidate, above which candidates are compared one by one

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Matches:
    """Pairs of near duplicates.

    Attributes:
        first: index into the first images, `int64[P]`.
        second: index into the second images, `int64[P]`.
        bits: bits of the hashes that differ, of the images or of one and the other's mirror image.
        distance: 1 minus the cosine of centered features, `float64[P]`; NaN without features.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    bits: NDArray[np.int64]
    distance: NDArray[np.float64]


def candidates(
    first: Sequence[int], second: Sequence[int], most_bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs whose hashes, or one and the other's mirrored, differ in few bits.

    Args:
        first: hashes of the first images.
        second: hashes of the second images.
        most_bits: bits that may differ.

    Yields:
        For some images of each kind: indices into `first` and `second`, and differing bits.
    """
    columns, rows = np.array(first, np.uint64), np.array(second, np.uint64)
    for below, left in product(range(0, len(second), _TILE), range(0, len(first), _TILE)):
        differing = rows[below : below + _TILE, None] ^ columns[left : left + _TILE]
        bits = np.minimum(np.bitwise_count(differing), np.bitwise_count(differing ^ _ODD))
        row, column = np.nonzero(bits <= most_bits)
        yield column + left, row + below, bits[row, column].astype(np.int64)


def centered(features: Features, mean: NDArray[np.floating]) -> Features:
    """Return features minus their mean, as unit vectors, so that products are cosines.

    Features of any two photographs have something in common, in some networks nearly everything.
    """
    rows = features - mean.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Features = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    unit[lengths[:, 0] == 0, 0] = 1  # images with the mean's features are alike
    return unit


def least_cosines(hashes: Sequence[int], rows: Features) -> tuple[float, float]:
    """Return the cosines that confirm candidates with `SURE_BITS` and with `MOST_BITS`.

    They are larger than usual where the features of other images are alike too, as of images that
    are unlike any photograph: 99% and 99.99% of pairs with other hashes have smaller ones.

    Args:
        hashes: perceptual hashes of some images of the data set.
        rows: their centered features.
    """
    cosines = rows @ rows.T
    for one, other, _ in candidates(hashes, hashes, MOST_BITS):
        cosines[one, other] = np.nan
    others = cosines[np.isfinite(cosines)]
    if not len(others):
        return _LEAST_COSINE
    typical = np.quantile(others, (0.99, 0.9999))
    return max(_LEAST_COSINE[0], float(typical[0])), max(_LEAST_COSINE[1], float(typical[1]))


def least_cosine(
    bits: NDArray[np.int64], ends: tuple[float, float] = _LEAST_COSINE
) -> NDArray[np.float64]:
    """Return the cosine that confirms candidates: the more bits differ, the larger."""
    return np.asarray(np.interp(bits, (SURE_BITS, MOST_BITS), ends))


def near_duplicates(
    first: Sequence[int],
    second: Sequence[int],
    features_of: Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[Features, Features]] | None,
    least: Callable[[], tuple[float, float]] = lambda: _LEAST_COSINE,
) -> Matches:
    """Return the pairs of a first and a second image that are nearly the same.

    Args:
        first: perceptual hashes of the first images.
        second: those of the second images.
        features_of: function from indices of first and second images to their features, as
            `centered` returns them. None to go by the hashes alone, of which few bits may differ.
        least: returns the result of `least_cosines`; called if there are candidates.
    """
    parts = [(np.empty(0, np.int64),) * 3 + (np.empty(0),)]
    for one, other, bits in candidates(first, second, MOST_BITS if features_of else SURE_BITS):
        if features_of is None or not len(one):
            parts.append((one, other, bits, np.full(len(one), np.nan)))
            continue
        ones, one_place = np.unique(one, return_inverse=True)
        others, other_place = np.unique(other, return_inverse=True)
        left, right = features_of(ones, others)
        if len(one) * _SPARSE < len(ones) * len(others):
            cosine = _by_pair(left, right, one_place, other_place)
        else:
            cosine = (right @ left.T)[other_place, one_place]
        kept = cosine >= least_cosine(bits, least())
        distance = np.clip(1 - cosine[kept].astype(np.float64), 0, 2)
        parts.append((one[kept], other[kept], bits[kept], distance))
    return Matches(*map(np.concatenate, zip(*parts, strict=True)))


def _by_pair(
    left: Features, right: Features, one: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the products of pairs of rows, some thousands at a time."""
    ends = range(0, len(one), 4096)
    return np.concatenate(
        [np.einsum("ij,ij->i", left[one[k : k + 4096]], right[other[k : k + 4096]]) for k in ends]
    )
