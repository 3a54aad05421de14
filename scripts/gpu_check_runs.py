"""Checks of whole runs on a device, each run in a process of its own; used by gpu_check.py."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from visionsweep.sweeps.gpus import gpu_count

# Leases a GPU, waits until as many processes as argument 2 says have one, and prints its index and
# those of the GPUs on which this process has a context.
LEASING = """
import os, sys, time
from pathlib import Path
import torch
from visionsweep.sweeps.gpus import gpu_count, leased_gpu
folder, processes = Path(sys.argv[1]), int(sys.argv[2])
with leased_gpu(folder / "gpus", gpu_count("cuda"), alone=False) as gpu, torch.cuda.device(gpu):
    torch.ones(1, device="cuda")
    (folder / f"{os.getpid()}.leased").touch()
    while len(list(folder.glob("*.leased"))) < processes:
        time.sleep(0.01)
print(gpu, *(n for n in range(gpu_count("cuda")) if torch._C._cuda_hasPrimaryContext(n)))
"""
TRAIN = Path(__file__).resolve().parent.parent / "src" / "train.py"


@dataclass(frozen=True)
class Setup:
    """Options that all checks share.

    Attributes:
        device: device under test.
        folder: a temporary folder.
        quick: use small networks and images.
    """

    device: torch.device
    folder: Path
    quick: bool

    @property
    def size(self) -> int:
        """Pixels per side."""
        return 32 if self.quick else 224

    @property
    def networks(self) -> list[str]:
        """Names of torchvision models, one per family of kernels."""
        return ["resnet18"] if self.quick else ["resnet18", "efficientnet_b0", "vit_b_16"]

    def command(self, name: str, *settings: str) -> list[str]:
        """Return the command of a run or sweep with random weights on rendered images."""
        multirun = ["-m"] if any("," in setting for setting in settings) else []
        return [
            sys.executable, str(TRAIN), *multirun, "model.weights=null", "data=folder",
            f"transform.size={self.size}", f"device={self.device}",
            f"sweep_dir={self.folder / name}",
            f"features.cache_dir={self.folder / 'cache'}", *settings,
        ]  # fmt: skip


def check_repeats(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Training twice gives the same weights."""
    root = f"data.root={setup.folder / 'three'}"
    runs = [("heads", "resnet18", ()), ("fine-tuning", "resnet18", ("training=fine_tuning",))]
    if not setup.quick:
        runs.append(("fine-tuning", "vit_b_16", ("training=fine_tuning",)))
        runs.append(("fine-tuning", "efficientnet_b0", ("training=fine_tuning",)))
    if setup.device.type == "cuda":
        fast = ("training=fine_tuning", "training.precision=bf16", "training.compile=true")
        runs.append(("fine-tuning, bf16, compiled", setup.networks[-1], fast))
    for kind, model, settings in runs:
        weights = []
        for turn in ("first", "second"):
            name = f"{kind.replace(', ', '-')}-{model}-{turn}"
            run = ["model=torchvision", f"model.name={model}", root, "epochs=2", *settings]
            subprocess.run(setup.command(name, *run), check=True, capture_output=True)
            file = "head.safetensors" if kind == "heads" else "model.safetensors"
            weights.append((setup.folder / name / file).read_bytes())
        yield weights[0] == weights[1], f"{kind}, {model}: {len(weights[0]):,} bytes compared"


def check_sweep(setup: Setup) -> Iterator[tuple[bool, str]]:
    """A sweep with augmentation goes from three classes to two."""
    roots = f"data.root={setup.folder / 'three'},{setup.folder / 'two'}"
    command = setup.command(
        "augmented", "model=resnet18", roots, "epochs=1", "augmentation=trivial_augment"
    )
    done = subprocess.run(command, capture_output=True, text=True)
    last = "" if done.returncode == 0 else f": {done.stderr.strip()[-300:]}"
    yield done.returncode == 0, f"exit status {done.returncode}{last}"


def check_resume(setup: Setup) -> Iterator[tuple[bool, str]]:
    """A run that is interrupted and resumed has the weights of one that was not."""
    settings = [
        f"data.root={setup.folder / 'three'}", "model=resnet18",
        f"epochs={4 if setup.quick else 12}",
        "training=fine_tuning", "checkpoint_seconds=0",
    ]  # fmt: skip
    whole = setup.command("whole", *settings)
    subprocess.run(whole, check=True, capture_output=True)
    command, directory = setup.command("cut", *settings), setup.folder / "cut"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (directory / "checkpoint.safetensors").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.wait()
    subprocess.run(command, check=True, capture_output=True)
    weights = [
        (setup.folder / name / "model.safetensors").read_bytes() for name in ("whole", "cut")
    ]
    record = (directory / "result.json").read_text()
    resumed = '"continued_after": []' not in record
    yield resumed and weights[0] == weights[1], "resumed" if resumed else "was not interrupted"


def check_memory(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Training computes a batch in parts where memory does not hold it."""
    if setup.device.type != "cuda":
        yield True, "skipped: only CUDA's memory can be limited"
        return
    limited = (
        "import runpy, sys, torch; "
        f"torch.cuda.set_per_process_memory_fraction({1.5e9} / torch.cuda.mem_get_info()[1]); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    settings = [
        "model=resnet50", f"data.root={setup.folder / 'three'}", "epochs=1", "batch_size=36",
        "training=fine_tuning",
    ]  # fmt: skip
    command = setup.command("memory", *settings)
    done = subprocess.run(
        [command[0], "-c", limited, *command[1:]],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    warnings = [
        line for line in done.stdout.splitlines() + done.stderr.splitlines() if "AT A TIME" in line
    ]
    measured = warnings[0].strip("! ") if warnings else done.stderr[-200:]
    yield done.returncode == 0 and bool(warnings), measured


def check_leases(setup: Setup) -> Iterator[tuple[bool, str]]:
    """Runs at once share the GPUs evenly, and each process uses one."""
    gpus = gpu_count(setup.device.type)
    if not gpus:
        yield True, "skipped: only CUDA's GPUs are leased"
        return
    command = [sys.executable, "-c", LEASING, str(setup.folder), str(2 * gpus)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2 * gpus)
    ]
    answers = [list(map(int, process.communicate()[0].split())) for process in processes]
    leased, contexts = [gpu for gpu, *_ in answers], [others for _, *others in answers]
    even = sorted(leased) == sorted([*range(gpus)] * 2)
    yield even, f"{2 * gpus} processes on {gpus} GPUs: {leased}"
    yield contexts == [[gpu] for gpu in leased], f"contexts: {contexts}"

    root = f"data.root={setup.folder / 'three'}"
    seeds = "seed=" + ",".join(map(str, range(2 * gpus)))
    cold = f"features.cache_dir={setup.folder / 'cold'}"
    device = "device=cuda"  # without a number: any of them
    command = setup.command("sweep", "model=resnet18", root, seeds, cold, device)
    done = subprocess.run([*command, "hydra/launcher=joblib"], capture_output=True, text=True)
    records = list((setup.folder / "sweep").glob("*/result.json"))
    last = "" if done.returncode == 0 else f": {done.stderr.strip()[-300:]}"
    yield done.returncode == 0 and len(records) == 2 * gpus, f"{len(records)} runs by joblib{last}"
