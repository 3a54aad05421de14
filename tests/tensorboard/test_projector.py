"""Validation features in the Projector of a real TensorBoard, written once in a sweep."""

import io
import multiprocessing
import shutil
import warnings
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.plugins.projector.projector_plugin import _read_tensor_tsv_file

from visionsweep.data.images import ImageFile, digest_of
from visionsweep.data.thumbnails import SHEET_SIDE, Thumbnails, thumbnails
from visionsweep.tensorboard.projector import project
from visionsweep.tensorboard.writer import RunWriter

CLASSES = ["pizza", "steak\tor\nnot", "寿司 $"]
NAMES = [f"photo {number}.jpg" for number in range(5)]
LABELS = [0, 0, 1, 2, 2]


@pytest.fixture
def pictures(tmp_path) -> Thumbnails:
    files = []
    for number, colour in enumerate(["red", "red", "lime", "blue", "blue"]):
        path = tmp_path / "images" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), colour).save(path)
        files.append(ImageFile(path, LABELS[number], digest_of(path.read_bytes())))
    return thumbnails(files, tmp_path / "cache")


@pytest.fixture
def features() -> torch.Tensor:
    return torch.rand(5, 7, generator=torch.Generator().manual_seed(0))


def a_run(home: Path, name: str) -> Path:
    run_dir = home / name
    run_dir.mkdir(parents=True)
    with RunWriter(run_dir) as writer:
        writer.begin({"name": name}, "epochs: 1")
    return run_dir


def files_of(run_dir: Path) -> set[str]:
    return {str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()}


def binary(run_dir: Path, width: int) -> np.ndarray:
    return np.fromfile(run_dir / "projector" / "features.bin", "<f4").reshape(-1, width)


ALL = {
    "projector_config.pbtxt",
    "projector/features.bin",
    "projector/metadata.tsv",
    "projector/thumbnails.jpg",
}


