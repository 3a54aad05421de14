"""Metadata of a model card, as the Hugging Face hub reads it."""

import math
import re

import yaml

from visionsweep.export.formats import Format
from visionsweep.export.license import License
from visionsweep.runs.record import Record
from visionsweep.text.escaping import visible

_SPLITS = {"val": "validation", "test": "test"}
_OF_HUB = {"accuracy": "accuracy", "macro_f1": "f1"}  # names of metrics on the hub


def front_matter(record: Record, form: Format, license: License) -> str:
    """Return the metadata that the hub reads, between two lines of dashes.

    Args:
        record: whole record of a completed run.
        form: format of the exported file.
        license: license of the pretrained weights.
    """
    results = []
    dataset = visible(record.dataset)
    for split in _SPLITS:
        measures = record.deployed.get(split, {})
        values = [
            {"type": kind, "value": round(measures[name].value, 4), "name": name.replace("_", " ")}
            for name, kind in _OF_HUB.items()
            if name in measures and math.isfinite(measures[name].value)
        ]
        if values:
            slug = re.sub(r"[^\w.-]+", "-", dataset).strip("-") or "images"
            results.append(
                {
                    "task": {"type": "image-classification", "name": "Image Classification"},
                    "dataset": {"name": dataset, "type": slug, "split": _SPLITS[split]},
                    "metrics": values,
                }
            )
    tags = ["image-classification", "visionsweep", form.name.replace("_", "-")]
    if license.non_commercial:
        tags.append("non-commercial")
    content = {
        **license.front_matter,
        "library_name": form.library,
        "pipeline_tag": "image-classification",
        "tags": tags,
        "metrics": list(_OF_HUB.values()),
        "model-index": [{"name": visible(record.name), "results": results}],
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return f"---\n{text}---\n"
