"""The settings of the config group `training`, declared as in `schema`."""

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from visionsweep.config.setting import setting

_IN_STEPS: dict[str, Any] = {"added": True, "hparam": True, "in_steps": True}


@dataclass
class TrainingConfig:
    """What is trained: the head, or the whole network."""

    name: str = setting(
        "short name in tables", MISSING, role="derived", names_group=True, hparam=True
    )
    freeze_backbone: bool = setting("train only the head", MISSING)
    linear_probe: str = setting(
        "logistic regression on the backbone's features, solved to convergence: before the first "
        "epoch, or instead of training",
        "none",
        choices=("none", "first", "only"),
        added=True,
    )
    schedule: str = setting(
        "learning rate after the warm-up; cosine: falls to 0 at the last step, so 5 epochs are not "
        "the first half of 10",
        "constant",
        choices=("constant", "cosine"),
        **_IN_STEPS,
    )
    warmup: float = setting(
        "share of all steps in which the learning rate rises linearly",
        0.0,
        ge=0,
        lt=1,
        **_IN_STEPS,
    )
    clip_norm: float | None = setting(
        "largest norm of a gradient; longer ones are scaled down; null: any",
        None,
        gt=0,
        **_IN_STEPS,
    )
    label_smoothing: float = setting(
        "share of each label that is spread over all classes",
        0.0,
        ge=0,
        lt=1,
        **_IN_STEPS,
    )
    ema: float = setting(
        "decay per step of an exponential moving average of the weights, which is then scored and "
        "saved; 0: none",
        0.0,
        ge=0,
        lt=1,
        **_IN_STEPS,
    )
    freeze_batchnorm: bool = setting(
        "keep the statistics of BatchNorm while the backbone is trained",
        False,
        **_IN_STEPS,
    )
    layer_decay: float = setting(
        "factor of the learning rate from each layer of a trained backbone to the one before it",
        1.0,
        gt=0,
        le=1,
        **_IN_STEPS,
    )
    gradual_unfreezing: float = setting(
        "share of all steps over which the layers of a trained backbone start to train, one after "
        "another from the head to the input; 0: all at once",
        0.0,
        ge=0,
        le=1,
        **_IN_STEPS,
    )
    mixup: float = setting(
        "alpha of MixUp, which averages pairs of training images and of their labels, for a "
        "trained backbone; 0: none",
        0.0,
        ge=0,
        **_IN_STEPS,
    )
    cutmix: float = setting(
        "alpha of CutMix, which pastes a part of one training image into another; with mixup, each "
        "batch takes one of the two; 0: none",
        0.0,
        ge=0,
        **_IN_STEPS,
    )
    patience: int | None = setting(
        "epochs without a lower validation loss after which training ends; the epoch with the "
        "lowest is scored and saved; null: the last one is",
        None,
        ge=1,
        **_IN_STEPS,
    )
    precision: str = setting(
        "of a trained backbone's training steps; bf16: autocast to bfloat16, if the device has it; "
        "scores are computed in fp32",
        "fp32",
        choices=("fp32", "bf16"),
        **_IN_STEPS,
    )
    compile: bool = setting(
        "compile a trained backbone for a GPU, which takes a minute or two; pays for transformers "
        "in bf16",
        False,
        **_IN_STEPS,
    )
    class_weights: str = setting(
        "weight of an image in the training loss; balanced: the rarer its class, the larger",
        "none",
        choices=("none", "balanced"),
        added=True,
        hparam=True,
    )
    sampling: str = setting(
        "training images of an epoch; balanced: drawn with replacement, each class equally often",
        "uniform",
        choices=("uniform", "balanced"),
        added=True,
        hparam=True,
    )
    focal_gamma: float = setting(
        "exponent of the focal loss, which favors hard images; 0: cross-entropy",
        0.0,
        ge=0,
        le=10,
        added=True,
        hparam=True,
    )
    replicates: int = setting("default of replicates", MISSING, role="derived", ge=1, le=1000)
