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
    """Return the milliseconds per image that models take, each given with the side of its images.

    The models take turns, and are in evaluation mode afterwards. The fastest of five passes counts:
    the first allocates, and other programs may be running.
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
