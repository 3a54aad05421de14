"""How many threads of the CPU compute."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread(*, when: bool = True) -> Iterator[None]:
    """Compute in one CPU thread inside the block.

    For what is too small to be shared: with two threads a step of a head takes as long as the
    slower of them is kept waiting, measured at 7 times as long on a machine with something else to
    do. And for what must not depend on the number of threads: sums over parts, one a thread, are
    rounded otherwise than the sum over all.

    Args:
        when: whether to do so at all.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if when else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
