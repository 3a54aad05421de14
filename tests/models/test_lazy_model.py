"""Tests of lazy models and their cached summaries."""

import os
from pathlib import Path

import msgspec
import pytest
import torch

from visionsweep.command_memory import fresh_memory
from visionsweep.config.schema import ModelConfig
from visionsweep.models import classifier, lazy_model
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.lazy_model import LazyModel
from visionsweep.models.summary import count_parameters


def named(summaries: Path, classes: int = 3, frozen: bool = True, size: int = 32) -> LazyModel:
    config = ModelConfig(label="squeezenet1_1", name="squeezenet1_1", weights=None)
    return LazyModel(
        resolve_backbone(config, random_if_unavailable=False), size, classes, frozen, summaries
    )


def without_time(summary: lazy_model.ModelSummary) -> lazy_model.ModelSummary:
    """Two measurements differ."""
    return msgspec.structs.replace(summary, milliseconds=0.0)


def test_summary_agrees_with_the_built_model(tmp_path):
    summary = named(tmp_path).summary
    model = classifier.build(named(tmp_path).backbone, 3, dropout=None, frozen=True)
    assert summary.width == 512 and summary.original_dropout == 0.5
    assert (summary.trainable, summary.parameters) == count_parameters(model) == (1539, 724_035)
    assert "Conv2d" in summary.layer_table and "724,035" in summary.layer_table


def test_summary_is_made_and_read_without_building_the_backbone(tmp_path, builds):
    first = named(tmp_path).summary
    with fresh_memory():
        assert without_time(named(tmp_path).summary) == without_time(first)
    assert builds == []


def test_summary_depends_on_classes_size_and_training(tmp_path):
    summaries = [
        named(tmp_path).summary,
        named(tmp_path, classes=4).summary,
        named(tmp_path, frozen=False).summary,
        named(tmp_path, size=64).summary,
    ]
    assert len(list(tmp_path.glob("*.msgpack"))) == 4
    assert summaries[1].trainable == 4 * 513
    assert summaries[2].trainable == summaries[2].parameters == summaries[0].parameters
    assert "[1, 64, 31, 31]" in summaries[3].layer_table
    assert "[1, 64, 31, 31]" not in summaries[0].layer_table


@pytest.mark.parametrize("damage", [b"", b"\xc1" * 40, b"cut"], ids=["empty", "noise", "cut"])
def test_damaged_cached_summary_is_replaced(tmp_path, damage):
    first = named(tmp_path).summary
    (path,) = tmp_path.glob("*.msgpack")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == b"cut" else damage)
    again = named(tmp_path).summary
    assert without_time(again) == without_time(first)
    assert msgspec.msgpack.decode(path.read_bytes(), type=lazy_model.ModelSummary) == again


WRONG = {
    "width": {"width": 7},
    "trainable": {"trainable": 5},
    "parameters": {"parameters": 1538},
    "multiply-adds": {"multiply_adds": 0},
    "no time": {"milliseconds": 0.0},
    "time that is no number": {"milliseconds": float("nan")},
    "endless time": {"milliseconds": float("inf")},
    "dropout that is no number": {"original_dropout": float("nan")},
    "summary that clears a terminal": {"layer_table": "\x1b[2J"},
    "summary that turns letters round": {"layer_table": "Conv\u202e2d"},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[str, lazy_model.ModelSummary]:
    """File name and content of a summary."""
    folder = tmp_path_factory.mktemp("summaries")
    summary = named(folder).summary
    (path,) = folder.glob("*.msgpack")
    return path.name, summary


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_inconsistent_cached_summary_is_replaced(tmp_path, made, wrong):
    path, true = tmp_path / made[0], made[1]
    path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(true, **wrong)))
    assert without_time(named(tmp_path).summary) == without_time(true)
    written = msgspec.msgpack.decode(path.read_bytes(), type=lazy_model.ModelSummary)
    assert without_time(written) == without_time(true)


def test_cached_summary_that_is_a_fifo_or_nested_deeply_is_replaced(tmp_path):
    true = named(tmp_path).summary
    (path,) = tmp_path.glob("*.msgpack")
    path.write_bytes(b"\x91" * 200_000)
    assert without_time(named(tmp_path).summary) == without_time(true)
    path.unlink()
    os.mkfifo(path)
    assert without_time(named(tmp_path).summary) == without_time(true)
    assert path.is_file()


def test_summary_keeps_the_random_state(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    for _ in ("made", "read"):
        torch.manual_seed(5)
        assert named(tmp_path).summary.width == 512
        assert torch.equal(torch.rand(3), expected)


def test_frozen_backbone_is_built_once_and_a_trained_one_each_time(tmp_path):
    frozen, trained = named(tmp_path), named(tmp_path, frozen=False)
    assert frozen.backbone is named(tmp_path, classes=9).backbone
    assert trained.backbone.module is not trained.backbone.module
