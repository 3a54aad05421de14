"""Facts about images and network for the record."""

from visionsweep.config.schema import Config
from visionsweep.data.folds import group_numbers
from visionsweep.data.split_names import CROSS_FIT, SPLITS
from visionsweep.data.splits import Splits
from visionsweep.data.transforms import Preprocessing
from visionsweep.models.lazy_model import LazyModel
from visionsweep.runs.record import DataFacts, ModelFacts, TrainingImage
from visionsweep.text.paths import as_text

MOST_TRAINING_IMAGES = 16  # that a record names


def data_facts(config: Config, splits: Splits) -> DataFacts:
    """Return the facts about the images of a run."""
    names = (*SPLITS, CROSS_FIT) if config.evidence.name == CROSS_FIT else SPLITS
    groups = {split: group_numbers(splits[split]) for split in names}
    return DataFacts(
        label=config.data.label,
        classes=list(splits.classes),
        counts={split: len(splits[split]) for split in names},
        digests={split: splits.digest(split) for split in names},
        skipped=list(splits.skipped),
        groups={split: int(of.max()) + 1 for split, of in groups.items() if of is not None},
    )


def training_images(splits: Splits) -> list[TrainingImage]:
    """Return 16 training images, evenly spaced, so that classes have their shares."""
    count = min(len(splits.train), MOST_TRAINING_IMAGES)
    places = (round(k * (len(splits.train) - 1) / max(count - 1, 1)) for k in range(count))
    return [
        TrainingImage(as_text(image.path), image.digest, splits.classes[image.label])
        for image in (splits.train[place] for place in places)
    ]


def model_facts(config: Config, network: LazyModel, preprocessing: Preprocessing) -> ModelFacts:
    """Return the facts about the network of a run and its preprocessing."""
    summary, dropout = network.summary, config.model.dropout
    return ModelFacts(
        label=config.model.label,
        name=config.model.name,
        fingerprint=network.spec.fingerprint,
        width=summary.width,
        dropout=summary.original_dropout if dropout is None else dropout,
        trainable=summary.trainable,
        parameters=summary.parameters,
        preprocessing=preprocessing.facts(),
        checkpoint="head.safetensors" if network.frozen else "model.safetensors",
        multiply_adds=summary.multiply_adds,
        milliseconds=summary.milliseconds,
        license=network.spec.license,
    )
