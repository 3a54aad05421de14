"""Rates of training on this machine: kept by each run, and read by plans of later sweeps."""

import math
from collections.abc import Mapping, Sequence

import torch

from visionsweep.config.schema import Config
from visionsweep.features.cached import cache_dir
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runs.scores import Epoch
from visionsweep.storage.rates import keep_rate, read_rate
from visionsweep.training.feature_inputs import trains_on_features
from visionsweep.training.trainer import RunContext

_OVERHEAD = "runs, beside their epochs and features"


def keep_rates(run: RunContext, epochs: Sequence[Epoch], seconds: Mapping[str, float]) -> None:
    """Keep how fast the epochs of a run were trained, and what it took beside them.

    Args:
        run: inputs of the run.
        epochs: epochs that were trained now.
        seconds: seconds of each step of the run.
    """
    cache, config = cache_dir(run.config.features), run.config
    in_epochs = sum(epoch.seconds for epoch in epochs)
    if in_epochs > 0 and config.training.linear_probe != "only":
        images = len(run.resolved.splits.train)
        kind, name, cost, units = _work(config, run.network, run.device, images)
        keep_rate(cache, kind, name, len(epochs) * units / in_epochs, cost)
    rest = seconds["data"] + seconds["model"] + seconds["training"] - in_epochs
    keep_rate(cache, _OVERHEAD, "", 1 / max(rest, 1e-3))


def expected_seconds(
    config: Config, network: LazyModel, device: torch.device, images: int
) -> tuple[float, bool] | None:
    """Return the seconds of a run beside extraction, and whether rates were measured for its kind.

    None if no run has been measured on this machine.

    Args:
        config: configuration of the run.
        network: its network.
        device: device of the backbone.
        images: number of training images.
    """
    cache = cache_dir(config.features)
    overhead = read_rate(cache, _OVERHEAD, "")
    if overhead is None:
        return None
    if config.training.linear_probe == "only":
        return 1 / overhead[0], True
    kind, name, cost, units = _work(config, network, device, images)
    rate = read_rate(cache, kind, name, cost)
    return None if rate is None else (config.epochs * units / rate[0] + 1 / overhead[0], rate[1])


def _work(
    config: Config, network: LazyModel, device: torch.device, images: int
) -> tuple[str, str, float, int]:
    """Return kind and name of the work of an epoch, its cost per unit, and its units.

    Units are steps of heads on features, or images through a network.
    """
    recipe = config.training
    if trains_on_features(config):
        name = f"{network.summary.width} {network.classes} {config.replicates} {config.batch_size}"
        cost = float(network.summary.width * network.classes * config.replicates)
        return "steps of heads", name, cost, math.ceil(images / config.batch_size)
    frozen = "frozen" if network.frozen else f"trained, {recipe.precision}, {recipe.compile}"
    kind = f"images through a {frozen} network on {device.type}"
    cost = float(network.summary.multiply_adds)
    return kind, f"{network.spec.fingerprint} {network.size}", cost, images
