"""Each test of the data starts like a new process."""

from collections.abc import Iterator

import pytest

from visionsweep import errors
from visionsweep.data.reachability import why_unreachable


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    """Forget what is remembered for the life of a process: who answered, what was warned of."""
    why_unreachable.cache_clear()
    getattr(errors, "_said", set()).clear()
    yield
    why_unreachable.cache_clear()
