"""Check that a GPU computes what the CPU computes, repeats its numbers, and is worth using.

    python scripts/gpu_check.py                    # about fifteen minutes on one GPU or eight
    python scripts/gpu_check.py --device cpu --quick   # the same checks, small, on the CPU

Prints one line per check. The exit status is 1 if one failed. Needs no network: networks have
random weights, images are rendered. Its figures for docs/results.md are printed as Markdown by
`--markdown`.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from gpu_check_runs import (
    Setup,
    check_leases,
    check_memory,
    check_repeats,
    check_resume,
    check_sweep,
)
from rich.console import Console
from rich.table import Table
from torch import nn

from visionsweep.cli.entry import parser, run
from visionsweep.config.schema import ModelConfig, OptimizerConfig, TrainingConfig
from visionsweep.data.decoding import open_rgb
from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.synthetic import sample
from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.features.device_backbone import (
    CHECK_IMAGES,
    TOLERANCE,
    DeviceBackbone,
    relative_error,
)
from visionsweep.features.extraction import BATCH_SIZE, extract
from visionsweep.models import backbone_spec, backbones
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime.devices import device_facts, pick_device
from visionsweep.runtime.threads import one_thread
from visionsweep.training.batches import TensorBatches
from visionsweep.training.loop import train_one_epoch
from visionsweep.training.networks import trained_whole
from visionsweep.training.optimizers import make_optimizer

Check = Callable[[Setup], Iterator[tuple[bool, str]]]


def main(arguments: list[str]) -> int:
    """Run all checks; exit status 1 if one failed."""
    parse = parser(__doc__)
    parse.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (auto)")
    parse.add_argument("--quick", action="store_true", help="small networks and images")
    parse.add_argument(
        "--only", nargs="+", choices=CHECKS, default=list(CHECKS), metavar="CHECK",
        help=f"the checks to run: {', '.join(CHECKS)} (all)",
    )  # fmt: skip
    parse.add_argument("--markdown", action="store_true", help="print a Markdown table")
    options = parse.parse_args(arguments)
    device = pick_device(options.device)
    facts = ", ".join(f"{key} {value}" for key, value in device_facts(device).items())
    print(f"torch {torch.__version__}; {facts}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        setup = Setup(device, Path(folder), options.quick)
        draw_images(setup.folder)
        for check in (CHECKS[name] for name in options.only):
            start = time.perf_counter()
            title = (check.__doc__ or "").strip().splitlines()[0].removesuffix(".")
            for passed, measured in results_of(check, setup):
                rows.append((title, "ok" if passed else "FAILED", measured))
                print(" | ".join(rows[-1]), flush=True)
            print(f"  ({time.perf_counter() - start:.1f} s)", flush=True)
    table = Table("check", "", "measured")
    for row in rows:
        table.add_row(*row)
    if options.markdown:
        print("| check | result | measured |\n|---|---|---|")
        print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    else:
        Console().print(table)
    return int(any(result != "ok" for _, result, _ in rows))


def results_of(check: Check, setup: Setup) -> Iterator[tuple[bool, str]]:
    """Yield the results of a check as they come, and an error as one: the others have to run."""
    try:
        yield from check(setup)
    except Exception as error:
        yield False, f"{type(error).__name__}: {error}"


def draw_images(folder: Path) -> None:
    """Render the images of two data sets, `three` and `two` classes."""
    for name, classes in (("three", sample.CLASSES), ("two", sample.CLASSES[:2])):
        for label in classes:
            for split, count in (("train", 12), ("val", 4), ("test", 4)):
                place = folder / name / split / label
                place.mkdir(parents=True)
                for index in range(count):
                    content = sample.jpeg(split, label, index, 96)
                    (place / f"{index}.jpg").write_bytes(content)


def images_of(setup: Setup) -> list[ImageFile]:
    """Return the files of the first data set with their digests."""
    paths = sorted((setup.folder / "three").rglob("*.jpg"))
    return [ImageFile(path, 0, digest_of(path.read_bytes())) for path in paths]


def build(name: str, size: int) -> backbones.Backbone:
    """Build a torchvision backbone with random weights and calibrated BatchNorm."""
    config = ModelConfig(label=name, name=name, weights=None)
    spec = backbone_spec.resolve_backbone(config, random_if_unavailable=False)
    return backbones.build(spec, size)


def rendered_pixels(setup: Setup, count: int) -> torch.Tensor:
    """Return rendered images, `uint8[count, 3, size, size]`, repeated as needed."""
    preprocessing = resized(setup.size)
    files = images_of(setup)
    pixels = torch.stack([preprocessing.pixels(open_rgb(file.path)) for file in files])
    return pixels.repeat(-(-count // len(files)), 1, 1, 1)[:count].contiguous()


def check_features(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Features agree with the CPU's."""
    pixels = rendered_pixels(setup, 32)
    for name in setup.networks:
        network = build(name, setup.size).module
        expected = DeviceBackbone(network, resized(setup.size), torch.device("cpu"))(pixels)
        devices = [setup.device]
        if setup.device == torch.device("cuda"):
            devices = [torch.device("cuda", n) for n in range(torch.cuda.device_count())]
        for device in devices:
            actual = DeviceBackbone(network, resized(setup.size), device)(pixels)
            error = relative_error(actual, expected)
            yield error <= TOLERANCE, f"{name}, {device}: relative error {error:.1e}"