def test_tensorboard_shows_the_features_with_thumbnails_framed_by_class(
    tmp_path, features, pictures, start_tensorboard
):
    outputs = tmp_path / "outputs"
    home = outputs / "2026-01-31" / "12-00-00-000001"
    for run, key in (("b0-10", "b0"), ("b0-20", "b0"), ("b2-10", "b2")):
        project(home, a_run(home, run), key, features, LABELS, CLASSES, pictures, NAMES)
    runs = [f"2026-01-31/12-00-00-000001/{run}" for run in ("b0-10", "b0-20", "b2-10")]
    board = start_tensorboard(outputs, lambda board: len(board.ask("runs")) == 3)

    assert sorted(board.ask("runs")) == runs  # one an experiment, none for the features
    assert sorted(board.ask("plugin/projector/runs")) == [runs[0], runs[2]]
    asked = f"run={quote(runs[0])}"
    (embedding,) = board.ask(f"plugin/projector/info?{asked}")["embeddings"]
    assert embedding["tensorShape"] == [5, 7]
    assert embedding["sprite"]["singleImageDim"] == [SHEET_SIDE, SHEET_SIDE]
    asked += f"&name={embedding['tensorName']}"

    tensor = np.frombuffer(board.get(f"plugin/projector/tensor?{asked}"), np.float32)
    np.testing.assert_allclose(tensor.reshape(5, 7), features.numpy(), rtol=4e-5)
    table = board.get(f"plugin/projector/metadata?{asked}").decode().splitlines()
    assert [line.split("\t") for line in table] == [
        ["class", "image"],
        ["pizza", "photo 0.jpg"],
        ["pizza", "photo 1.jpg"],
        ["steak or not", "photo 2.jpg"],
        ["寿司 $", "photo 3.jpg"],
        ["寿司 $", "photo 4.jpg"],
    ]
    with Image.open(io.BytesIO(board.get(f"plugin/projector/sprite_image?{asked}"))) as sheet:
        across, frames = sheet.width // SHEET_SIDE, []
        for place, colour in enumerate([(255, 0, 0)] * 2 + [(0, 255, 0)] + [(0, 0, 255)] * 2):
            row, column = divmod(place, across)
            middle = [SHEET_SIDE * place + SHEET_SIDE // 2 for place in (column, row)]
            seen = sheet.getpixel(tuple(middle))
            assert np.abs(np.subtract(seen, colour)).max() < 10
            frames.append(sheet.getpixel((SHEET_SIDE * column + 3, SHEET_SIDE * row + 3)))
    frame = {label: np.array(color) for label, color in zip(LABELS, frames, strict=True)}
    for label, color in zip(LABELS, frames, strict=True):
        apart = {other: np.abs(color - frame[other]).max() for other in frame}
        assert all((apart[other] < 20) == (other == label) for other in apart)


def test_tensorboard_on_the_sweep_directory_shows_the_projector(
    tmp_path, features, pictures, start_tensorboard
):
    home = tmp_path / "outputs" / "2026-01-31" / "12-00-00-000001"
    project(home, a_run(home, "b0-10"), "b0", features, LABELS, CLASSES, pictures, NAMES)
    board = start_tensorboard(home, lambda board: len(board.ask("runs")) == 1)
    assert board.ask("plugin/projector/runs") == ["b0-10"]
    asked = "run=b0-10&name=validation_features"
    assert len(board.get(f"plugin/projector/tensor?{asked}")) == 5 * 7 * 4
    assert board.get(f"plugin/projector/sprite_image?{asked}")


def test_second_run_with_the_same_key_writes_nothing(tmp_path, features, pictures):
    first, second, third = (a_run(tmp_path, name) for name in ("first", "second", "third"))
    before = files_of(second)
    assert project(tmp_path, first, "b0", features, LABELS, CLASSES, pictures, NAMES)
    stamps = {name: (first / name).stat().st_mtime_ns for name in ALL}
    assert not project(tmp_path, second, "b0", features, LABELS, CLASSES, pictures, NAMES)
    assert project(tmp_path, third, "b2", features, LABELS, CLASSES, pictures, NAMES)
    assert files_of(second) == before
    assert files_of(first) > ALL and files_of(third) > ALL
    assert {name: (first / name).stat().st_mtime_ns for name in ALL} == stamps


def test_files_of_a_deleted_run_are_written_again(tmp_path, features, pictures):
    first, second = a_run(tmp_path, "first"), a_run(tmp_path, "second")
    project(tmp_path, first, "b0", features, LABELS, CLASSES, pictures, NAMES)
    shutil.rmtree(first)
    assert project(tmp_path, second, "b0", features, LABELS, CLASSES, pictures, NAMES)
    assert files_of(second) > ALL


def test_single_run_writes_its_own_projector(tmp_path, features, pictures):
    run_dir = a_run(tmp_path, "run")
    assert project(run_dir, run_dir, "b0", features, LABELS, CLASSES, pictures, NAMES)
    assert files_of(run_dir) > ALL


def test_a_sweep_can_be_moved(tmp_path, features, pictures):
    home = tmp_path / "here"
    project(home, a_run(home, "first"), "b0", features, LABELS, CLASSES, pictures, NAMES)
    home.rename(tmp_path / "there")
    home = tmp_path / "there"
    second = a_run(home, "second")
    assert not project(home, second, "b0", features, LABELS, CLASSES, pictures, NAMES)


def _worker(home: Path, name: str, pictures: Thumbnails, barrier, answers) -> None:
    run_dir = home / name
    run_dir.mkdir()
    barrier.wait(60)
    wrote = project(home, run_dir, "b0", torch.rand(5, 7), LABELS, CLASSES, pictures, NAMES)
    answers.put((name, wrote))


def test_one_of_several_workers_writes(tmp_path, pictures):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        fork = multiprocessing.get_context("fork")
        barrier, answers = fork.Barrier(4), fork.Queue()
        workers = [
            fork.Process(target=_worker, args=(tmp_path, str(n), pictures, barrier, answers))
            for n in range(4)
        ]
        for worker in workers:
            worker.start()
    told = dict(answers.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
    assert sorted(told.values()) == [False, False, False, True]
    with_files = [path.parent.name for path in tmp_path.glob("*/projector_config.pbtxt")]
    assert [name for name, wrote in told.items() if wrote] == with_files


def test_an_image_without_a_thumbnail_is_left_out_with_its_row(tmp_path, features, pictures):
    some = Thumbnails(pictures.archive, (0, 2, 4), ("a", "b", "c"))
    run_dir = a_run(tmp_path, "run")
    project(tmp_path, run_dir, "b0", features, LABELS, CLASSES, some, NAMES)
    kept = binary(run_dir, 7)
    np.testing.assert_allclose(kept, features[[0, 2, 4]].numpy(), rtol=4e-5)
    table = (run_dir / "projector" / "metadata.tsv").read_text("utf-8").splitlines()
    assert [line.split("\t")[1] for line in table[1:]] == [NAMES[0], NAMES[2], NAMES[4]]


@pytest.mark.parametrize("value", [0.0, 0.5, 2.0, 8.75e-43])
def test_numbers_that_look_like_text_are_not_read_as_text(tmp_path, pictures, value):
    run_dir = a_run(tmp_path, "run")
    same = torch.full((5, 7), value)
    project(tmp_path, run_dir, "b0", same, LABELS, CLASSES, pictures, NAMES)
    with pytest.raises(UnicodeDecodeError):  # by this TensorBoard knows that they are binary
        _read_tensor_tsv_file(str(run_dir / "projector" / "features.bin"))
    np.testing.assert_allclose(binary(run_dir, 7), same.numpy(), rtol=4e-5, atol=1e-42)


def test_undecodable_file_name_does_not_stop_the_run(tmp_path, features, pictures):
    run_dir = a_run(tmp_path, "run")
    names = ["\udcff.jpg", *NAMES[1:]]
    project(tmp_path, run_dir, "b0", features, LABELS, CLASSES, pictures, names)
    assert r"\udcff.jpg" in (run_dir / "projector" / "metadata.tsv").read_text("utf-8")
