"""Memory allocation of the C library."""

import ctypes
import os

# Parameters of glibc's mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next allocation in this process.

    By default it maps each block above 32 MB from the kernel and returns it when it is freed, so
    each layer's activations are paged in anew. For where a command begins to compute. Peak memory
    hardly grows, since the blocks of the largest layers are reused. The environment variable
    `VISIONSWEEP_MALLOC=default` leaves the allocator unchanged.

    Returns:
        Whether the allocator was changed; False also with another C library.
    """
    if os.environ.get("VISIONSWEEP_MALLOC") == "default" or os.name != "posix":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER))
    return all(library.mallopt(name, value) == 1 for name, value in settings)
