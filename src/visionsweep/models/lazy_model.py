"""A network that is built only when it must be: what is known of it is kept beside the features."""

import time
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import torchvision
from msgspec import Meta
from tensorboard.compat.proto.graph_pb2 import GraphDef
from torch import nn

from visionsweep.data.images import digest_of
from visionsweep.models import backbones, classifier
from visionsweep.models.backbones import Backbone, BackboneSpec
from visionsweep.models.single_image import trains_on_one_image
from visionsweep.models.summary import describe
from visionsweep.runtime.threads import one_thread
from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, read_regular
from visionsweep.text.escaping import visible

_LARGEST = 256 * MB  # of a summary


class ModelSummary(msgspec.Struct, frozen=True):
    """What is known of a classifier without building it.

    Attributes:
        width: number of features.
        original_dropout: what the original network has before its last layer.
        trainable, parameters: numbers of parameters.
        layer_table: its layers with output shapes and parameters.
        graph: a serialized `GraphDef`; empty where the network cannot be traced.
        milliseconds: a forward pass takes for one image, on one core of a CPU, in batches of 4.
    """

    width: Annotated[int, Meta(ge=1, le=2**24)]
    original_dropout: Annotated[float, Meta(ge=0, le=1)]
    trainable: Annotated[int, Meta(ge=0, le=2**53)]
    parameters: Annotated[int, Meta(ge=0, le=2**53)]
    layer_table: str
    graph: bytes
    milliseconds: Annotated[float, Meta(gt=0, le=1e9)]


@lru_cache(maxsize=1)
def _built(spec: BackboneSpec, size: int) -> Backbone:
    """Build a backbone, unless it is the last one that was built."""
    return backbones.build(spec, size)


@torch.inference_mode()
def _milliseconds(model: nn.Module, size: int) -> float:
    """Time a forward pass on one core: the quickest of five, for others use the machine too."""
    images = torch.zeros(4, 3, size, size)
    was_training = model.training
    model.eval()
    seconds = []
    with one_thread():
        for _ in range(5):
            start = time.perf_counter()
            model(images)
            seconds.append(time.perf_counter() - start)
    model.train(was_training)
    return 1000 * min(seconds) / len(images)


@dataclass(frozen=True)
class LazyModel:
    """A backbone and the head to be put on it.

    Attributes:
        spec: which backbone.
        size: pixels a side of its images.
        classes: number of classes.
        frozen: whether the backbone stays as it is.
        summary_dir: folder of cached model summaries.
    """

    spec: BackboneSpec
    size: int
    classes: int
    frozen: bool
    summary_dir: Path

    @property
    def backbone(self) -> Backbone:
        """The backbone, built now if it is not at hand; nobody may change a frozen one."""
        build = _built if self.frozen else backbones.build
        return build(self.spec, self.size)

    @property
    def trains_on_one_image(self) -> bool:
        """Whether a batch of one image is enough to train it."""
        return self.frozen or trains_on_one_image(self.spec.name, self.spec.source, self.size)

    @cached_property
    def summary(self) -> ModelSummary:
        """The network's summary: read if there is one, otherwise made from the network."""
        facts = (self.spec.fingerprint, self.size, self.classes, self.frozen)
        versions = (torch.__version__, torchvision.__version__)
        path = self.summary_dir / f"{digest_of(repr((facts, versions)).encode())}.msgpack"
        try:
            summary = msgspec.msgpack.decode(read_regular(path, _LARGEST), type=ModelSummary)
            self._check(summary)
            return summary
        except (OSError, ValueError, RecursionError):  # of msgspec's errors, too
            summary = self._describe()
        keep(path, msgspec.msgpack.encode(summary))
        return summary

    def _check(self, summary: ModelSummary) -> None:
        """Refuse a summary that contradicts itself or holds what none of ours does.

        Raises:
            ValueError: if its numbers do not agree, its summary controls a terminal, or its graph
                is none.
        """
        head = self.classes * (summary.width + 1)
        if summary.parameters < summary.trainable or summary.trainable < head:
            raise ValueError("numbers of parameters that no network has")
        if self.frozen and summary.trainable != head:
            raise ValueError("a frozen network trains its head only")
        if visible(summary.layer_table, lines=True) != summary.layer_table:
            raise ValueError("a summary with characters that cannot be seen")
        try:
            GraphDef.FromString(summary.graph)
        except Exception as error:  # protobuf has no types for its own
            raise ValueError("a graph that cannot be read") from error

    def _describe(self) -> ModelSummary:
        backbone = self.backbone
        model = classifier.build(backbone, self.classes, dropout=None, frozen=self.frozen)
        trainable, parameters = model.count_parameters()
        shown = describe(model, self.size)
        return ModelSummary(
            backbone.width, backbone.dropout, trainable, parameters, shown.summary, shown.graph,
            _milliseconds(model, self.size),
        )  # fmt: skip
