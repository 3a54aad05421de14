"""Time the models of a sweep side by side, in turns, so that their times can be compared."""

import logging
import time
from collections.abc import Iterable
from pathlib import Path

from visionsweep.errors import UserError
from visionsweep.runs import costs
from visionsweep.runs.discovery import Run

log = logging.getLogger(__name__)

_ROUNDS = 5
_IMAGES = 4  # per batch


def time_models(sweep_dir: Path, runs: Iterable[Run]) -> None:
    """Time a forward pass of each model of a sweep, and write `costs.json`.

    The models take turns, five times; the fastest pass of each counts. Nothing is done if the sweep
    has a single model, or if all of them were timed together before.

    Args:
        sweep_dir: directory of the sweep.
        runs: its completed runs.
    """
    models = {costs.key_of(run.record.model): run for run in runs if run.record.model is not None}
    if len(models) < 2 or models.keys() <= costs.read(sweep_dir).keys():
        return
    import torch

    from visionsweep.models import backbones
    from visionsweep.models.backbone_spec import resolve_backbone
    from visionsweep.runs.recorded_config import config_of
    from visionsweep.runtime.threads import one_thread

    built = {}
    for key, run in models.items():
        assert run.record.model is not None
        size = costs.size_of(run.record.model)
        try:
            spec = resolve_backbone(config_of(run.record).model, random_if_unavailable=True)
            module = backbones.build(spec, size).module.eval()
        except UserError as error:
            log.warning("%s: not timed: %s", run.record.model.label, error)
            return
        built[key] = module, torch.zeros(_IMAGES, 3, size, size)
    fastest = dict.fromkeys(built, float("inf"))
    with one_thread(), torch.inference_mode():
        for module, images in built.values():
            module(images)  # the first pass allocates
        for _ in range(_ROUNDS):
            for key, (module, images) in built.items():
                start = time.perf_counter()
                module(images)
                fastest[key] = min(fastest[key], time.perf_counter() - start)
    costs.write(sweep_dir, {key: 1000 * s / _IMAGES for key, s in fastest.items()})
