"""Formats of exported models: how each is written, and loaded again."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visionsweep.errors import UserError, nearest

if TYPE_CHECKING:
    from visionsweep.export.network import DeployedNetwork

Model = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # from pixels to probabilities

_MOST_IN_ONE_FILE = 1_900  # MB; protobuf holds 2 GiB, and larger weights go into model.onnx.data


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        file: name of the model's file.
        library: name on the Hugging Face hub of the library that runs it.
        needs: modules that writing and verifying it takes, beyond torch.
        requirements: packages that running it takes, for `pip install`.
    """

    name: str
    file: str
    library: str
    needs: tuple[str, ...]
    requirements: tuple[str, ...]


FORMATS = {
    item.name: item
    for item in (
        Format(
            "onnx", "model.onnx", "onnx", ("onnx", "onnxscript", "onnxruntime"),
            ("onnxruntime", "pillow", "numpy"),
        ),
        Format("torch_export", "model.pt2", "pytorch", (), ("torch", "pillow", "numpy")),
    )
}  # fmt: skip


def format_named(name: str) -> Format:
    """Return a format whose packages are installed.

    Raises:
        UserError: if there is no such format, or if a package is missing.
    """
    if name not in FORMATS:
        raise UserError(
            f"no such format{nearest(name, FORMATS)}",
            where=f"--format {name}",
            hint=f"Formats: {', '.join(FORMATS)}.",
        )
    if missing := [module for module in FORMATS[name].needs if find_spec(module) is None]:
        raise UserError(
            f"needs {', '.join(missing)}, not installed here",
            where=f"--format {name}",
            hint="pip install -e '.[export]'",
        )
    return FORMATS[name]


def write_model(network: "DeployedNetwork", form: Format, folder: Path) -> Path:
    """Write a network that takes any number of images at once, and return its file.

    Raises:
        UserError: if the format cannot express the network.
    """
    import torch

    file = folder / form.file
    pixels = torch.randint(0, 256, (2, 3, network.size, network.size), dtype=torch.uint8)
    shapes = {"pixels": {0: torch.export.Dim("batch", min=1)}}
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(network, (pixels,), dynamic_shapes=shapes)
            if form.name == "torch_export":
                torch.export.save(program, file)
                return file
            torch.onnx.export(
                program, (), file, dynamo=True, verbose=False,
                input_names=["pixels"], output_names=["probabilities"],
                external_data=network.megabytes > _MOST_IN_ONE_FILE,
            )  # fmt: skip
    except OSError:
        raise
    except Exception as error:  # as many kinds as there are operators
        others = [name for name in FORMATS if name != form.name]
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"this network cannot be expressed: {type(error).__name__}: {reason}",
            where=f"--format {form.name}",
            hint=f"Try --format {others[0]}.",
        ) from error
    return file


def load_model(form: Format, file: Path, threads: int) -> Model:
    """Load a written model anew, for the CPU, with some number of threads."""
    if form.name == "torch_export":
        import torch

        with _quiet():
            module = torch.export.load(file).module()

        def run_torch(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                result: torch.Tensor = module(torch.from_numpy(pixels))
            return result.numpy()

        return run_torch
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run_onnx(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        result: Any = session.run(["probabilities"], {"pixels": pixels})[0]
        return np.asarray(result, np.float32)

    return run_onnx


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' remarks on their own steps off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
