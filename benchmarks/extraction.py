"""Feature extraction, compared with decoding and the fused forward pass in batches of 16 alone.

    python benchmarks/extraction.py

Four minutes on two cores. Both are timed in turns, five times; the ratio is the median of the
turns' ratios, because the machine's speed drifts by a tenth within a minute. The baseline has no
store, no digests, and no checks: two threads decode, then the forward pass runs.
"""

import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from visionsweep.config.schema import DataConfig, FeaturesConfig, ModelConfig
from visionsweep.data.decoding import open_rgb
from visionsweep.data.images import ImageFile
from visionsweep.data.split_loading import load_splits
from visionsweep.data.transforms import resized
from visionsweep.features.cached import cached_features
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.fusion import fuse_conv_bn
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runtime.allocation import keep_freed_memory


@torch.inference_mode()
def baseline(files: list[ImageFile], network: LazyModel) -> None:
    """Decode the images and run the fused network, nothing else."""
    preprocessing = resized(224)
    with ThreadPoolExecutor(2) as threads:
        pixels = list(threads.map(lambda f: preprocessing.pixels(open_rgb(f.path)), files))
    module = network.backbone.module
    folded = fuse_conv_bn(module, preprocessing.normalize(torch.stack(pixels[:2])))
    folded = folded.to(memory_format=torch.channels_last)
    for start in range(0, len(pixels), 16):
        batch = preprocessing.normalize(torch.stack(pixels[start : start + 16]))
        folded(batch.contiguous(memory_format=torch.channels_last))


def main() -> None:
    """Print both times and their ratio, for B0 and B2, both keeping freed memory."""
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        splits = load_splits(DataConfig(label="s", source="sample", root=folder, fraction=0.2))
        files = [*splits.train, *splits.val, *splits.test]
        for name in ("efficientnet_b0", "efficientnet_b2"):
            config = ModelConfig(label=name, name=name, weights=None)
            spec = resolve_backbone(config, random_if_unavailable=True)
            network = LazyModel(spec, 224, 3, True, Path(folder) / "networks")
            _ = network.backbone
            seconds: dict[str, list[float]] = {"baseline": [], "ours": []}
            for turn in range(5):
                start = time.perf_counter()
                baseline(files, network)
                seconds["baseline"].append(time.perf_counter() - start)
                cache = FeaturesConfig(cache_dir=f"{folder}/cache-{turn}")
                start = time.perf_counter()
                cached_features(files, network, resized(224), torch.device("cpu"), cache)
                seconds["ours"].append(time.perf_counter() - start)
            ratio = statistics.median(
                ours / bare for ours, bare in zip(seconds["ours"], seconds["baseline"], strict=True)
            )
            median = {side: statistics.median(times) for side, times in seconds.items()}
            print(
                f"{name}, {len(files)} images: baseline {median['baseline']:.1f} s, "
                f"ours {median['ours']:.1f} s, ratio {ratio:.2f}"
            )


if __name__ == "__main__":
    main()
