"""Facts about the images and the network of a run, for its record."""

from visionsweep.config.schema import Config
from visionsweep.data.splits import SPLITS, Splits
from visionsweep.data.transforms import Preprocessing
from visionsweep.models.network import Network
from visionsweep.runs.record import DataFacts, ModelFacts


def data_facts(config: Config, splits: Splits) -> DataFacts:
    """Return the facts about the images of a run."""
    return DataFacts(
        label=config.data.label,
        classes=list(splits.classes),
        counts=splits.counts,
        digests={split: splits.digest(split) for split in SPLITS},
        skipped=list(splits.skipped),
    )


def model_facts(config: Config, network: Network, preprocessing: Preprocessing) -> ModelFacts:
    """Return the facts about the network of a run, and how an image becomes its input."""
    card, dropout = network.card, config.model.dropout
    return ModelFacts(
        label=config.model.label,
        name=config.model.name,
        fingerprint=network.identity.fingerprint,
        width=card.width,
        dropout=card.original_dropout if dropout is None else dropout,
        trainable=card.trainable,
        parameters=card.parameters,
        preprocessing=preprocessing.facts(),
        checkpoint="head.safetensors" if network.frozen else "model.safetensors",
        milliseconds=card.milliseconds,
    )