class Overflowing(nn.Module):
    """A network whose activations exceed the range of float16 and whose features do not."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        nn.init.constant_(self.convolution.weight, 1e4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return `float32[N, 8]`."""
        activations: torch.Tensor = self.convolution(images)
        return activations.mean((2, 3)) * 1e-6


def check_overflow(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Features that overflow float16 are those of float32."""
    pixels = rendered_pixels(setup, 16)
    network, preprocessing = Overflowing().eval(), resized(setup.size)
    expected = DeviceBackbone(network, preprocessing, torch.device("cpu"))(pixels)
    actual = DeviceBackbone(network, preprocessing, setup.device, dtype=torch.float16)(pixels)
    error = relative_error(actual, expected)
    yield error <= TOLERANCE, f"relative error {error:.1e}"


def check_not_finite(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Features that are not finite are refused by name."""

    class Spoiled(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            features = images.mean((2, 3))
            # Batches of images are larger than the one the device is compared with the CPU on.
            return features / 0.0 if len(images) > CHECK_IMAGES else features

    backbone = DeviceBackbone(Spoiled().eval(), resized(setup.size), setup.device, "spoiled")
    try:
        list(extract(backbone, images_of(setup)))
    except UserError as error:
        yield error.where == "spoiled" and ".jpg" in error.what, "refused"
    else:
        yield False, "accepted"


def seconds(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median time of some work on a device, after two warm-up calls."""
    times = []
    for turn in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn >= 2:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def check_speed(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Extraction takes the time of the bare network."""
    batch = BATCH_SIZE[setup.device.type]
    pixels = rendered_pixels(setup, batch)
    if setup.device.type == "cuda":
        pixels = pixels.pin_memory()
    for name in setup.networks:
        network = build(name, setup.size).module
        backbone = DeviceBackbone(network, resized(setup.size), setup.device)
        ours = seconds(partial(backbone, pixels), setup.device, 10)
        network = backbone.network
        bare = torch.rand(pixels.shape, device=setup.device)
        bare = bare.contiguous(memory_format=torch.channels_last)

        @torch.inference_mode()
        def floor(network: nn.Module = network, bare: torch.Tensor = bare) -> None:
            half = setup.device.type == "cuda"
            with torch.autocast(setup.device.type, torch.float16, enabled=half):
                network(bare)

        least = seconds(floor, setup.device, 10)
        rate = f"{batch / ours:,.0f} images/s"
        yield True, f"{name}: {rate}, {ours / least:.2f} times the bare forward pass"


def check_training(setup: Setup) -> Iterator[tuple[bool, str]]:
    """What fine-tuning gains by bfloat16, and by compilation."""
    batch = 8 if setup.quick else 64
    images = resized(setup.size).normalize(rendered_pixels(setup, batch)).to(setup.device)
    images = images.contiguous(memory_format=torch.channels_last)
    batches = TensorBatches(images, torch.zeros(batch, dtype=torch.int64), batch)
    recipes = [("fp32", False), ("bf16", False)]
    if setup.device.type == "cuda":
        recipes.append(("bf16", True))
    for name in setup.networks:
        rates = []
        for precision, compiled in recipes:
            recipe = TrainingConfig(
                "fine_tuning", False, freeze_batchnorm=True, precision=precision, compile=compiled,
                replicates=1,
            )  # fmt: skip
            model = trained_whole(build(name, setup.size), 3, setup.device, recipe)
            optimizer = make_optimizer(OptimizerConfig("AdamW", lr=1e-4), model, recipe)
            epoch = partial(train_one_epoch, model, batches, optimizer, setup.device)
            rate = batch / seconds(epoch, setup.device, 10)
            rates.append(f"{precision}{', compiled' if compiled else ''} {rate:,.0f}")
        yield True, f"{name}, images/s: {'; '.join(rates)}"


def _step(
    heads: Heads, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, labels: torch.Tensor
) -> None:
    optimizer.zero_grad()
    F.cross_entropy(heads(inputs).flatten(0, 1), labels).backward()
    optimizer.step()


def check_heads(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Where heads train faster."""
    for classes in (3, 10) if setup.quick else (3, 37, 101, 397, 1000):
        times = {}
        for device in dict.fromkeys((torch.device("cpu"), setup.device)):
            heads = Heads(1280, classes, 0.2, replicate_seeds(0, 5)).to(device)
            optimizer = torch.optim.Adam(heads.parameters())
            inputs = torch.rand(5, 32, 1280, device=device)
            labels = torch.randint(classes, (160,), device=device)

            step = partial(_step, heads, optimizer, inputs, labels)
            with one_thread():
                times[str(device)] = 1000 * seconds(step, device, 20)
        measured = ", ".join(f"{name} {value:.2f} ms" for name, value in times.items())
        yield True, f"{classes} classes, width 1280, 5 replicates, per step: {measured}"


CHECKS: dict[str, Check] = {
    "features": check_features,
    "overflow": check_overflow,
    "not-finite": check_not_finite,
    "repeats": check_repeats,
    "sweep": check_sweep,
    "resume": check_resume,
    "memory": check_memory,
    "leases": check_leases,
    "speed": check_speed,
    "training": check_training,
    "heads": check_heads,
}

if __name__ == "__main__":
    sys.exit(run(main))
