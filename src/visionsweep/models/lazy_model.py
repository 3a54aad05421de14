"""Models that are built only when needed: a summary of each is cached beside the features."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import torchvision
from msgspec import Meta

from visionsweep.command_memory import remembered
from visionsweep.data.images import digest_of
from visionsweep.models import backbones, classifier
from visionsweep.models.backbone_spec import BackboneSpec
from visionsweep.models.backbones import Backbone
from visionsweep.models.meta import with_values
from visionsweep.models.single_image import trains_on_one_image
from visionsweep.models.summary import (
    count_parameters,
    forward_milliseconds,
    forward_pass,
    layer_table,
)
from visionsweep.storage.cache import keep
from visionsweep.storage.untrusted import MB, read_regular
from visionsweep.text.escaping import visible

_MAX_BYTES = 16 * MB  # of a summary


class ModelSummary(msgspec.Struct, frozen=True):
    """Facts about a classifier that are needed without building it.

    Attributes:
        original_dropout: dropout probability before the last layer of the original network.
        layer_table: the modules with output shapes and parameters, as text.
        multiply_adds: of a forward pass per image.
        milliseconds: time of a forward pass per image, on one CPU core in batches of 4.
    """

    width: Annotated[int, Meta(ge=1, le=2**24)]
    original_dropout: Annotated[float, Meta(ge=0, le=1)]
    trainable: Annotated[int, Meta(ge=0, le=2**53)]
    parameters: Annotated[int, Meta(ge=0, le=2**53)]
    layer_table: str
    multiply_adds: Annotated[int, Meta(ge=1, le=2**53)]
    milliseconds: Annotated[float, Meta(gt=0, le=1e9)]


@remembered(maxsize=1)
def build_shared(spec: BackboneSpec, size: int) -> Backbone:
    """Build a backbone, or return the last one that was built."""
    return backbones.build(spec, size)


@dataclass(frozen=True)
class LazyModel:
    """A backbone and the size of its head, built on demand.

    Attributes:
        size: image size in pixels.
        frozen: whether the backbone stays unchanged in training.
        summary_dir: folder of cached model summaries.
    """

    spec: BackboneSpec
    size: int
    classes: int
    frozen: bool
    summary_dir: Path

    @property
    def backbone(self) -> Backbone:
        """The backbone. A frozen one is shared between runs and must not be changed."""
        build = build_shared if self.frozen else backbones.build
        return build(self.spec, self.size)

    @property
    def trains_on_one_image(self) -> bool:
        """Whether the model can be trained on a batch of one image."""
        return self.frozen or trains_on_one_image(self.spec.name, self.spec.source, self.size)

    @cached_property
    def summary(self) -> ModelSummary:
        """The model's summary: from the cache, or of its outline, which has no weights."""
        facts = (self.spec.fingerprint, self.size, self.classes, self.frozen)
        versions = (torch.__version__, torchvision.__version__)
        path = self.summary_dir / f"{digest_of(repr((facts, versions)).encode())}.msgpack"
        try:
            summary = msgspec.msgpack.decode(read_regular(path, _MAX_BYTES), type=ModelSummary)
            self._check(summary)
            return summary
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            pass
        backbone, of_backbone = backbones.outline(self.spec, self.size)
        model = classifier.build(backbone, self.classes, dropout=None, frozen=self.frozen)
        of_head = forward_pass(model.head, torch.zeros(1, backbone.width))
        logits = {model: of_head.shapes[model.head]}
        multiply_adds = of_backbone.multiply_adds + of_head.multiply_adds
        table = layer_table(model, of_backbone.shapes | of_head.shapes | logits, multiply_adds)
        summary = ModelSummary(
            backbone.width,
            backbone.dropout,
            *count_parameters(model),
            table,
            multiply_adds,
            forward_milliseconds({"": (with_values(model), self.size)})[""],
        )
        keep(path, msgspec.msgpack.encode(summary))
        return summary

    def _check(self, summary: ModelSummary) -> None:
        """Raise a ValueError if a cached summary, perhaps another user's, cannot be ours."""
        head = self.classes * (summary.width + 1)
        if summary.parameters < summary.trainable or summary.trainable < head:
            raise ValueError("numbers of parameters that no model has")
        if self.frozen and summary.trainable != head:
            raise ValueError("a frozen backbone has no trainable parameters")
        if visible(summary.layer_table, lines=True) != summary.layer_table:
            raise ValueError("a layer table with invisible characters")
