"""Refuses, once and before the first run of a sweep, pretrained weights that no run could have."""

from collections.abc import Mapping
from typing import Any

from visionsweep.config.schema import Config, DataConfig
from visionsweep.data.sources import unreachable_archives
from visionsweep.errors import UserError
from visionsweep.storage.cache import cache_folder
from visionsweep.sweeps.launchers import kind_of

# These run on this machine, with its cache and its network; what others reach is not known here.
_LOCAL = ("BasicLauncher", "JoblibLauncher", "LocalLauncher")


def runs_here(launcher: Mapping[str, Any]) -> bool:
    """Whether a launcher's runs have the cache and the network of this machine."""
    return kind_of(launcher) in _LOCAL


def refuse_unavailable_weights(configs: list[Config]) -> None:
    """Make sure of the weights of every model of a sweep, fetching those that are not here.

    Runs on the built-in sample do with random weights where there are none, so that nothing is
    refused unless some run of the sweep is on real images. Files of one's own are refused in any
    case if they do not fit their model.

    Raises:
        UserError: with what is wrong with each model's weights.
    """
    on_sample = all(config.data.source == "sample" for config in configs)
    pretrained = {
        (repr(c.model), c.features.cache_dir): c
        for c in configs
        if c.model.weights is not None and (not on_sample or c.model.source == "local")
    }
    if not pretrained:
        return
    from visionsweep.models.backbone_spec import resolve_backbone  # torch comes with this
    from visionsweep.models.backbones import admit

    of_own: list[str] = []
    of_published: list[str] = []
    for config in pretrained.values():
        model, cache = config.model, cache_folder(config.features.cache_dir)
        try:
            admit(resolve_backbone(model, random_if_unavailable=False, cache=cache), cache)
        except UserError as error:
            problems = of_own if model.source == "local" else of_published
            problems.append(f"{model.label}: {error}")
    if of_own or (of_published and any(_is_real(c.data) for c in configs)):
        raise UserError("\n".join([*of_own, *of_published]))


def _is_real(data: DataConfig) -> bool:
    """Whether runs on this data see real images, or fail; not the sample in their place."""
    if data.source != "archives":
        return data.source != "sample"
    is_sure = data.if_unreachable == "error" or str(data.base_url).startswith("file:")
    return is_sure or not unreachable_archives(data)
