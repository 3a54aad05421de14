"""License of pretrained weights, for the model card."""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata

from visionsweep.config.schema import ModelConfig
from visionsweep.report.licenses import is_non_commercial
from visionsweep.runs.record import RecordSummary

# Identifiers of the Hugging Face hub; others are `other` with a name of their own.
_OF_HUB = {
    "afl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "mit",
}  # fmt: skip


@dataclass(frozen=True)
class License:
    """The license of weights.

    Attributes:
        name: its name in lower case; None if no source states one.
        note: who states it, or why none is stated: one sentence.
    """

    name: str | None
    note: str

    @property
    def non_commercial(self) -> bool:
        """Whether it forbids commercial use."""
        return is_non_commercial(self.name or "")

    @property
    def front_matter(self) -> dict[str, str]:
        """Its lines in the metadata of a model card."""
        if self.name in _OF_HUB:
            return {"license": str(self.name)}
        return {"license": "other", "license_name": self.name or "not-stated"}


def license_of(record: RecordSummary, model: ModelConfig) -> License:
    """Return the license of the weights that a run started from.

    Args:
        record: record of a completed run.
        model: its configured model.
    """
    facts, weights = record.model, str(record.weights)
    assert facts is not None
    if weights == "random":
        return License(None, "No pretrained weights were used.")
    if facts.license:
        return License(facts.license, "As timm states it for these weights.")
    if model.source == "torchvision":
        if "SWAG" in weights:
            return License("cc-by-nc-4.0", "torchvision refers to the license of SWAG.")
        return License(
            None,
            "torchvision's code has the BSD 3-clause license; it states none for these weights, "
            "which were trained on ImageNet-1K.",
        )
    if model.source == "local":
        return License(None, "They come from a file of the trainer's own, which states none.")
    stated = _of_package(str(model.weights)) if model.source == "package" else None
    if stated:
        return License(stated, "As the package of the weights states it.")
    if model.source == "package":
        from visionsweep.models.timm_models import pretrained_config

        if license := pretrained_config(model.name).license:
            return License(
                license,
                f"As timm states it for its weights of {model.name}; the package states none.",
            )
    return License(None, "Its source states none.")


def _of_package(name: str) -> str | None:
    """Return the license that an installed package states."""
    try:
        facts = metadata(name)
    except PackageNotFoundError:
        return None
    for key in ("License-Expression", "License"):
        stated = " ".join(facts.get_all(key) or []).strip()
        if stated and stated != "UNKNOWN" and "\n" not in stated:
            return stated.lower().replace(" ", "-")
    return None
