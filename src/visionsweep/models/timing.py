"""Time of a forward pass per image, on one CPU core."""

import time
from collections.abc import Mapping

import torch
from torch import nn

from visionsweep.runtime.threads import one_thread

_ROUNDS = 5
_IMAGES = 4  # per batch


@torch.inference_mode()
def forward_milliseconds(models: Mapping[str, tuple[nn.Module, int]]) -> dict[str, float]:
    """Time the forward passes of models, which take turns, and leave them in evaluation mode.

    The fastest of five passes counts: the first allocates, and other programs may be running.

    Args:
        models: each model with the size of its images in pixels, by any key.

    Returns:
        Milliseconds per image by the same keys.
    """
    images = {key: torch.zeros(_IMAGES, 3, size, size) for key, (_, size) in models.items()}
    fastest = dict.fromkeys(models, float("inf"))
    with one_thread():
        for _ in range(_ROUNDS):
            for key, (model, _size) in models.items():
                model.eval()
                start = time.perf_counter()
                model(images[key])
                fastest[key] = min(fastest[key], time.perf_counter() - start)
    return {key: 1000 * seconds / _IMAGES for key, seconds in fastest.items()}
