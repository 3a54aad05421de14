"""Rebuild a trained model, and classify images with it."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from PIL import Image

from visionsweep.analysis.calibration import calibrated
from visionsweep.data.formats import UnreadableImageError
from visionsweep.data.transforms import Augmentation, Preprocessing, build_augmentation
from visionsweep.data.views import mean_of_views, pixels_of_view, view_digest
from visionsweep.errors import UserError
from visionsweep.features.cached import cache_dir
from visionsweep.inference.explanation import Explanation, HeatMap, explain, seen_part
from visionsweep.inference.reading import ReadImage, read_images
from visionsweep.models import backbones, classifier
from visionsweep.models.backbone_spec import BackboneSpec, resolve_backbone
from visionsweep.models.classifier import Classifier
from visionsweep.models.seeds import replicate_seeds
from visionsweep.runs import weights_file
from visionsweep.runs.discovery import Run
from visionsweep.runs.recorded_config import config_of
from visionsweep.runtime.micro_batching import AdaptiveMicroBatch, explain_out_of_memory

BATCH_SIZE = 16
THUMBNAIL = 320  # pixels per side, at most


@dataclass(frozen=True)
class Predictor:
    """A trained model in evaluation mode.

    Attributes:
        model: model from `float32[N, 3, size, size]` to the logits of its replicates,
            `float32[R, N, classes]`.
        classes: class names in the order of the logits.
        temperature: divisor of the logits for a calibrated confidence.
        augmentation: random transform of the views over which predictions are averaged, if any.
        views: their number, the image itself included.
    """

    run: Run
    model: Classifier
    classes: list[str]
    preprocessing: Preprocessing
    device: torch.device
    temperature: float
    spec: BackboneSpec
    augmentation: Augmentation | None = None
    views: int = 1


@dataclass(frozen=True)
class Prediction:
    """The prediction of one image.

    Attributes:
        path: the file; of an image in memory without one, `image N` by its place.
        thumbnail: the image as RGB, at most `THUMBNAIL` pixels per side.
        probabilities: class names and probabilities, the most probable first.
        abstained: True if the most probable class is below the minimum confidence.
        explanation: evidence for the most probable class, if requested.
    """

    path: Path
    thumbnail: Image.Image
    probabilities: list[tuple[str, float]]
    abstained: bool = False
    explanation: Explanation | None = None

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.probabilities[0][0]

    @property
    def confidence(self) -> float:
        """Its probability, 0 to 1."""
        return self.probabilities[0][1]


@explain_out_of_memory()
def load_predictor(run: Run, device: torch.device) -> Predictor:
    """Rebuild a run's model from its record and its weights file.

    Raises:
        UserError: if the backbone is unavailable or has changed since training, or if the weights
            file is damaged.
    """
    facts, data = run.record.model, run.record.data
    if run.record.status != "completed" or facts is None or data is None:
        raise UserError(f"{run.directory}: this run is {run.record.status}; it has no model")
    whole = facts.checkpoint == "model.safetensors"
    recorded = config_of(run.record)
    config, augmentation = recorded.model, build_augmentation(recorded.augmentation)
    if whole or run.record.weights == "random":
        config.weights = None  # all tensors come from the weights file or the fixed seed
    preprocessing = msgspec.convert(facts.preprocessing, Preprocessing)  # lists into tuples
    cache = cache_dir(recorded.features)
    spec = resolve_backbone(config, random_if_unavailable=False, cache=cache)
    if not whole and spec.fingerprint != facts.fingerprint:
        raise UserError(
            f"{run.directory}: the head was trained on another backbone than the present "
            f"{config.name} with {spec.weights} weights (fingerprint {facts.fingerprint}, now "
            f"{spec.fingerprint}); restore that weights file, or train again"
        )
    path = run.directory / facts.checkpoint
    trained = weights_file.read(path, run.record)  # before anything is built
    model = classifier.build(
        backbones.build(spec, preprocessing.size),
        len(data.classes),
        dropout=facts.dropout,
        frozen=not whole,
        seeds=replicate_seeds(0, len(trained.tensors["head.weight"])),
    )
    weights_file.load(model, trained.tensors, path, whole=whole)
    model.to(device).eval()
    return Predictor(
        run, model, data.classes, preprocessing, device, trained.temperature, spec, augmentation,
        1 if augmentation is None else recorded.augmentation.test_views,
    )  # fmt: skip


def predict(
    predictor: Predictor,
    images: Sequence[Path | Image.Image],
    *,
    min_confidence: float = 0.0,
    explained: bool = False,
) -> Iterator[Prediction | UnreadableImageError]:
    """Classify images, and yield for each its prediction, or the error if it cannot be read.

    The model abstains below `min_confidence`. Explanations take several times as long.
    """
    micro_batch = AdaptiveMicroBatch()
    for batch in read_images(images, predictor.preprocessing.gray_range, BATCH_SIZE):
        read = [image for image in batch if isinstance(image, ReadImage)]
        answers = iter(_classify(predictor, read, micro_batch, explained) if read else [])
        for image in batch:
            if isinstance(image, UnreadableImageError):
                yield image
                continue
            row, explanation = next(answers)
            ordered = sorted(zip(predictor.classes, row, strict=True), key=lambda p: -p[1])
            abstained = not ordered[0][1] >= min_confidence  # True for NaN, too
            image.image.thumbnail((THUMBNAIL, THUMBNAIL))
            yield Prediction(image.path, image.image, ordered, abstained, explanation)


def features(
    predictor: Predictor, images: Sequence[Path | Image.Image]
) -> Iterator[torch.Tensor | UnreadableImageError]:
    """Yield the backbone's features of each image, `float32[width]`, or why it cannot be read."""
    micro_batch, transform = AdaptiveMicroBatch(), predictor.preprocessing.build()

    def compute(pixels: torch.Tensor) -> torch.Tensor:
        of_batch: torch.Tensor = predictor.model.backbone(pixels.to(predictor.device))
        return of_batch.flatten(1).float().cpu()

    for batch in read_images(images, predictor.preprocessing.gray_range, BATCH_SIZE):
        read = [image for image in batch if isinstance(image, ReadImage)]
        rows: Iterator[torch.Tensor] = iter([])
        if read:
            pixels = torch.stack([transform(image.image) for image in read])
            with torch.inference_mode():
                rows = iter(torch.cat(micro_batch.map(compute, pixels)).unbind())
        for image in batch:
            yield image if isinstance(image, UnreadableImageError) else next(rows)


