"""Every setting, declared once: type, default, valid values, help, and roles.

These dataclasses are the schema under `conf/`. `derived` makes everything else from them:
validation, `--help`, run names, fingerprints, tables, and what `reproduce.py` may change.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from visionsweep.config.sections import EvidenceConfig as EvidenceConfig
from visionsweep.config.sections import FeaturesConfig as FeaturesConfig
from visionsweep.config.sections import ModelConfig as ModelConfig
from visionsweep.config.sections import OptimizerConfig as OptimizerConfig
from visionsweep.config.sections_images import AugmentationConfig as AugmentationConfig
from visionsweep.config.sections_images import DataConfig as DataConfig
from visionsweep.config.sections_images import TransformConfig as TransformConfig
from visionsweep.config.sections_training import TrainingConfig as TrainingConfig
from visionsweep.config.setting import setting

SAMPLE = "sample"  # dataset name of the built-in rendered sample

_OF_SWEEP: dict[str, Any] = {"role": "runtime", "of_sweep": True}
_PLACE: dict[str, Any] = {"path": True, "place": True, **_OF_SWEEP}


@dataclass
class Config:
    """The configuration of one run."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    transform: TransformConfig = field(default_factory=TransformConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evidence: EvidenceConfig = field(default_factory=EvidenceConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    epochs: int = setting(
        "passes over the training images", 5, ge=1, always_shown=True, hparam=True, in_steps=True
    )
    batch_size: int = setting("training images per step", 32, ge=1, hparam=True, in_steps=True)
    seed: int = setting(
        "seed of initialization, order, dropout, and augmentation",
        42,
        ge=0,
        le=2**32 - 1,
        hparam=True,
        in_steps=True,
    )
    replicates: int = setting(
        "heads trained side by side from different seeds", MISSING, ge=1, le=1000
    )
    histograms: bool = setting(
        "write histograms of weights and gradients to TensorBoard", False, role="runtime"
    )
    test_every_epoch: bool | None = setting(
        "score the test images after each epoch, not only at the end; null: on stored features",
        None,
        role="runtime",
        recorded=True,
    )
    figures: str = setting(
        "runs with figures in TensorBoard; auto: the best ones, drawn when the command ends",
        "auto",
        choices=("auto", "all", "none"),
        **_OF_SWEEP,
    )
    device: str = setting(
        "auto: cuda, mps, or cpu, the first available",
        "auto",
        role="runtime",
        recorded=True,
        valid=lambda value: bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value)),
        expected="auto, cpu, mps, cuda, or cuda:N",
    )
    threads: int | None = setting(
        "CPU threads of a run; null: all cores, shared by simultaneous runs",
        None,
        role="runtime",
        ge=1,
    )
    num_workers: int | None = setting(
        "processes that decode images if images are read in every epoch; null: none beside a CPU, "
        "and for a GPU one per thread of the run, up to 8",
        None,
        role="runtime",
        ge=0,
    )
    checkpoint_seconds: float = setting(
        "shortest time between two checkpoints of a run, in seconds", 30.0, role="runtime", ge=0
    )
    outputs_dir: str = setting("folder of all runs", "outputs", **_PLACE)
    sweep_dir: str = setting("directory of this run or sweep", MISSING, **_PLACE)
    resume: str | None = setting(
        "last, or the directory of an earlier sweep to complete", None, **_PLACE
    )
    force: bool = setting("train finished runs again, in new directories", False, **_OF_SWEEP)
    reuse: bool = setting(
        "copy equal runs that any sweep in outputs_dir has finished", False, **_OF_SWEEP
    )
    fail_fast: bool = setting("stop at the first failed run", False, **_OF_SWEEP)
    plan: bool = setting(
        "print how many runs there are, what they take, and what they can show; run nothing",
        False,
        **_OF_SWEEP,
    )
    max_runs: int | None = setting(
        "most runs of a sweep; one of more is refused", None, ge=1, **_OF_SWEEP
    )
    max_seconds: float | None = setting(
        "time after which the command ends as after Ctrl-C, between two batches; to be resumed",
        None,
        gt=0,
        **_OF_SWEEP,
    )


def register_schema() -> None:
    """Register the schema with Hydra under the name that `conf/config.yaml` starts from."""
    ConfigStore.instance().store(name="schema", node=Config)
