"""The model of a run, for predictions, for features, and as a module of PyTorch."""

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self, TypeAlias, TypeVar

import torch
from PIL import Image
from torch import nn
from torchvision.transforms import v2

from visionsweep.api.sweeps import Runs
from visionsweep.cli.selection import choose_run, expand, named_run
from visionsweep.data.formats import UnreadableImageError
from visionsweep.inference import predictor as inference
from visionsweep.inference.predictor import Prediction, Predictor
from visionsweep.runs.discovery import Run
from visionsweep.runtime.devices import pick_device

log = logging.getLogger(__name__)

Images: TypeAlias = str | Path | Image.Image | Sequence[str | Path | Image.Image]
OnBadImage: TypeAlias = Literal["error", "skip"]
_Answer = TypeVar("_Answer")


def load(run: Run | Runs | str | Path, *, device: str = "auto") -> "Model":
    """Rebuild the model of a run, as `predict.py` does.

    Args:
        run: a run; its directory, or its `result.json`; or runs, or a folder of runs, of which the
            recommended one is taken, else the one of the lowest loss.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, or `mps`.

    Raises:
        UserError: if there is no completed run, if its backbone is unavailable or has changed, or
            if its weights file is damaged.
    """
    if isinstance(run, str | Path):
        place = Path(run)
        run = named_run(place, "predict") if not place.is_dir() else choose_run(place)[0]
    elif isinstance(run, Runs):
        run = run.best
    return Model(inference.load_predictor(run, pick_device(device)))


class Model(nn.Module):
    """The deployed predictor of a run, in evaluation mode.

    Called with a batch, it returns logits whose softmax are the calibrated probabilities: the
    logarithm of the mean over replicates of softmax(logits / temperature). Gradients flow to the
    images. The predictor that is deployed does not train: `train()` leaves it in evaluation mode.

    Attributes:
        classes: class names in the order of the logits.
        temperature: divisor of the logits of the replicates.
        transform: from a PIL image in RGB to the input, `float32[3, size, size]`.
        run: the run, with its `directory` and `record`.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self._predictor = predictor
        self.classifier = predictor.model
        self.classes = predictor.classes
        self.temperature = predictor.temperature
        self.transform: v2.Compose = predictor.preprocessing.build()
        self.run = predictor.run
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, also as a part of a module that trains."""
        return super().train(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits, `float32[N, classes]`, of images, `float32[N, 3, size, size]`.

        Images are those of `transform`, as they are, also if the run averages over views
        (`augmentation.test_views`).
        """
        logits = self.classifier.head(self._features(images)) / self.temperature
        mean: torch.Tensor = logits.log_softmax(2).logsumexp(0) - math.log(len(logits))
        return mean

    def predict(
        self, images: Images, *, min_confidence: float = 0.0, on_bad_image: OnBadImage = "error"
    ) -> list[Prediction]:
        """Classify images with calibrated confidence, as `predict.py` does.

        Args:
            images: an image file, a folder with all images below it, a PIL image, or several.
            min_confidence: probability below which a prediction is `abstained`.
            on_bad_image: `error`, or `skip` to leave out, with a warning, what cannot be read.

        Returns:
            A prediction per image, with `path`, `label`, `confidence`, and `probabilities`.

        Raises:
            UserError: if a path does not exist, or an image cannot be read.
        """
        sources = _sources(images, on_bad_image)
        answers = inference.predict(self._on_device(), sources, min_confidence=min_confidence)
        return list(_readable(answers, on_bad_image))

    def features(
        self, images: Images | torch.Tensor, *, on_bad_image: OnBadImage = "error"
    ) -> torch.Tensor:
        """Return the features of the backbone, `float32[N, width]`.

        Args:
            images: as of `predict`, with features on the CPU and without gradients; or a batch as
                of `forward`.
            on_bad_image: as of `predict`.

        Raises:
            UserError: as `predict`.
        """
        if isinstance(images, torch.Tensor):
            return self._features(images)
        sources = _sources(images, on_bad_image)
        rows = list(_readable(inference.features(self._on_device(), sources), on_bad_image))
        width = self.classifier.head.weight.shape[2]
        return torch.stack(rows) if rows else torch.empty(0, width)

    def _features(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.classifier.backbone(images).flatten(1).float()
        return features

    def _on_device(self) -> Predictor:
        """Return the predictor on the device that the module was moved to."""
        return replace(self._predictor, device=self.classifier.head.weight.device)


def _sources(images: Images, on_bad_image: OnBadImage) -> list[Path | Image.Image]:
    """Return files and images in memory, those of a folder in the order of their names."""
    several = [images] if isinstance(images, str | Path | Image.Image) else images
    sources: list[Path | Image.Image] = []
    for image in several:
        if isinstance(image, Image.Image):
            sources.append(image)
            continue
        listing = expand([Path(image)])
        sources += listing.images
        errors = (UnreadableImageError(reason, where=path) for path, reason in listing.left_out)
        list(_readable(errors, on_bad_image))
    return sources


def _readable(
    answers: Iterable[_Answer | UnreadableImageError], on_bad_image: OnBadImage
) -> Iterator[_Answer]:
    """Yield answers, and raise or log what cannot be read."""
    for answer in answers:
        if not isinstance(answer, UnreadableImageError):
            yield answer
        elif on_bad_image == "error":
            raise answer
        else:
            log.warning("left out: %s", answer)
