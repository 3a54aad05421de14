"""Score the linear probe on the features of a run, as a reference for those of its sweep."""

from pathlib import Path

import msgspec
import torch

from visionsweep.analysis.calibration import deployed_predictions, fit_temperature
from visionsweep.analysis.predictions import MANY_CLASSES, Predictions
from visionsweep.data.folds import group_numbers
from visionsweep.features.cached import cache_dir
from visionsweep.runs import reference
from visionsweep.runs.facts import data_facts
from visionsweep.runs.measures import estimate_metrics
from visionsweep.runs.record import ModelFacts
from visionsweep.runs.scores import Interval
from visionsweep.storage.cache import keep
from visionsweep.training.batches import TensorBatches
from visionsweep.training.linear_probe import solve
from visionsweep.training.trainer import RunContext


def write_linear_probe(run: RunContext, model: ModelFacts) -> None:
    """Solve and score the linear probe once per backbone and images; later sweeps copy its scores.

    Nothing is done without stored features, with several views of each image, if the run is a
    linear probe itself, outside a sweep, with `evidence.linear_probe=false`, or from 100 classes
    on: solving them may take longer than the sweep.
    """
    config, splits, train = run.config, run.resolved.splits, run.batches["train"]
    sweep_dir = Path(config.sweep_dir).absolute()
    if (
        not config.evidence.linear_probe
        or config.training.linear_probe == "only"
        or not isinstance(train, TensorBatches)
        or train.inputs.ndim > 2
        or run.network.classes >= MANY_CLASSES
        or config.augmentation.test_views > 1
        or sweep_dir not in run.run_dir.absolute().parents
    ):
        return
    facts = data_facts(config, splits)
    path, cached = (
        reference.path_of(folder, model, facts, config.features.precision)
        for folder in (sweep_dir, cache_dir(config.features))
    )
    if path.exists():
        return
    if (earlier := reference.read(cached)) is not None:
        reference.write(path, earlier)
        return
    images = len(splits.train)
    probe = solve(train.inputs[:images], train.labels[:images], run.network.classes)

    def predictions(split: str) -> Predictions:
        batches = run.batches[split]
        assert isinstance(batches, TensorBatches)
        weight, bias = probe.weight[0], probe.bias[0]
        logits = torch.addmm(bias, batches.inputs.cpu(), weight.T)[None]
        digests = tuple(image.digest for image in splits[split])
        labels, groups = batches.labels.cpu().numpy(), group_numbers(splits[split])
        return Predictions(logits.numpy(), labels, digests, groups=groups)

    temperature = fit_temperature(predictions("val"))
    scores = []
    for split in ("val", "test"):
        measures = estimate_metrics(deployed_predictions(predictions(split), temperature))
        scores += [measures["loss"], measures["accuracy_wilson"]]
    found = reference.Reference(*(Interval(s.value, s.low, s.high) for s in scores))
    reference.write(path, found)
    keep(cached, msgspec.json.encode(found))
