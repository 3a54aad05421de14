"""The record, `result.json`: everything that other programs need to know about a run.

`schema_version`, `status`, `name`, `dataset`, `weights`, `config`, `history` and
`metrics.{final,best}.{train,val,test}.{loss,accuracy}` are read by other people's scripts. They
keep their names and meaning; changing one raises `SCHEMA_VERSION`.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from visionsweep.config.derived import flatten
from visionsweep.config.schema import SAMPLE
from visionsweep.data.split_names import CROSS_FIT
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
from visionsweep.runs.near_duplicates import NearDuplicates
from visionsweep.runs.scores import ClassMeasures, Epoch, Measure, Metrics, Scores

SCHEMA_VERSION: Final = 1
INTERVALS_VERSION: Final = 2  # of how intervals are computed; 2: of a loss with few wrong images

# `crashed` and `running` are statuses of runs that have no record (runs/claims.py).
Status = Literal["completed", "failed", "interrupted", "crashed", "running"]


class ModelFacts(Struct, frozen=True):
    """The trained network."""

    label: Name  # short name
    name: Name  # of its builder
    fingerprint: Digest  # hash of the backbone's name, weights and library
    width: Natural  # number of features
    dropout: Share  # dropout probability of the head
    trainable: Count  # number of trainable parameters
    parameters: Count  # number of all parameters
    preprocessing: dict[Name, Leaf | list[Leaf]]  # `data.transforms.Preprocessing` as a mapping
    checkpoint: Literal["head.safetensors", "model.safetensors"]  # the trained weights
    multiply_adds: Count | None = None  # of a forward pass per image
    milliseconds: Positive | None = None  # of a forward pass per image, on one CPU core
    license: Name | None = None  # of the weights, where timm states it


class DataFacts(Struct, frozen=True, omit_defaults=True):
    """The images of a run."""

    label: Name  # short name of the choice
    # Names of the classes; a label is an index into them.
    classes: Annotated[list[Name], Meta(min_length=1, max_length=MOST_CLASSES)]
    counts: dict[Split, Count]  # number of images per split
    digests: dict[Split, Digest]  # equal ones mean the same images and classes
    skipped: list[Text]  # files that could not be read, with the reason
    # Number of groups per split, of images that are not independent; empty without groups.
    groups: dict[Split, Natural] = {}


class TrainingImage(Struct, frozen=True):
    """One of the training images that a figure shows."""

    path: Text
    digest: Digest  # of its content
    label: Name  # name of its class


class Failure(Struct, frozen=True):
    """The error that ended a run."""

    type: Text
    message: Text


class RecordSummary(Struct, kw_only=True):
    """A record without its history, so that ten thousand of them fit into memory."""

    schema_version: Literal[1] = SCHEMA_VERSION  # version of the file's format
    status: Status
    name: Name  # readable name of the choices
    dataset: Name | None = None  # `sample` is the synthetic one
    weights: Name | None = None  # name of the pretrained weights, or `random`
    config: Tree  # the whole configuration
    metrics: Metrics | None = None  # means over replicates; None unless completed
    # Every metric of `analysis.metrics` with its interval, means over replicates; `val`,
    # `test`, and, if the run is cross-fitted, `cross_fit`.
    evaluation: dict[Split, dict[Name, Measure]] = {}
    # The same for the deployed predictor, by which runs are ranked: the mean over replicates of
    # softmax(logits / temperature).
    deployed: dict[Split, dict[Name, Measure]] = {}
    temperature: Temperature | None = None  # fitted on the validation images
    heads_version: Natural = 1  # `models.heads.HEADS_VERSION` of the version that trained it
    intervals_version: Natural = 1  # `INTERVALS_VERSION` of the version that scored the run
    model: ModelFacts | None = None  # None if the run failed before it was known
    data: DataFacts | None = None  # None if the run failed before they were known
    seconds: dict[Name, NonNegative] = {}  # wall-clock seconds per step, and `total`
    started: Text  # date and time, ISO 8601 with offset
    device: dict[Name, Leaf] = {}  # the device, with the number of CPU threads
    versions: dict[Name, Text] = {}  # of Python and of the packages that affect numbers
    git: dict[Name, Leaf] | None = None  # commit, and whether the checkout was modified
    command: list[Text] = []  # the command line
    failure: Failure | None = None
    fingerprint: Digest | None = None  # of all that determines the numbers (runs/fingerprint.py)
    continued_after: list[Count] = []  # epochs after which the run was resumed
    reused_from: Text | None = None  # directory of the run whose results were reused
    images_at_once: Natural | None = None  # micro-batch size where memory did not hold a batch

    @property
    def evidence(self) -> Split:
        """The split that the run is compared on: `val`, or `cross_fit` if it is cross-fitted."""
        return CROSS_FIT if CROSS_FIT in self.deployed else "val"

    @property
    def compared(self) -> Scores | None:
        """Scores that the run is ranked by: those of its evidence."""
        return self._scores(self.evidence)

    @property
    def validation(self) -> Scores | None:
        """Validation scores of the deployed predictor; of older records, means over replicates."""
        return self._scores("val")

    def _scores(self, split: Split) -> Scores | None:
        measures = self.deployed.get(split, {})
        if "loss" in measures and "accuracy" in measures:
            return Scores(measures["loss"].value, measures["accuracy"].value)
        return None if self.metrics is None else self.metrics.final.val

    @property
    def is_solved(self) -> bool:
        """Whether the head was solved, without epochs or seed (`training.linear_probe=only`)."""
        return flatten(self.config).get("training.linear_probe") == "only"

    @property
    def is_synthetic(self) -> bool:
        """Whether the images are the synthetic sample."""
        return self.dataset == SAMPLE


class Record(RecordSummary, kw_only=True):
    """The whole record of a run."""

    history: list[Epoch] = []
    # Scores of each class by name, for `val` and `test`; empty in older records.
    classes: dict[Split, dict[Name, ClassMeasures]] = {}
    # Near duplicates across splits; None if not looked for, as in older records.
    near_duplicates: NearDuplicates | None = None
    # Some training images, of all classes if they are few; empty in older records.
    training_images: Annotated[list[TrainingImage], Meta(max_length=16)] = []
