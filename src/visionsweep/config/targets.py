"""Optimizer and augmentation classes that `_target_` names, from an allow-list of modules.

The name comes from a configuration or from somebody else's record. Only these modules are imported,
and only classes of the expected kind are called.
"""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from visionsweep.errors import UserError, nearest

MODULES = {
    "optimizer": ("torch.optim", "timm.optim"),
    "augmentation": ("torchvision.transforms.v2",),
}
_BASES = {"optimizer": "torch.optim.Optimizer", "augmentation": "torch.nn.Module"}
# Valid with these arguments, without a look at their modules: importing torch takes seconds.
_STANDARD = {
    "torch.optim.Adam": {"lr", "weight_decay"},
    "torch.optim.AdamW": {"lr", "weight_decay"},
    "torch.optim.SGD": {"lr", "weight_decay", "momentum"},
    "torchvision.transforms.v2.TrivialAugmentWide": set(),
    "torchvision.transforms.v2.RandomHorizontalFlip": {"p"},
}


def implied_target(group: str, name: Any) -> str | None:
    """Return the class that `GROUP.name` implies if `_target_` is null, as in older records."""
    if group == "optimizer":
        return f"torch.optim.{name}"
    return "torchvision.transforms.v2.TrivialAugmentWide" if name == "trivial_augment" else None


def is_standard(target: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a class is one of torch's usual ones, with arguments that it always takes."""
    return target in _STANDARD and arguments.keys() <= _STANDARD[target]


def optimizer_target(config: Any) -> str:
    """Return the class of an optimizer, `torch.optim.Adam`."""
    return config._target_ or f"{implied_target('optimizer', config.name)}"


def optimizer_arguments(config: Any) -> dict[str, Any]:
    """Return the keyword arguments of an optimizer; those at 0 or null by default are left out."""
    arguments = {"lr": config.lr, **config.arguments}
    if config.weight_decay or optimizer_target(config) in _STANDARD:
        arguments["weight_decay"] = config.weight_decay
    if config.momentum is not None:
        arguments["momentum"] = config.momentum
    return arguments


def augmentation_target(config: Any) -> str | None:
    """Return the class of an augmentation, or None if training images stay as they are."""
    return config._target_ or implied_target("augmentation", config.name)


def is_augmented(config: Any) -> bool:
    """Return whether an augmentation changes training images at random."""
    return augmentation_target(config) is not None or config.crop_scale < 1


def is_augmented_anew(config: Any) -> bool:
    """Return whether training images are augmented anew in every epoch, not in stored views."""
    return is_augmented(config) and not config.views


def _items(argument: Any) -> list[Any] | None:
    """Return the items of an argument that is a list, or None."""
    is_list = isinstance(argument, Sequence) and not isinstance(argument, str)
    return list(argument) if is_list else None


def _part(argument: Any) -> tuple[str, dict[str, Any]] | None:
    """Return class and arguments of an argument that is an augmentation itself, or None."""
    if not (isinstance(argument, Mapping) and isinstance(argument.get("_target_"), str)):
        return None
    return argument["_target_"], {str(k): v for k, v in argument.items() if k != "_target_"}


def refuse_target(group: str, target: str, arguments: Mapping[str, Any]) -> None:
    """Refuse a class that is not allowed or does not take these arguments; build nothing.

    Augmentations among the arguments of one, as those of `Compose`, are examined like it.

    Raises:
        UserError: if the module is not on the list, or has no such class, or if an argument is
            unknown or missing.
    """
    if is_standard(target, arguments):
        return
    if "momentum" in arguments.keys() - _STANDARD.get(target, arguments.keys()):
        raise UserError(
            f"{target.rpartition('.')[2]} has no momentum",
            where=f"optimizer.momentum={arguments['momentum']}",
            hint="Use optimizer=sgd, or leave it out.",
        )
    where = f"{group}._target_={target}"
    module_name, _, name = target.rpartition(".")
    if module_name not in MODULES[group]:
        raise UserError(
            f"only classes in {' and '.join(MODULES[group])} are allowed",
            where=where,
            hint=f"Write the name as {MODULES[group][0]}.NAME.",
        )
    if group == "augmentation":
        items = chain.from_iterable(_items(value) or [value] for value in arguments.values())
        for part in filter(None, map(_part, items)):
            refuse_target(group, *part)
    reserved = [key for key in arguments if str(key).startswith("_")]
    if reserved:
        raise UserError(f"no such argument: {', '.join(reserved)}", where=f"{group}.arguments")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        hint = "pip install -e '.[lite]'" if module_name.startswith("timm") else None
        raise UserError(f"cannot be imported: {error}", where=where, hint=hint) from error
    base_module, _, base_name = _BASES[group].rpartition(".")
    base = getattr(importlib.import_module(base_module), base_name)
    classes = {
        key: item
        for key, item in vars(module).items()
        if not key.startswith("_") and inspect.isclass(item) and issubclass(item, base)
    }
    if name not in classes or classes[name] is base:
        raise UserError(f"{module_name} has no such class{nearest(name, classes)}", where=where)
    signature = inspect.signature(classes[name])
    parameters = signature.parameters
    takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters.values())
    if not takes_any and (unknown := [key for key in arguments if key not in parameters]):
        raise UserError(
            f"{name} has no such argument{nearest(unknown[0], parameters)}",
            where=f"{group}.arguments.{unknown[0]}",
        )
    try:
        signature.bind(**dict(arguments) | ({"params": []} if group == "optimizer" else {}))
    except TypeError as error:
        raise UserError(f"{name}: {error}", where=f"{group}.arguments") from error


def build_target(group: str, target: str, arguments: Mapping[str, Any], **objects: Any) -> Any:
    """Build the class that a setting names from its arguments and further objects.

    Raises:
        UserError: if the class is not allowed, or refuses the arguments.
    """
    refuse_target(group, target, arguments)
    module, _, name = target.rpartition(".")
    try:
        if group == "augmentation":
            arguments = {key: _with_parts(value) for key, value in arguments.items()}
        return getattr(importlib.import_module(module), name)(**objects, **arguments)
    except Exception as error:
        raise UserError(f"{target}: {error}", where=f"{group}.arguments") from error


def _with_parts(argument: Any) -> Any:
    """Return an argument of an augmentation with the augmentations that it names."""
    if (items := _items(argument)) is not None:
        return [_with_parts(item) for item in items]
    part = _part(argument)
    return argument if part is None else build_target("augmentation", *part)
