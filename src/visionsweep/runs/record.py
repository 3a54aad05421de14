"""The record, `result.json`: everything that other programs need to know about a run.

`schema_version`, `status`, `name`, `dataset`, `weights`, `config`, `history` and
`metrics.{final,best}.{train,val,test}.{loss,accuracy}` are read by other people's scripts. They
keep their names and meaning; changing one raises `SCHEMA_VERSION`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from visionsweep.config.derived import unused_keys
from visionsweep.config.schema import SAMPLE
from visionsweep.runs.fields import (
    MOST_CLASSES,
    Count,
    Digest,
    Leaf,
    Name,
    Natural,
    NonNegative,
    Positive,
    Share,
    Split,
    Temperature,
    Text,
    Tree,
)
from visionsweep.runs.measures import ClassMeasures, Measure
from visionsweep.runs.scores import Epoch, Metrics, Scores

SCHEMA_VERSION = 1

# `crashed` and `running` are statuses of runs that have no record (runs/claims.py).
Status = Literal["completed", "failed", "interrupted", "crashed", "running"]


class ModelFacts(Struct, frozen=True):
    """The trained network.

    Attributes:
        label: short name.
        name: name of its builder.
        fingerprint: hash of the backbone's name, weights and library.
        width: number of features.
        dropout: dropout probability of the head.
        trainable, parameters: numbers of parameters.
        preprocessing: `data.transforms.Preprocessing` as a mapping.
        checkpoint: file of the trained weights, in the run directory.
        milliseconds: duration of a forward pass per image, on one CPU core.
    """

    label: Name
    name: Name
    fingerprint: Digest
    width: Natural
    dropout: Share
    trainable: Count
    parameters: Count
    preprocessing: dict[Name, Leaf | list[Leaf]]
    checkpoint: Literal["head.safetensors", "model.safetensors"]
    milliseconds: Positive | None = None


class DataFacts(Struct, frozen=True):
    """The images of a run.

    Attributes:
        label: short name of the choice.
        classes: class names; a label is an index into them.
        counts: number of images per split.
        digests: digest per split; equal digests mean the same images and classes.
        skipped: files that could not be read, with the reason.
    """

    label: Name
    classes: Annotated[list[Name], Meta(min_length=1, max_length=MOST_CLASSES)]
    counts: dict[Split, Count]
    digests: dict[Split, Digest]
    skipped: list[Text]


class Failure(Struct, frozen=True):
    """The error that ended a run."""

    type: Text
    message: Text


class RecordSummary(Struct, kw_only=True):
    """A record without its history, so that ten thousand of them fit into memory.

    Attributes:
        schema_version: version of the file's format.
        status: outcome of the run.
        name: readable name of the choices.
        dataset: name of the data set; `sample` is the synthetic one.
        weights: name of the pretrained weights, or `random`.
        config: the whole configuration.
        metrics: final and best scores, means over replicates; None unless completed.
        evaluation: every metric of `analysis.metrics` with its interval, for `val` and `test`;
            means over replicates.
        deployed: the same for the deployed predictor, the mean over replicates of
            softmax(logits / temperature), by which runs are ranked.
        temperature: fitted on the validation images.
        model, data: the network and the images; None if the run failed before they were known.
        seconds: wall-clock seconds per step, and `total`.
        started: date and time, ISO 8601 with offset.
        device: the device, with the number of CPU threads.
        versions: versions of Python and of the packages that affect numbers.
        git: commit and whether the checkout was modified; None outside a checkout.
        command: the command line.
        failure: the error, or None.
        fingerprint: hash of all that determines the numbers (runs/fingerprint.py), or None.
        continued_after: epochs after which the run was resumed.
        reused_from: directory of the run whose results were reused instead of training, or None.
        images_at_once: micro-batch size where device memory did not hold a batch; None: a batch.
    """

    schema_version: int = SCHEMA_VERSION
    status: Status
    name: Name
    dataset: Name | None = None
    weights: Name | None = None
    config: Tree
    metrics: Metrics | None = None
    evaluation: dict[Split, dict[Name, Measure]] = {}
    deployed: dict[Split, dict[Name, Measure]] = {}
    temperature: Temperature | None = None
    model: ModelFacts | None = None
    data: DataFacts | None = None
    seconds: dict[Name, NonNegative] = {}
    started: Text
    device: dict[Name, Leaf] = {}
    versions: dict[Name, Text] = {}
    git: dict[Name, Leaf] | None = None
    command: list[Text] = []
    failure: Failure | None = None
    fingerprint: Digest | None = None
    continued_after: list[Count] = []
    reused_from: Text | None = None
    images_at_once: Natural | None = None

    @property
    def validation(self) -> Scores | None:
        """Validation scores of the deployed predictor; of older records, means over replicates."""
        measures = self.deployed.get("val", {})
        if "loss" in measures and "accuracy" in measures:
            return Scores(measures["loss"].value, measures["accuracy"].value)
        return None if self.metrics is None else self.metrics.final.val

    @property
    def is_solved(self) -> bool:
        """Whether the head was solved, without epochs or seed (`training.linear_probe=only`)."""
        return bool(unused_keys(self.config))

    @property
    def is_synthetic(self) -> bool:
        """Whether the images are the synthetic sample."""
        return self.dataset == SAMPLE


class Record(RecordSummary, kw_only=True):
    """The whole record of a run.

    Attributes:
        history: scores per epoch.
        classes: scores of each class for `val` and `test`, by name; empty in older records.
    """

    history: list[Epoch] = []
    classes: dict[Split, dict[Name, ClassMeasures]] = {}
