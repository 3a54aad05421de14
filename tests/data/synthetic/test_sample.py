"""The rendered sample: nested, reproducible, robust to kills, and not solved by color alone."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from visionsweep.data.synthetic import sample
from visionsweep.data.synthetic.sample import CLASSES, COUNTS, render_sample, sample_files

SMALL = 32  # pixels: what is claimed here does not depend on the size
FEW = {"train": 10, "val": 2, "test": 1}


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "COUNTS", FEW)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real sample, small, with 5% of the training images: 38, 45, and 25 per class."""
    return render_sample(tmp_path_factory.mktemp("data"), 0.05, size=SMALL)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.jpg"))}


def test_ten_percent_is_75_training_45_validation_and_25_test_images_per_class() -> None:
    assert dict(COUNTS) == {"train": 750, "val": 45, "test": 25}
    for split, count in {"train": 75, "val": 45, "test": 25}.items():
        assert [(path.parent.name, path.name) for path, _ in sample_files(Path(), split, 0.1)] == [
            (label, f"{index:04d}.jpg") for label in CLASSES for index in range(count)
        ]


def test_rendered_files_are_exactly_those_of_the_fraction(rendered: Path) -> None:
    named = {path for split in COUNTS for path, _ in sample_files(rendered, split, 0.05)}
    assert set(rendered.rglob("*.jpg")) == named
    assert len(named) == 3 * (38 + 45 + 25)


def test_images_are_readable_rgb_and_all_different(rendered: Path) -> None:
    digests = set()
    for path in rendered.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()
            assert image.mode == "RGB"
            assert min(image.size) == SMALL
            assert np.asarray(image).std() > 5
            digests.add(sha256(image.tobytes()).digest())
    assert len(digests) == 3 * (38 + 45 + 25)


@pytest.mark.usefixtures("few_images")
def test_small_fraction_is_contained_in_a_larger_one_bitwise(tmp_path: Path) -> None:
    part = bytes_of(render_sample(tmp_path / "part", 0.1, size=SMALL))
    more = bytes_of(render_sample(tmp_path / "more", 0.3, size=SMALL))
    assert len(part) == 3 * (1 + 2 + 1) and len(more) == 3 * (3 + 2 + 1)
    assert part.items() <= more.items()


def test_bytes_do_not_depend_on_order_or_process() -> None:
    keys = [("train", "sushi", 3), ("test", "pizza", 0), ("train", "steak", 749)]
    here = [sample.jpeg(*key, SMALL) for key in keys]
    code = (
        "import sys; from hashlib import sha256;"
        "from visionsweep.data.synthetic.sample import jpeg;"
        f"print(*[sha256(jpeg(*key, {SMALL})).hexdigest() for key in {keys[::-1]}]);"
        "assert 'torch' not in sys.modules"
    )
    source = str(Path(sample.__file__).parents[3])
    environment = {**os.environ, "PYTHONPATH": source}
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert process.stdout.split() == [sha256(jpeg).hexdigest() for jpeg in here[::-1]]


@pytest.mark.usefixtures("few_images")
def test_existing_images_are_not_rendered_again(tmp_path: Path) -> None:
    folder = render_sample(tmp_path, 0.1, size=SMALL)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    deleted = folder / "val" / "steak" / "0001.jpg"
    deleted.unlink()
    render_sample(tmp_path, 0.2, size=SMALL)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpg")}
    assert {path for path, time in before.items() if after[path] != time} == {deleted}


