"""What a network looks like: its summary as text and its graph for TensorBoard."""

import logging
import warnings
from dataclasses import dataclass

import torch
import torchinfo
from torch import nn
from torch.utils.tensorboard._pytorch_graph import graph as trace_graph

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """How a network is shown.

    Attributes:
        summary: torchinfo's table of layers.
        graph: a serialized `GraphDef`; empty where the network cannot be traced.
    """

    summary: str
    graph: bytes


def describe(model: nn.Module, size: int) -> Description:
    """Describe a network by sending one black image through it.

    Args:
        model: from `float32[N, 3, size, size]` to logits, on any device.
        size: pixels a side of an image.
    """
    device = next(model.parameters()).device
    black = torch.zeros(1, 3, size, size, device=device)
    was_training = model.training
    model.eval()
    summary = str(
        torchinfo.summary(
            model,
            input_data=black,  # by size alone it would draw from the random state
            device=device,
            col_names=("input_size", "output_size", "num_params", "trainable"),
            row_settings=("var_names",),
            depth=4,
            verbose=0,
        )
    )
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # about tracing, of no use to a reader of the log
            # Traced beforehand, without tracing a second time to check: half the time.
            traced, _ = trace_graph(torch.jit.trace(model, black, check_trace=False), black)
        graph = traced.SerializeToString()
    except Exception as error:  # tracing fails in as many ways as there are networks
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("The network's graph cannot be drawn: %s", reason)
        graph = b""
    model.train(was_training)
    return Description(summary, graph)
