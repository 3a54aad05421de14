"""What the runs of a sweep need: features to extract, time, disk space; gathered run by run."""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from visionsweep.config.schema import Config
from visionsweep.data.split_names import SPLITS
from visionsweep.data.splits import Splits
from visionsweep.data.transforms import build_augmentation
from visionsweep.data.views import views_of
from visionsweep.features.cached import extraction_rate, store_of
from visionsweep.runtime.devices import pick_device
from visionsweep.training.feature_inputs import trains_on_features
from visionsweep.training.networks import refuse_recipe
from visionsweep.training.rates import expected_seconds
from visionsweep.training.resolve import Resolved, resolve
from visionsweep.training.reuse import completed_runs
from visionsweep.training.trainer import network_of

_BYTES_BESIDE = 100_000  # of events, record, and predictions of a run


@dataclass
class BackbonePlan:
    """What the runs of a plan need of one backbone's features.

    Attributes:
        images: digests of images and views.
        missing: those of them without stored features.
        rate: images per second, as `extraction_rate` returns it.
        bytes_per_image: size of the features of an image.
    """

    images: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    rate: tuple[float, bool] | None = None
    bytes_per_image: int = 0

    @property
    def seconds(self) -> float | None:
        """Seconds of extracting what is missing; None without a rate."""
        if not self.missing:
            return 0.0
        return None if self.rate is None else len(self.missing) / self.rate[0]


@dataclass
class Plan:
    """What is known of a sweep before it runs.

    Attributes:
        finished: names of runs that a sweep in `outputs_dir` has completed, with their directories.
        problems: what keeps runs from being planned, by name.
        training: seconds of each run beside extraction, and whether they are of rates for its kind
            and not scaled; None for a run without a rate.
        run_bytes: size of the directories of all runs.
        validation: the images of each set of validation images, by its digest.
    """

    runs: list[str] = field(default_factory=list)
    finished: dict[str, Path] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    backbones: dict[str, BackbonePlan] = field(default_factory=lambda: defaultdict(BackbonePlan))
    training: list[tuple[float, bool] | None] = field(default_factory=list)
    run_bytes: int = 0
    validation: dict[str, Splits] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Seconds of all runs, one after another; None if a rate is missing."""
        parts = [None if of_run is None else of_run[0] for of_run in self.training]
        parts += [backbone.seconds for backbone in self.backbones.values()]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    @property
    def is_scaled(self) -> bool:
        """Whether some rate is scaled from that of another network."""
        rates = [backbone.rate for backbone in self.backbones.values() if backbone.missing]
        return not all(rate[1] for rate in [*rates, *self.training] if rate is not None)

    @property
    def bytes(self) -> int:
        """Size of all that is written: features and directories of runs."""
        backbones = self.backbones.values()
        return self.run_bytes + sum(len(b.missing) * b.bytes_per_image for b in backbones)


def add_run(plan: Plan, name: str, config: Config) -> None:
    """Add a run to the plan.

    Raises:
        UserError: if its images or weights are not on this machine, or if it cannot be run.
    """
    if config.data.source == "archives":
        config.data.if_unreachable = "error"
    device = pick_device(config.device)
    resolved = _resolved_without_extraction(config, device)
    splits = resolved.splits
    refuse_recipe(config, device)
    plan.validation[splits.digest("val")] = splits
    if earlier := completed_runs(Path(config.outputs_dir).absolute()).get(resolved.fingerprint):
        plan.finished[name] = earlier[0]
        return
    network = network_of(config, resolved)
    augmentation, settings = build_augmentation(config.augmentation), config.augmentation
    scored = [*splits.val, *splits.test]
    trained = [*splits.train] if trains_on_features(config) else []
    if config.training.freeze_backbone or config.training.linear_probe == "first":
        wanted = [*trained, *(scored if config.training.freeze_backbone else splits.train)]
        given = network, resolved.preprocessing, device, config.features
        digests = {file.digest for file in wanted}
        missing = store_of(*given).lacking(list(digests))
        if augmentation is not None and settings.views:
            views = [v for f in trained for v in views_of(f, augmentation, settings.views)]
            views += [v for f in scored for v in views_of(f, augmentation, settings.test_views)]
            of_views = {view.digest for view in views}
            missing |= store_of(*given, augmentation).lacking(list(of_views))
            digests |= of_views
        of = plan.backbones[f"{config.model.label}, {network.size} pixels"]
        of.images |= digests
        of.missing |= missing
        of.rate = extraction_rate(network, device, config.features)
        of.bytes_per_image = 4 * network.summary.width
    summary, replicates = network.summary, config.replicates
    whole = 0 if config.training.freeze_backbone else summary.parameters
    logits = replicates * len(splits.classes) * len(scored)
    plan.run_bytes += 4 * (whole + replicates * summary.width * len(splits.classes) + logits)
    plan.run_bytes += _BYTES_BESIDE
    plan.training.append(expected_seconds(config, network, device, len(splits.train)))


def _resolved_without_extraction(config: Config, device: torch.device) -> Resolved:
    """Resolve a configuration; near duplicates are excluded if the features are stored."""
    kept = replace(config, data=replace(config.data, near_duplicates="allow"))
    resolved = resolve(kept)
    if config.data.near_duplicates != "exclude":
        return resolved
    network = replace(network_of(config, resolved), frozen=True)
    digests = {image.digest for split in SPLITS for image in resolved.splits[split]}
    store = store_of(network, resolved.preprocessing, device, config.features)
    return resolved if store.lacking(list(digests)) else resolve(config)
