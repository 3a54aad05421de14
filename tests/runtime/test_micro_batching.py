"""Too little device memory: a batch is computed in parts, and comes to the same."""

import copy
import logging
import subprocess
import sys
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn

from visionsweep.config.schema import OptimizerConfig
from visionsweep.errors import UserError
from visionsweep.models.heads import Heads
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runtime.micro_batching import (
    TRAINING_WARNING,
    AdaptiveMicroBatch,
    explain_out_of_memory,
    is_out_of_memory,
)
from visionsweep.training import loop, scoring
from visionsweep.training.batches import SplitBatches, TensorBatches
from visionsweep.training.optimizers import make_optimizer

CPU = torch.device("cpu")
MESSAGES = (
    "MPS backend out of memory (MPS allocated: 5.50 GB, max allowed: 20.40 GB). Tried to allocate",
    "[enforce fail at ..\\c10\\core\\CPUAllocator.cpp:72] data. DefaultCPUAllocator: not enough "
    "memory: you tried to allocate 113246208 bytes.",
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA driver error: out of memory",
    "HIP error: out of memory",
    "HIP error: hipErrorOutOfMemory",
    "CUDA ran out of memory outside PyTorch's allocator. If this workload uses many dyn",
    "Unable to find a valid cuDNN algorithm to run convolution",
    "GET was unable to find an engine to execute this computation",
    "Invalid buffer size: 24.00 GB",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
)


