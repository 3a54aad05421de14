"""Write validation features for TensorBoard's Projector, with thumbnails framed by class."""

import colorsys
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig, SpriteMetadata

from visionsweep.data.thumbnails import SHEET_SIDE, Thumbnails
from visionsweep.storage.files import write_atomically
from visionsweep.storage.locks import held
from visionsweep.text.escaping import visible

CONFIG = "projector_config.pbtxt"
_FOLDER = "projector"
_FRAME = 8  # pixels, of 64
_GOLDEN = (5**0.5 - 1) / 2


def project(
    home: Path,
    run_dir: Path,
    key: str,
    features: torch.Tensor,
    labels: Sequence[int],
    classes: Sequence[str],
    thumbnails: Thumbnails,
    names: Sequence[str],
) -> bool:
    """Write features for TensorBoard's Projector, once per backbone and images of a sweep.

    The first run with a key writes them. TensorBoard reads only files below a run's own directory,
    so they are written there, and a note in the sweep's directory, `home`, names that run. If its
    files are deleted, the next run with the key writes them again.

    Features are `float32[N, D]`. Labels are indices into `classes`. An image without a thumbnail is
    left out.

    Returns:
        Whether this run wrote them.
    """
    notes = home / f".{_FOLDER}"
    notes.mkdir(parents=True, exist_ok=True)
    with held(notes / f"{key}.lock", "writing what the Projector shows"):
        note = notes / key
        if note.is_file() and (home / note.read_text("utf-8") / CONFIG).is_file():
            return False
        shown = list(thumbnails.indices)
        _write(
            run_dir,
            features.detach()[shown].to("cpu", torch.float32).numpy(),
            [(classes[labels[index]], names[index]) for index in shown],
            _framed(thumbnails.sheet, [labels[index] for index in shown]),
        )
        write_atomically(note, os.path.relpath(run_dir, home).encode())
    return True


def _write(
    run_dir: Path, features: NDArray[np.float32], rows: list[tuple[str, str]], sheet: bytes
) -> None:
    folder = run_dir / _FOLDER
    folder.mkdir(exist_ok=True)
    # TensorBoard first takes every file for a table, and for binary only if its first line is not
    # UTF-8. UTF-8 never has the byte 0xFF: as the lowest of the first number it moves that number
    # by less than a thirty-thousandth of itself.
    write_atomically(folder / "features.bin", b"\xff" + features.astype("<f4").tobytes()[1:])
    write_atomically(folder / "thumbnails.jpg", sheet)
    # A table knows no tab and no end of line in a cell.
    cells = [[visible(" ".join(text.split())) for text in row] for row in rows]
    table = "".join("\t".join(row) + "\n" for row in [["class", "image"], *cells])
    write_atomically(folder / "metadata.tsv", table.encode("utf-8", "replace"))
    config = ProjectorConfig()
    config.embeddings.add(
        tensor_name="validation_features",
        tensor_path=f"{_FOLDER}/features.bin",
        tensor_shape=features.shape,
        metadata_path=f"{_FOLDER}/metadata.tsv",
        sprite=SpriteMetadata(
            image_path=f"{_FOLDER}/thumbnails.jpg", single_image_dim=[SHEET_SIDE, SHEET_SIDE]
        ),
    )
    # Written last: it refers to the other files.
    write_atomically(run_dir / CONFIG, str(config).encode())


def _framed(sheet: bytes, labels: Sequence[int]) -> bytes:
    """Frame each thumbnail of a sheet in the color of its class.

    The Projector opens without a color map, and no entry of its configuration chooses one.
    """
    with Image.open(io.BytesIO(sheet)) as image:
        framed = image.convert("RGB")
    draw, across = ImageDraw.Draw(framed), framed.width // SHEET_SIDE
    for place, label in enumerate(labels):
        top, left = (SHEET_SIDE * index for index in divmod(place, across))
        hue = label * _GOLDEN % 1  # far from the hues of the classes before
        color = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.9, 0.85))
        corners = left, top, left + SHEET_SIDE - 1, top + SHEET_SIDE - 1
        draw.rectangle(corners, outline=color, width=_FRAME)
    stored = io.BytesIO()
    framed.save(stored, "JPEG", quality=85, subsampling=0)
    return stored.getvalue()
