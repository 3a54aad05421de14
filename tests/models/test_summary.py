"""A network is described without being changed, and its graph is one that TensorBoard reads."""

import copy

import torch
from tensorboard.compat.proto.graph_pb2 import GraphDef
from torch import nn

from visionsweep.models.classifier import Classifier
from visionsweep.models.summary import describe


def network() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 3))
    return Classifier(backbone, head, frozen=True)


def test_the_summary_shows_layers_and_counts():
    summary = describe(network(), 16).summary
    assert "Conv2d" in summary and "Linear" in summary
    assert "[1, 3, 16, 16]" in summary and "[1, 3]" in summary
    assert "Trainable params: 15" in summary
    assert f"Total params: {3 * 4 * 9 + 4 + 8 + 15}" in summary


def test_the_graph_is_a_graph_def_that_names_the_layers():
    nodes = GraphDef.FromString(describe(network(), 16).graph).node
    names = " ".join(node.name for node in nodes)
    assert "backbone" in names and "head" in names
    assert any("conv" in node.op for node in nodes)


def test_describing_changes_nothing():
    model = network()
    for mode in (True, False):
        model.train(mode)
        before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        modes = [m.training for m in model.modules()]
        describe(model, 16)
        assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
        assert [m.training for m in model.modules()] == modes
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Restless(nn.Module):
    """Cannot be traced: what it returns depends on how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("not while tracing")
        return self.linear(images.flatten(1))


def test_a_network_that_cannot_be_traced_has_a_summary_and_a_warning(caplog):
    described = describe(Restless(), 8)
    assert described.graph == b""
    assert "Linear" in described.summary
    assert "graph cannot be drawn: not while tracing" in caplog.text
