"""Adaptive micro-batching: split batches that do not fit into device memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

from visionsweep.errors import UserError, warn_loudly
from visionsweep.runtime.devices import release_memory

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# The allocators of CUDA and HIP raise torch.OutOfMemoryError. Libraries on top of them and other
# devices raise a RuntimeError (such as torch.AcceleratorError) that only its message identifies.
_MESSAGES = (
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",  # of expandable segments
    "CUDA ran out of memory outside PyTorch's allocator",
    "HIP error: out of memory",
    "hipErrorOutOfMemory",
    "CUDNN_STATUS_ALLOC_FAILED",
    # cuDNN without memory for a workspace
    "unable to find an engine to execute this computation",
    "Unable to find a valid cuDNN algorithm to run convolution",
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
    "could not create a primitive",  # oneDNN on a CPU; other causes fail for one image, too
)
TRAINING_WARNING = (
    "Gradients are accumulated: a step is that of the whole batch, up to rounding.",
    "In a trained backbone, BatchNorm normalizes each micro-batch by its own statistics.",
)

_HINT = (
    "Use a smaller transform.size, a smaller model, or device=cpu, or end other programs that use "
    "the device."
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that device memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)
    )


def _first_line(error: RuntimeError) -> str:
    """Return the first line of an out-of-memory error; raise any other error again."""
    if not is_out_of_memory(error):
        raise error
    return str(error).partition("\n")[0]


@contextmanager
def explain_out_of_memory() -> Iterator[None]:
    """Turn out-of-memory errors that smaller micro-batches cannot avoid into a `UserError`.

    Raises:
        UserError: instead of the device's error.
    """
    try:
        yield
        return
    except RuntimeError as error:
        message = _first_line(error)
    raise UserError(f"the memory of the device does not hold the model ({message})", hint=_HINT)


class AdaptiveMicroBatch:
    """Micro-batch size that starts at the whole batch and halves when memory runs out.

    The smaller size is kept for later batches, so each failure costs its time only once.

    Args:
        limit: number of images per micro-batch at first; None for whole batches.
        warning: lines added to the warning when the limit is halved.
        allows_single_image: function that returns whether a micro-batch may hold one image, called
            only when needed. Otherwise, micro-batches hold at least two images, and an odd number
            of images may exceed the limit.
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
        """Apply a function to a batch, in micro-batches if memory requires it.

        If memory runs out, the whole batch is repeated with smaller micro-batches.

        Args:
            work: function of one micro-batch of each tensor; it moves them to the device.
            tensors: tensors with the images of the batch along `axis`.
            axis: axis to split along.
            before_attempt: function called before the first attempt and before each repetition.

        Returns:
            The result of each micro-batch, in order.

        Raises:
            UserError: if memory does not hold the smallest micro-batch.
        """
        images = tensors[0].shape[axis]
        while True:
            if before_attempt is not None:
                before_attempt()
            count = 1 if self.limit is None else max(1, -(-images // self.limit))
            if count > 1 and images // count == 1 and not self._allows_single_image():
                count = max(1, images // 2)
            parts = zip(*(t.tensor_split(count, axis) for t in tensors), strict=True)
            try:
                return [work(*part) for part in parts]  # of nearly equal size
            except RuntimeError as error:
                message = _first_line(error)
            # Outside of `except`, the traceback no longer keeps the tensors of the attempt alive.
            self._halve(images, message)

    def _halve(self, images: int, message: str) -> None:
        tried = images if self.limit is None else min(images, self.limit)
        if tried <= 1 or ((tried <= 2 or images <= 3) and not self._allows_single_image()):
            count = "one image" if tried <= 1 else f"{min(images, 3)} images"
            what = f"the memory of the device does not hold {count} ({message})"
            raise UserError(what, hint=_HINT)
        self.limit = -(-tried // 2)
        release_memory()
        headline = f"OUT OF MEMORY WITH {tried} IMAGES AT ONCE: FROM NOW ON {self.limit} AT A TIME."
        warn_loudly(log, headline, message, *self._warning)
