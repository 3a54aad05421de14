"""Groups of images that are not independent, such as those of a patient.

A mean over N images is a mean over G groups of what each adds. So statistics that take what an
image adds take that of a group instead: groups are resampled, and standard errors are
cluster-robust with G - 1 degrees of freedom (Liang & Zeger 1986; Cameron & Miller 2015). Groups are
`int64[N]`, the number of each image's group from 0 to G - 1, or None where each image is one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.int64]

# With fewer, intervals over groups hold less often than they say (docs/evidence.md).
FEW_GROUPS = 10


def numbered(groups: Groups | None) -> Groups | None:
    """Number groups by their first image; None where each image is a group by itself."""
    if groups is None:
        return None
    _, first, places = np.unique(groups, return_index=True, return_inverse=True)
    if len(first) == len(groups):
        return None
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[places]


def count_groups(groups: Groups | None, images: int) -> int:
    """Return the number of groups of some images."""
    return images if groups is None else int(groups.max()) + 1


def by_group(table: NDArray[Any], groups: Groups | None) -> NDArray[Any]:
    """Return what each group adds to means over images.

    Groups may differ in size, which is random, too: a group adds G / N times the sum of its
    distances to the mean, as in a ratio of means (Cochran 1977, section 9A).

    Args:
        table: contribution of each image, `[..., N]`.
        groups: its groups; with None the table is returned.

    Returns:
        `[..., G]` of the table's type, with its means over the last axis.
    """
    if groups is None:
        return table
    mean = table.mean(-1, dtype=np.float64, keepdims=True)
    order = np.argsort(groups, kind="stable")
    count = count_groups(groups, len(groups))
    starts = np.searchsorted(groups[order], np.arange(count))
    sums = np.add.reduceat((table - mean)[..., order], starts, axis=-1)
    result: NDArray[Any] = (mean + sums * (count / len(groups))).astype(table.dtype)
    return result


def joined(several: Sequence[Groups | None]) -> Groups | None:
    """Return the groups of images that any of several groupings of the same images puts together.

    They differ where runs were given other groups, or where one was recorded without any.
    """
    given = [groups for groups in several if groups is not None]
    if not given or all(np.array_equal(given[0], groups) for groups in given[1:]):
        return given[0] if given else None
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    images = len(given[0])
    starts = images + np.cumsum([0, *(count_groups(g, images) for g in given)])
    ends = np.concatenate([start + g for start, g in zip(starts, given, strict=False)])
    edges = np.tile(np.arange(images), len(given)), ends
    graph = coo_array((np.ones(len(ends), np.int8), edges), shape=(int(starts[-1]),) * 2)
    return numbered(connected_components(graph, directed=False)[1][:images].astype(np.int64))
