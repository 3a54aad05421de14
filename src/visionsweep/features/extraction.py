"""Sends images through a frozen backbone."""

from collections.abc import Sequence

import torch
from torch import nn
from tqdm import tqdm

from visionsweep.data.dataset import ImageDataset, image_loader
from visionsweep.data.images import ImageFile
from visionsweep.data.transforms import Preprocessing

BATCH_SIZE = 16  # on a CPU the fastest are 8 to 16


@torch.inference_mode()
def extract(
    backbone: nn.Module,
    files: Sequence[ImageFile],
    preprocessing: Preprocessing,
    device: torch.device,
    workers: int = 0,
) -> dict[str, torch.Tensor]:
    """Compute the features of every different image once.

    Args:
        backbone: in evaluation mode, from `float32[N, 3, size, size]` to `float32[N, width]`.
        files: the images; copies of one image are computed once.
        preprocessing: how an image becomes a tensor.
        device: where the backbone lies.
        workers: processes that decode.

    Returns:
        For each content digest its features, `float32[width]` on the CPU.
    """
    distinct = list({file.digest: file for file in files}.values())
    loader = image_loader(
        ImageDataset(distinct, preprocessing.build()), BATCH_SIZE, workers=workers
    )
    rows: list[torch.Tensor] = []
    with tqdm(total=len(distinct), desc="Features", unit="image", disable=None, leave=False) as bar:
        for images, _ in loader:
            rows += backbone(images.to(device)).flatten(1).float().cpu().unbind()
            bar.update(len(images))
    return {file.digest: row for file, row in zip(distinct, rows, strict=True)}
