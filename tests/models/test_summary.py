"""Tests of the layer table."""

import copy

import torch
from torch import nn

from visionsweep.models.classifier import Classifier
from visionsweep.models.meta import with_values
from visionsweep.models.summary import count_parameters, forward_pass, layer_table


def network() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1))
    head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 3))
    return Classifier(backbone, head, frozen=True)


def table(model: nn.Module) -> str:
    passed = forward_pass(model, torch.zeros(1, 3, 16, 16))
    return layer_table(model, passed.shapes, passed.multiply_adds)


def test_layer_table_shows_shapes_and_parameters_of_each_layer():
    rows = {line.split()[0]: line.split() for line in table(network()).splitlines()}
    assert rows["backbone"][1:2] == ["(Sequential)"] and rows["backbone"][-2:] == ["120", "no"]
    assert "[1, 4, 14, 14]" in " ".join(rows["0"]) or "(Dropout)" in rows["0"]
    assert rows["head"][-2:] == ["15", "yes"]


def test_layer_table_ends_with_the_totals():
    total = 3 * 4 * 9 + 4 + 8 + 15
    assert count_parameters(network()) == (15, total)
    assert table(network()).splitlines()[-3:] == [
        f"Parameters: {total}",
        "Trainable parameters: 15",
        f"Multiply-adds per image: {14 * 14 * 4 * 27 + 12:,}",
    ]


def test_layer_table_leaves_the_network_and_the_random_state_unchanged():
    model = network()
    for mode in (True, False):
        model.train(mode)
        before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        modes = [m.training for m in model.modules()]
        table(model)
        assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
        assert [m.training for m in model.modules()] == modes
        assert torch.equal(torch.get_rng_state(), state)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_network_without_values_gets_zeros_of_the_same_shapes():
    model = network()
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    filled = with_values(network().to("meta"))
    assert {name: tensor.shape for name, tensor in filled.state_dict().items()} == shapes
    assert not any(tensor.is_meta or tensor.any() for tensor in filled.state_dict().values())
    assert with_values(model) is model and model.head[1].weight.any()
