"""Export a run's model: written, loaded anew, verified, timed, and described."""

import runpy
from pathlib import Path

import msgspec
import torch

from visionsweep.data.transforms import Preprocessing
from visionsweep.export.card import Facts, code_of, write_card
from visionsweep.export.folder import CARD, CODE, LABELS, STEPS, written_at_once
from visionsweep.export.formats import Format, load_model, write_model
from visionsweep.export.license import license_of
from visionsweep.export.network import DeployedNetwork
from visionsweep.export.recorded_images import find_images
from visionsweep.export.verification import milliseconds, verify
from visionsweep.inference.predictor import load_predictor
from visionsweep.runs.discovery import Run
from visionsweep.runs.paths import RECORD
from visionsweep.runs.record_file import read_record
from visionsweep.runs.recorded_config import config_of
from visionsweep.text.escaping import json_text


def export_run(
    run: Run, form: Format, folder: Path, choice: str, images: Path | None = None
) -> Facts:
    """Export the deployed predictor of a run to a new folder, with its model card.

    Args:
        run: completed run that does not average predictions over views.
        form: file format.
        folder: folder to write, which is there only if everything succeeded.
        choice: sentence on how the run was chosen, for the model card.
        images: folder that now holds the validation images; None: where they were.

    Returns:
        What the model card states beside the record.

    Raises:
        UserError: if the model cannot be rebuilt or expressed, if it predicts otherwise than the
            record, or if no validation image is there.
    """
    recorded = find_images(run, images)
    predictor = load_predictor(run, torch.device("cpu"))
    network = DeployedNetwork(predictor)
    license = license_of(run.record, config_of(run.record).model)
    with written_at_once(folder) as place:
        file = write_model(network, form, place)
        code = code_of(form)
        (place / CODE).write_text(code, encoding="utf-8")
        (place / LABELS).write_text(json_text(predictor.classes) + "\n", encoding="utf-8")
        steps = json_text(_steps(predictor.preprocessing)) + "\n"
        (place / STEPS).write_text(steps, encoding="utf-8")
        threads = torch.get_num_threads()
        model = load_model(form, file, threads)
        read_pixels = runpy.run_path(str(place / CODE))["pixels_of"]
        verification = verify(
            model, run, recorded, predictor.classes, predictor.preprocessing, read_pixels
        )
        verification.refuse_changed()
        original, exported = milliseconds(network, model)
        parts = (part.stat().st_size for part in place.glob(f"{form.file}*"))
        sizes, times = (sum(parts) / 1e6, network.megabytes), (exported, original)
        facts = Facts(form, choice, license, verification, sizes, times, threads)
        card = write_card(run, read_record(run.directory / RECORD), facts, code)
        (place / CARD).write_text(card, encoding="utf-8")
    return facts


def _steps(preprocessing: Preprocessing) -> dict[str, object]:
    """Return what happens to an image before and in the model."""
    size = preprocessing.size
    return {
        "input": f"uint8[N, 3, {size}, {size}], RGB, 0 to 255",
        "normalized_by": "the model itself",
        **msgspec.to_builtins(preprocessing.facts()),
    }
