"""Images per second of fine-tuning, compared with plain loops as torchvision and timm have them.

    python benchmarks/train_on_images.py data.base_url=file:///PHOTOGRAPHS
    python benchmarks/train_on_images.py data=folder data.root=PATH model=effnetlite0

Six minutes on two cores. The loops take turns, each in a process of its own, with the same network,
images, batch size, optimizer, and threads. Imports and building the network are not timed.

- torchvision: `references/classification/train.py`: decoding in a worker, contiguous layout, a
  validation pass after each epoch. Losses are read after each batch, as its meters do.
- timm: `train.py --channels-last`: the same in channels-last layout.
- torchvision, freed memory kept: the first with the allocator set as ours (`allocation.py`).
- ours: `loop.fit` as a run calls it, and the predictions of validation and test images at its end,
  which the other loops do not make.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
from drawn_runs import configured
from torch import nn
from torch.utils.data import DataLoader

from visionsweep.config.schema import Config, register_schema
from visionsweep.data.dataset import ImageDataset
from visionsweep.data.split_names import SPLITS
from visionsweep.models import classifier
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runs import names
from visionsweep.runtime.allocation import keep_freed_memory
from visionsweep.training import loop
from visionsweep.training.batches import SplitBatches
from visionsweep.training.inputs import inputs_of, predict
from visionsweep.training.networks import for_scoring, new_classifier
from visionsweep.training.optimizers import make_optimizer
from visionsweep.training.resolve import Resolved, resolve
from visionsweep.training.trainer import network_of
from visionsweep.training.updates import Updates

IMAGES, EPOCHS, ROUNDS = {"train": 96, "val": 48, "test": 48}, 2, 3
CPU = torch.device("cpu")


def plain(config: Config, resolved: Resolved, layout: torch.memory_format) -> None:
    """Train in the manner of the references, and validate after each epoch."""
    network = network_of(config, resolved)
    model = classifier.build(
        network.backbone, network.classes, dropout=None, frozen=False,
        freeze_batchnorm=config.training.freeze_batchnorm,
    ).to(memory_format=layout)  # fmt: skip
    optimizer = make_optimizer(config.optimizer, model, config.training)
    transform = resolved.preprocessing.build()
    train, val = (
        DataLoader(
            ImageDataset(resolved.splits[split][: IMAGES[split]], transform),
            config.batch_size, shuffle=split == "train", num_workers=1,
        )
        for split in ("train", "val")
    )  # fmt: skip
    loss_of = nn.CrossEntropyLoss()
    for _ in range(EPOCHS):
        model.train()
        for images, labels in train:
            loss = loss_of(model(images.contiguous(memory_format=layout))[0], labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.training.clip_norm or 1.0)
            optimizer.step()
            loss.item()
        model.eval()
        with torch.inference_mode():
            for images, labels in val:
                loss_of(model(images.contiguous(memory_format=layout))[0], labels).item()


def ours(config: Config, resolved: Resolved) -> None:
    """Train as a run does, and predict the validation and test images at its end."""
    network, recipe = network_of(config, resolved), config.training
    files = {split: resolved.splits[split][: IMAGES[split]] for split in SPLITS}
    shuffle = [torch.Generator().manual_seed(0)]
    batches = inputs_of(files, config, network, resolved.preprocessing, CPU, shuffle)
    model = new_classifier(network, resolved.preprocessing, CPU, recipe, 0.2, replicate_seeds(0, 1))
    loop.fit(
        model, SplitBatches(batches["train"], batches["val"], None),
        make_optimizer(config.optimizer, model, recipe), EPOCHS, CPU, lambda _: None,
        updates=Updates.of(recipe), scored=partial(for_scoring, model, resolved.preprocessing),
    )  # fmt: skip
    scored = for_scoring(model, resolved.preprocessing)
    for split in ("val", "test"):
        predict(scored, batches[split], files[split], CPU)


LOOPS: dict[str, Callable[[Config, Resolved], None]] = {
    "torchvision": partial(plain, layout=torch.contiguous_format),
    "timm": partial(plain, layout=torch.channels_last),
    "torchvision, freed memory kept": partial(plain, layout=torch.contiguous_format),
    "ours": ours,
}


def seconds_of(name: str, overrides: Sequence[str]) -> float:
    """Return the seconds that a loop takes in this process."""
    register_schema()
    names.register_resolvers()
    if name not in ("torchvision", "timm"):
        keep_freed_memory()
    config = configured(["training=fine_tuning", "training.linear_probe=none", *overrides])
    resolved = resolve(config)
    network_of(config, resolved).summary  # noqa: B018 - cached
    start = time.perf_counter()
    LOOPS[name](config, resolved)
    return time.perf_counter() - start


def main(arguments: Sequence[str]) -> None:
    """Print the images per second of each loop, and the ratios of ours with their range."""
    if arguments[:1] == ["--loop"]:
        print(seconds_of(arguments[1], arguments[2:]))
        return
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    for _ in range(ROUNDS):
        for name, measured in seconds.items():
            command = [sys.executable, __file__, "--loop", name, *arguments]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            measured.append(float(done.stdout.split()[-1]))
    images = EPOCHS * IMAGES["train"]
    for name, measured in seconds.items():
        print(f"{name}: {images / statistics.median(measured):.1f} training images/s")
    for name, measured in seconds.items():
        if name != "ours":
            pairs = zip(measured, seconds["ours"], strict=True)
            low, ratio, high = sorted(theirs / mine for theirs, mine in pairs)
            print(f"ours against {name}: {ratio:.2f} ({low:.2f} to {high:.2f}) times as fast")


if __name__ == "__main__":
    main(sys.argv[1:])