class Small(nn.Module):
    """A model on a device that holds `room` images; it keeps count of what it is asked."""

    def __init__(self, model: nn.Module, room: int, axis: int = -2) -> None:
        super().__init__()
        self.model, self.room, self.axis = model, room, axis
        self.sizes: list[int] = []

    @property
    def failures(self) -> int:
        return sum(size > self.room for size in self.sizes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        images = inputs.shape[self.axis]
        self.sizes.append(images)
        logits = self.model(inputs)
        if images > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0")
        return logits


def points(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.randn(count, 7, generator=source) + labels.unsqueeze(1), labels


def heads() -> Heads:
    return Heads(7, 3, 0.0, replicate_seeds(5, 3))


def splits(count: int, batch_size: int) -> SplitBatches:
    orders = [torch.Generator().manual_seed(seed) for seed in range(3)]
    return SplitBatches(
        TensorBatches(*points(count, 1), batch_size, orders),
        TensorBatches(*points(17, 2), 50),
        TensorBatches(*points(11, 3), 50),
    )


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return make_optimizer(OptimizerConfig(name="SGD", lr=0.5, momentum=0.9), model)


def fitted(model: nn.Module, batches: SplitBatches, micro_batch: AdaptiveMicroBatch | None = None):
    return loop.fit(model, batches, sgd(model), 3, CPU, lambda _: None, micro_batch=micro_batch)


# ------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(("count", "batch_size", "room"), [(66, 33, 5), (40, 16, 8), (9, 9, 1)])
def test_gradients_of_parts_add_up_to_the_step_of_the_whole_batch(count, batch_size, room):
    whole, parts = heads(), heads()
    expected = fitted(whole, splits(count, batch_size))
    small, micro_batch = Small(parts, room), AdaptiveMicroBatch()
    history = fitted(small, splits(count, batch_size), micro_batch)
    assert micro_batch.limit is not None and 1 <= micro_batch.limit <= room
    assert torch.allclose(parts.weight, whole.weight, atol=1e-5)
    assert torch.allclose(parts.bias, whole.bias, atol=1e-5)
    for ours, theirs in zip(history, expected, strict=True):
        for split in ("train", "val", "test"):
            loss = getattr(theirs, split).loss
            assert getattr(ours, split).loss == pytest.approx(loss, rel=1e-4)


def test_gradients_of_parts_of_images_add_up_to_that_of_the_batch():
    torch.manual_seed(0)

    class Network(nn.Sequential):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().forward(inputs).unsqueeze(0)

    whole = Network(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    parts = copy.deepcopy(whole)
    images, labels = torch.randn(21, 3, 8, 8), torch.arange(21) % 3
    batches = list(zip(images.split(10), labels.split(10), strict=True))
    loop.train_one_epoch(whole, batches, sgd(whole), CPU)
    loop.train_one_epoch(Small(parts, 4, axis=0), batches, sgd(parts), CPU)
    for ours, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_gradients_of_an_attempt_that_failed_half_way_are_dropped():
    whole, parts = heads(), heads()
    loop.train_one_epoch(whole, splits(24, 24).train, sgd(whole), CPU)
    failing = Small(parts, 24)
    calls = []

    def out_of_memory_in_the_second_part(module, inputs):
        calls.append(inputs[0].shape[1])
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    failing.register_forward_pre_hook(out_of_memory_in_the_second_part)
    loop.train_one_epoch(
        failing, splits(24, 24).train, sgd(parts), CPU, AdaptiveMicroBatch(limit=12)
    )
    assert calls == [12, 12, 6, 6, 6, 6]
    assert torch.allclose(parts.weight, whole.weight, atol=1e-6)


def test_limit_is_determined_once_for_all_batches_epochs_and_splits():
    model, micro_batch = Small(heads(), 6), AdaptiveMicroBatch()
    fitted(model, splits(60, 20), micro_batch)
    assert micro_batch.limit == 5
    assert model.sizes[:3] == [20, 10, 5] and model.failures == 2
    scoring.predict_logits(model, splits(60, 20).val, CPU, micro_batch)
    assert model.failures == 2 and max(model.sizes[3:]) == 5


def test_parts_are_of_even_size_so_that_none_is_a_single_image():
    model = Small(heads(), 100)
    scoring.evaluate(model, TensorBatches(*points(9), 9), CPU, AdaptiveMicroBatch(limit=4))
    assert model.sizes == [3, 3, 3]


def test_where_memory_suffices_each_batch_is_computed_once_and_whole():
    model, micro_batch = Small(heads(), 50), AdaptiveMicroBatch()
    fitted(model, splits(40, 16), micro_batch)
    assert model.sizes == [16, 16, 8, 17, 11] * 3 and micro_batch.limit is None


def test_failed_attempt_is_freed_before_the_next():
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    class Watched(Small):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            alive.append(sum(ref() is not None for ref in held))
            activations = inputs * 2
            held.append(weakref.ref(activations))
            return super().forward(activations)

    model = Watched(heads(), 5)
    loop.train_one_epoch(model, splits(20, 20).train, sgd(model), CPU)
    assert model.sizes[:3] == [20, 10, 5] and alive[1:3] == [0, 0]


REALLY = """
import resource, torch
from torch import nn
from visionsweep.training import loop as engine
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch

class Wide(nn.Module):  # an image becomes 100,000 numbers, several times over
    def __init__(self):
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.randn(1000, 100)), nn.Linear(1000, 3)

    def forward(self, images):
        return self.last((images.unsqueeze(2) * self.scale).tanh().sin().mean(2)).unsqueeze(0)

def trained(batch, micro_batch):
    torch.manual_seed(0)
    model = Wide()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine.train_one_epoch(model, [batch], optimizer, torch.device("cpu"), micro_batch)
    return model, engine.evaluate(model, [batch], torch.device("cpu"), micro_batch)

torch.set_num_threads(1)
batch = torch.randn(256, 1000), torch.arange(256) % 3
whole, scores = trained(batch, None)
pages = int(open("/proc/self/statm").read().split()[0])
room = pages * resource.getpagesize() + 150_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, room))
micro_batch = AdaptiveMicroBatch()
parts, ours = trained(batch, micro_batch)
assert micro_batch.limit is not None and micro_batch.limit <= 128
for a, b in zip(parts.parameters(), whole.parameters()):
    assert torch.allclose(a, b, atol=1e-5)
assert abs(ours[0].loss - scores[0].loss) < 1e-5
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the pages of its process in /proc")
def test_process_short_of_memory_trains_to_the_same_weights():
    done = subprocess.run([sys.executable, "-c", REALLY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "OUT OF MEMORY WITH 256 IMAGES AT ONCE" in done.stderr


# -------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize("room", [1, 4, 16])
def test_scores_and_logits_of_parts_are_those_of_the_whole(room: int):
    model = heads()
    batches = TensorBatches(*points(35), 17)
    scores = scoring.evaluate(model, batches, CPU)
    logits = scoring.predict_logits(model, batches, CPU)
    assert torch.allclose(scoring.predict_logits(Small(model, room), batches, CPU), logits)
    for ours, theirs in zip(
        scoring.evaluate(Small(model, room), batches, CPU), scores, strict=True
    ):
        assert ours.loss == pytest.approx(theirs.loss) and ours.accuracy == theirs.accuracy


# --------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("step", ["train", "test", "predict"])
def test_memory_too_small_for_one_image_is_an_error_with_a_hint(step: str):
    model = Small(heads(), 0)
    batches = TensorBatches(*points(12), 12)
    steps: dict[str, Callable[[], object]] = {
        "train": lambda: loop.train_one_epoch(model, splits(12, 12).train, sgd(model), CPU),
        "test": lambda: scoring.evaluate(model, batches, CPU),
        "predict": lambda: scoring.predict_logits(model, batches, CPU),
    }
    with pytest.raises(UserError, match="does not hold one image") as caught:
        steps[step]()
    for way_out in ("transform.size", "model", "device=cpu", "Tried to allocate 20.00 MiB"):
        assert way_out in str(caught.value)
    assert model.sizes == [12, 6, 3, 2, 1]


def test_micro_batch_size_is_reported_in_a_framed_warning(caplog):
    with caplog.at_level(logging.WARNING):
        fitted(Small(heads(), 11), splits(44, 22), AdaptiveMicroBatch(warning=TRAINING_WARNING))
    (record,) = caplog.records
    assert "OUT OF MEMORY WITH 22 IMAGES AT ONCE: FROM NOW ON 11 AT A TIME" in record.getMessage()
    assert "Tried to allocate 20.00 MiB" in record.getMessage()
    assert "BatchNorm" in record.getMessage()


def test_cpu_out_of_memory_errors_are_recognized():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2) @ torch.zeros(3)
    assert not is_out_of_memory(caught.value)


@pytest.mark.parametrize("message", MESSAGES)
def test_device_out_of_memory_errors_are_recognized(message: str):
    assert is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError(message))


def test_other_errors_are_not_taken_for_out_of_memory():
    model = nn.Linear(5, 3)  # wants other inputs
    micro_batch = AdaptiveMicroBatch()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        scoring.evaluate(model, TensorBatches(*points(12), 12), CPU, micro_batch)
    assert micro_batch.limit is None


def test_out_of_memory_without_a_batch_is_explained():
    model = heads()
    optimizer = sgd(model)

    def step() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    optimizer.step = step
    with pytest.raises(UserError, match=r"does not hold the model.*2\.00 GiB") as caught:
        explain_out_of_memory()(loop.train_one_epoch)(model, splits(12, 12).train, optimizer, CPU)
    assert "device=cpu" in str(caught.value)
    with pytest.raises(RuntimeError, match="something else"), explain_out_of_memory():
        raise RuntimeError("something else")


class SingleImages(nn.Module):
    """A network like a ResNet at 32 pixels: BatchNorm over one value per image and channel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layers(inputs).unsqueeze(0)


@pytest.mark.parametrize(
    ("images", "room", "parts"), [(5, 3, [2, 3]), (8, 3, [2] * 4), (3, 3, [3])]
)
def test_no_part_is_a_single_image_where_batchnorm_trains(images: int, room: int, parts: list[int]):
    model = Small(SingleImages(), room)
    micro_batch = AdaptiveMicroBatch(allows_single_image=lambda: False)
    loop.train_one_epoch(model, [points(images)], sgd(model), CPU, micro_batch)
    done = model.sizes[-len(parts) :]
    assert sorted(done) == parts and 1 not in model.sizes


@pytest.mark.parametrize(("images", "room"), [(9, 1), (8, 1), (3, 2), (5, 2), (2, 1)])
def test_memory_too_small_for_two_images_where_batchnorm_trains_is_an_error(images: int, room: int):
    model = Small(SingleImages(), room)
    with pytest.raises(UserError, match=r"does not hold [23] images"):
        loop.train_one_epoch(
            model,
            [points(images)],
            sgd(model),
            CPU,
            AdaptiveMicroBatch(allows_single_image=lambda: False),
        )
    assert 1 not in model.sizes