def _views(predictor: Predictor, images: list[ReadImage]) -> Iterator[torch.Tensor]:
    """Yield the images as a batch, and then each of their other views."""
    preprocessing, augmentation = predictor.preprocessing, predictor.augmentation
    transform = preprocessing.build()
    yield torch.stack([transform(image.image) for image in images])
    for number in range(1, predictor.views):
        assert augmentation is not None
        pixels = [
            pixels_of_view(
                image.image, preprocessing, augmentation,
                view_digest(image.digest, augmentation, number),
            )
            for image in images
        ]  # fmt: skip
        yield preprocessing.normalize(torch.stack(pixels))


def _classify(
    predictor: Predictor,
    images: list[ReadImage],
    micro_batch: AdaptiveMicroBatch,
    explained: bool,
) -> list[tuple[list[float], Explanation | None]]:
    """Return the class probabilities of each image, and an explanation of the highest.

    Explanations are of the image itself.
    """
    device, batches = predictor.device, _views(predictor, images)
    batch = next(batches)
    with torch.inference_mode():
        logits = [
            torch.cat(micro_batch.map(lambda x: predictor.model(x.to(device)).cpu(), view), dim=1)
            for view in (batch, *batches)
        ]
    rows = calibrated(mean_of_views(torch.stack(logits, 1)).numpy(), predictor.temperature)
    explanations: list[Explanation | None] = [None] * len(images)
    if explained:

        def explain_part(part: torch.Tensor, classes: torch.Tensor) -> list[tuple[str, HeatMap]]:
            method, heat = explain(predictor.model, part.to(device), classes.to(device))
            return [(method, heat_map) for heat_map in heat]

        best = torch.from_numpy(rows.argmax(1))
        maps = itertools.chain(*micro_batch.map(explain_part, batch, best))
        explanations = [
            Explanation(method, heat_map, seen_part(predictor.preprocessing, *image.image.size))
            for (method, heat_map), image in zip(maps, images, strict=True)
        ]
    return list(zip(rows.tolist(), explanations, strict=True))