@pytest.mark.usefixtures("few_images")
@pytest.mark.parametrize("killed_in", ["write", "replace"])
def test_killed_rendering_leaves_no_partial_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    opened = 0
    usual_open = Path.open

    class Dying:
        """A file that is killed half-way through."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> "Dying":
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> None:
            self.file.write(content[: len(content) // 2])
            raise KeyboardInterrupt

    def open_until_the_fifth(path: Path, mode: str = "r", **options: Any) -> Any:
        nonlocal opened
        file = usual_open(path, mode, **options)
        if mode != "xb" or not path.is_relative_to(tmp_path / "sample"):  # a lock's note
            return file
        opened += 1
        return Dying(file) if opened == 5 and killed_in == "write" else file

    def die_instead_of_renaming(source: Path, target: Path) -> None:
        if opened == 5:
            raise KeyboardInterrupt
        Path(source).rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_until_the_fifth)
        if killed_in == "replace":
            patch.setattr(Path, "replace", die_instead_of_renaming)
        with pytest.raises(KeyboardInterrupt):
            render_sample(tmp_path, 0.1, size=SMALL)
    left = bytes_of(tmp_path)
    assert len(left) == 3  # the version mark was the first of the four files written whole
    folder = render_sample(tmp_path, 0.1, size=SMALL)
    whole = bytes_of(render_sample(tmp_path / "undisturbed", 0.1, size=SMALL))
    assert bytes_of(folder) == whole
    assert not list(folder.rglob("*.part"))


@pytest.mark.usefixtures("few_images")
def test_images_of_another_version_or_size_are_never_mixed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = render_sample(tmp_path, 0.3, size=SMALL)
    monkeypatch.setattr(sample, "VERSION", sample.VERSION + 1)
    monkeypatch.setattr(sample, "SEED", sample.SEED + 1)  # stands for changed drawing code
    old = bytes_of(folder)
    render_sample(tmp_path, 0.1, size=SMALL)
    new = bytes_of(folder)
    assert len(new) == 3 * (1 + 2 + 1)
    assert not set(new.values()) & set(old.values())
    render_sample(tmp_path, 0.1, size=SMALL + 8)
    with Image.open(folder / "train" / "pizza" / "0000.jpg") as image:
        assert min(image.size) == SMALL + 8


def test_files_of_a_fraction_exclude_those_of_a_larger_one(rendered: Path) -> None:
    files = sample_files(rendered, "train", 0.02)
    assert [(p.parent.name, int(p.stem)) for p, _ in files] == [
        (label, index) for label in CLASSES for index in range(15)
    ]
    assert all(path.is_file() and path.parent.name == label for path, label in files)
    assert len(sample_files(rendered, "train", 1e-6)) == 3
    assert len(sample_files(rendered, "test", 0.02)) == 75


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_fraction_out_of_range_is_refused(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        render_sample(tmp_path, fraction)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("few_images")
def test_two_processes_at_once_draw_each_image_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from visionsweep.data.synthetic import sample;"
        f"sample.COUNTS = {FEW}; draw = sample.jpeg;"
        "sample.jpeg = lambda *key: (print(*key), draw(*key))[1];"
        f"sample.render_sample(Path(sys.argv[1]), 0.3, size={SMALL})"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(sample.__file__).parents[3])}
    command = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    drawn = b"".join(process.communicate()[0] for process in both).splitlines()
    assert [process.returncode for process in both] == [0, 0]
    assert len(drawn) == len(set(drawn)) == 3 * (3 + 2 + 1)


def color_histogram(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        cells = np.asarray(image).reshape(-1, 3) // 64 @ (16, 4, 1)
    return np.sqrt(np.bincount(cells, minlength=64) / len(cells))


def test_color_histogram_does_not_solve_the_sample(rendered: Path) -> None:
    tables, labels = {}, {}
    for split in COUNTS:
        files = sample_files(rendered, split, 0.05)
        tables[split] = np.stack([color_histogram(path) for path, _ in files])
        labels[split] = np.array([CLASSES.index(label) for _, label in files])
    seen = np.concatenate([tables["val"], tables["test"]])  # 210 images, as many as 10% of train
    truth = np.concatenate([labels["val"], labels["test"]])
    unseen, answer = tables["train"], labels["train"]
    weights, bias = np.zeros((64, 3)), np.zeros(3)
    for _ in range(400):  # softmax regression by gradient descent, a little decay
        logits = seen @ weights + bias
        error = np.exp(logits - logits.max(1, keepdims=True))
        error = error / error.sum(1, keepdims=True) - np.eye(3)[truth]
        weights -= 2.0 * (seen.T @ error / len(seen) + 1e-4 * weights)
        bias -= 2.0 * error.mean(0)
    accuracy = float(((unseen @ weights + bias).argmax(1) == answer).mean())
    print(f"color histogram accuracy {accuracy:.3f}")
    assert accuracy < 0.85
