"""What is done where a device's memory does not hold a batch: fewer images are computed at once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from visionsweep.errors import UserError, warn_loudly

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# The allocators of CUDA and HIP raise torch.OutOfMemoryError; the libraries on top of them, and the
# other devices, a RuntimeError (torch.AcceleratorError is one) that only its words tell.
_WORDS = (
    "CUDA error: out of memory",
    "HIP error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "HIPBLAS_STATUS_ALLOC_FAILED",
    "rocblas_status_memory_error",
    "miopenStatusAllocFailed",
    "MPS backend out of memory",
    "Invalid buffer size",  # MPS: one tensor larger than Metal allows
    "DefaultCPUAllocator: can't allocate memory",  # Linux and macOS
    "DefaultCPUAllocator: not enough memory",  # Windows
    "CUBLAS_STATUS_ALLOC_FAILED",
    "could not create a primitive",  # oneDNN on a CPU; for other reasons too, but then of one image
)
# What to say of training in parts.
TRAINING_WARNING = (
    "Gradients of the parts are added up: a step is that of the whole batch, up to rounding.",
    "But where a backbone with BatchNorm trains, each part is normalised by its own statistics.",
)

_WAY_OUT = (
    "Try a smaller transform.size, a smaller model, or device=cpu; if another program holds the "
    "memory of the device, end it."
)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that a device's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)


def _said_by(error: RuntimeError) -> str:
    """Return the first line of an error that `is_out_of_memory`; raise any other again."""
    if not is_out_of_memory(error):
        raise error
    return str(error).partition("\n")[0]


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Put into words for the user that memory ran out where fewer images at once do not help.

    Raises:
        UserError: instead of the device's error.
    """
    try:
        yield
        return
    except RuntimeError as error:
        said = _said_by(error)
    raise UserError(f"The memory of the device does not hold the model. {_WAY_OUT}\n{said}")


class AdaptiveMicroBatch:
    """Micro-batch size that starts at the whole batch and halves when memory runs out.

    The smaller size is kept for later batches, so each failure costs its time only once.

    Args:
        limit: number of images per micro-batch; None for whole batches.
        warning: lines added to the warning when the limit is halved.
        allows_single_image: whether a micro-batch may hold one image; called only when needed.
            Otherwise micro-batches hold at least two images, and an odd one may exceed the limit.

    Attributes:
        limit: as given, or what it came to.
    """

    def __init__(
        self,
        limit: int | None = None,
        warning: Sequence[str] = (),
        allows_single_image: Callable[[], bool] = lambda: True,
    ) -> None:
        self.limit = limit
        self._warning = warning
        self._allows_single_image = allows_single_image

    def map(
        self,
        work: Callable[..., Result],
        *tensors: torch.Tensor,
        axis: int = 0,
        before_attempt: Callable[[], object] | None = None,
    ) -> list[Result]:
        """Do some work on a batch, in parts where memory asks for it.

        A batch in which memory runs out is done again from its beginning, in smaller parts.

        Args:
            work: is called with a part of each tensor; it moves them to the device itself.
            tensors: with the batch's images along `axis`.
            axis: along which parts are cut.
            before_attempt: is called before the batch, and again before each repetition.

        Returns:
            What came of each part, in order.

        Raises:
            UserError: if memory does not hold one image.
        """
        while True:
            if before_attempt is not None:
                before_attempt()
            try:
                return [work(*part) for part in self._parts(tensors, axis)]
            except RuntimeError as error:
                said = _said_by(error)
            # Only here is the error gone, and with its traceback all tensors of the attempt.
            self._halve(tensors[0].shape[axis], said)

    def _parts(
        self, tensors: tuple[torch.Tensor, ...], axis: int
    ) -> list[tuple[torch.Tensor, ...]]:
        images = tensors[0].shape[axis]
        if self.limit is None or images <= self.limit:
            return [tensors]
        count = -(-images // self.limit)
        if images // count == 1 and not self._allows_single_image():
            count = max(1, images // 2)
        # `tensor_split` makes parts of even size: none is much smaller than the others.
        return list(zip(*(t.tensor_split(count, axis) for t in tensors), strict=True))

    def _halve(self, images: int, said: str) -> None:
        tried = images if self.limit is None else min(images, self.limit)
        if tried <= 1 or ((tried <= 2 or images <= 3) and not self._allows_single_image()):
            count = "one image" if tried <= 1 else f"{min(images, 3)} images"
            raise UserError(
                f"The memory of the device does not hold {count} on the way through the model. "
                f"{_WAY_OUT}\n{said}"
            )
        self.limit = -(-tried // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()
        headline = f"OUT OF MEMORY WITH {tried} IMAGES AT ONCE: FROM NOW ON {self.limit} AT A TIME."
        warn_loudly(log, headline, said, *self._warning)
