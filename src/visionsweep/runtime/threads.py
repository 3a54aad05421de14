"""Number of CPU threads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread(*, when: bool = True) -> Iterator[None]:
    """Compute in one CPU thread inside the block; `when=False` changes nothing.

    For small computations: with two threads, a step of a head waits for the slower one, and took 7
    times as long on a busy machine. And for results that must not depend on the number of threads:
    partial sums per thread round differently from one sum.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if when else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
