"""Data sets of torchvision in their own layouts, planted on disk or served on loopback."""

import bz2
import functools
import hashlib
import inspect
import io
import json
import pickle
import tarfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from scipy.io import savemat

from visionsweep.config.published_datasets import TORCHVISION_DATASETS
from visionsweep.config.schema import DataConfig
from visionsweep.data.split_loading import load_splits
from visionsweep.errors import UserError

NOWHERE = "http://127.0.0.1:9/"  # the discard port: refused at once


def load(name: str, root: Path, **changes):
    given = {"label": name, "source": "torchvision", "name": name, "root": str(root)}
    return load_splits(DataConfig(**given | changes))


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 12), (number % 256, number // 256, 90)).save(path)


def plant_food(root: Path) -> Path:
    """Food-101's own layout: two classes, 6 and 3 images of each."""
    folder, lists = root / "food-101", {"train": {}, "test": {}}
    for label, name in enumerate(("apple_pie", "waffles")):
        for number in range(9):
            split = "train" if number < 6 else "test"
            lists[split].setdefault(name, []).append(f"{name}/{number}")
            picture(folder / "images" / name / f"{number}.jpg", 100 * label + 10 * number)
    (folder / "meta").mkdir()
    for split, by_class in lists.items():
        names = [name for names in by_class.values() for name in names]
        (folder / f"meta/{split}.txt").write_text("\n".join(names) + "\n")
        (folder / f"meta/{split}.json").write_text(json.dumps(by_class))
    return folder


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def packed(folder: Path, *names: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in names:
            archive.add(folder / name, name)
    return stream.getvalue()


def cifar(monkeypatch) -> dict[str, bytes]:
    """Batches as CIFAR-10 has them, with their checksums declared; 8 images each."""
    random = np.random.default_rng(0)
    files = {"batches.meta": pickle.dumps({"label_names": ["air/plane", "cat"]})}
    for name in [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]:
        data = random.integers(0, 256, (8, 3072), np.uint8)
        files[name] = pickle.dumps({"data": data, "labels": [0, 1] * 4})
    sums = {name: md5(content) for name, content in files.items()}
    own = torchvision.datasets.CIFAR10
    monkeypatch.setattr(own, "train_list", [[f"data_batch_{n}", sums[f"data_batch_{n}"]]
                                            for n in range(1, 6)])  # fmt: skip
    monkeypatch.setattr(own, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(own, "meta", own.meta | {"md5": sums["batches.meta"]})
    return files


@pytest.fixture
def serve(tmp_path):
    """Serve a folder on loopback; gives its address and the paths that were asked for."""
    servers, asked = [], []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    def start(folder: Path) -> tuple[str, list[str]]:
        handler = functools.partial(Handler, directory=str(folder))
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_every_data_set_exists_and_takes_these_arguments():
    for name, splits in TORCHVISION_DATASETS.items():
        signature = inspect.signature(getattr(torchvision.datasets, name))
        assert "train" in splits
        for arguments in splits.values():
            signature.bind("root", download=False, **arguments)


def test_food101_on_disk_has_its_official_splits(tmp_path):
    folder = plant_food(tmp_path)
    splits = load("Food101", tmp_path)
    # validation images are made of the training images: one of six of each class
    assert splits.counts == {"train": 10, "val": 2, "test": 6}
    assert splits.classes == ("apple_pie", "waffles") and splits.dataset == "Food101"
    assert {image.path.stem for image in splits.test} == {"6", "7", "8"}
    own = load("Food101", folder)  # the extracted folder itself
    by_folder = load_splits(DataConfig(label="f", source="folder", root=str(folder)))
    for split in ("train", "val", "test"):
        assert splits.digest(split) == own.digest(split) == by_folder.digest(split)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda meta: (meta / "../images/waffles/3.jpg").unlink(), "no such image"),
        (lambda meta: (meta / "test.txt").write_text("waffles/7\n"), "in no list"),
        (
            lambda meta: (meta / "test.txt").write_text("apple_pie/7\nwaffles/1\nwaffles/7\n"),
            "listed twice",
        ),
    ],
)
def test_lists_that_disagree_with_the_images_are_refused(change, reason, tmp_path):
    folder = plant_food(tmp_path)
    change(folder / "meta")
    config = {"label": "f", "source": "folder", "root": str(folder)}
    with pytest.raises(UserError, match=reason):
        load_splits(DataConfig(**config))
    assert any(reason in line for line in load_splits(
        DataConfig(**config, on_bad_image="skip")).skipped)  # fmt: skip


@pytest.fixture
def served_food(tmp_path, serve, monkeypatch):
    """Serve an archive of Food-101 where torchvision looks for it; returns what is asked for."""
    plant_food(tmp_path / "origin")
    content = packed(tmp_path / "origin", "food-101")
    (tmp_path / "web").mkdir()
    (tmp_path / "web/food-101.tar.gz").write_bytes(content)
    address, asked = serve(tmp_path / "web")
    monkeypatch.setattr(torchvision.datasets.Food101, "_URL", f"{address}food-101.tar.gz")
    monkeypatch.setattr(torchvision.datasets.Food101, "_MD5", md5(content))
    return asked


def test_food101_is_downloaded_once_unpacked_and_kept(tmp_path, served_food):
    root = tmp_path / "data"
    splits = load("Food101", root)
    assert splits.counts == {"train": 10, "val": 2, "test": 6} and served_food
    served_food.clear()
    assert load("Food101", root).digest("train") == splits.digest("train") and not served_food
    assert not [path for path in root.iterdir() if path.is_dir() and path.name[0] == "."]


def test_archive_in_data_root_is_unpacked_without_network(tmp_path, monkeypatch):
    plant_food(tmp_path / "origin")
    content = packed(tmp_path / "origin", "food-101")
    root = tmp_path / "data"
    root.mkdir()
    (root / "food-101.tar.gz").write_bytes(content)
    monkeypatch.setattr(torchvision.datasets.Food101, "_URL", f"{NOWHERE}food-101.tar.gz")
    monkeypatch.setattr(torchvision.datasets.Food101, "_MD5", md5(content))
    assert load("Food101", root).counts["test"] == 6
    assert (root / "food-101.tar.gz").read_bytes() == content


@pytest.mark.parametrize(
    ("name", "url", "file"),
    [
        ("Food101", {"_URL": f"{NOWHERE}food-101.tar.gz"}, "food-101.tar.gz"),
        ("CIFAR10", {"url": f"{NOWHERE}cifar-10-python.tar.gz"}, "cifar-10-python.tar.gz"),
        ("Flowers102", {"_download_url_prefix": NOWHERE}, "flowers-102/102flowers.tgz"),
        ("MNIST", {"mirrors": [NOWHERE, NOWHERE]}, "MNIST/raw/train-images-idx3-ubyte.gz"),
    ],
)
def test_offline_the_url_and_the_place_of_the_file_are_named(
    name, url, file, tmp_path, monkeypatch
):
    for attribute, value in url.items():
        monkeypatch.setattr(getattr(torchvision.datasets, name), attribute, value)
    root = tmp_path / "data"
    with pytest.raises(UserError) as refused:
        load(name, root)
    error = refused.value
    place = root / file
    assert str(error.where).startswith(NOWHERE) and str(error.where).endswith(place.name)
    assert place.name in error.hint and str(place.parent) in error.hint
    assert name in error.what and "refused" in error.what
    assert [path.name for path in root.iterdir() if path.suffix != ".lock"] == []


def test_damaged_download_is_refused_and_leaves_nothing(tmp_path, serve, monkeypatch):
    (tmp_path / "web").mkdir()
    (tmp_path / "web/food-101.tar.gz").write_bytes(b"not that archive")
    address, _ = serve(tmp_path / "web")
    monkeypatch.setattr(torchvision.datasets.Food101, "_URL", f"{address}food-101.tar.gz")
    with pytest.raises(UserError, match="corrupted"):
        load("Food101", tmp_path / "data")
    assert not (tmp_path / "data/food-101").exists()
    assert not (tmp_path / "data/food-101.tar.gz").exists()


def test_archive_that_cannot_be_unpacked_is_named_and_kept(tmp_path, monkeypatch):
    root = tmp_path / "data"
    root.mkdir()
    (root / "food-101.tar.gz").write_bytes(b"no tar")
    monkeypatch.setattr(torchvision.datasets.Food101, "_MD5", md5(b"no tar"))
    with pytest.raises(UserError, match="cannot be unpacked"):
        load("Food101", root)
    assert (root / "food-101.tar.gz").exists() and not (root / "food-101").exists()


def test_an_archive_that_was_downloaded_is_kept_if_unpacking_is_interrupted(
    tmp_path, served_food, monkeypatch
):
    root = tmp_path / "data"

    def interrupted(archive: tarfile.TarFile, path: str) -> None:
        (Path(path) / "food-101/images").mkdir(parents=True)
        (Path(path) / "food-101/meta").mkdir()  # what torchvision takes for the whole
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tarfile.TarFile, "extractall", interrupted)
        load("Food101", root)
    assert not (root / "food-101").exists() and (root / "food-101.tar.gz").exists()
    served_food.clear()
    assert load("Food101", root).counts["test"] == 6 and not served_food


def test_tracks_of_one_sign_stay_together(tmp_path):
    for label in range(2):
        for track in range(10):
            for frame in range(3):
                file = f"{label:05}/{track:05}_{frame:05}.ppm"
                path = tmp_path / "gtsrb/GTSRB/Training" / file
                picture(path, 100 * label + 9 * track + frame)
    lines = ["Filename;ClassId"]
    for number in range(6):
        picture(tmp_path / f"gtsrb/GTSRB/Final_Test/Images/{number:05}.ppm", 250 + number)
        lines.append(f"{number:05}.ppm;{number % 2}")
    (tmp_path / "gtsrb/GT-final_test.csv").write_text("\n".join(lines))
    splits = load("GTSRB", tmp_path, group_from=r"(\d{5}/\d{5}_|\d{5}\.ppm)")
    groups = [{image.group for image in splits[split]} for split in ("train", "val")]
    assert not groups[0] & groups[1] and splits.counts["val"] % 3 == 0
    assert splits.counts["test"] == 6 and splits.classes == ("0", "1")


def test_arrays_become_image_files_once_and_are_read_like_any_others(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in cifar(monkeypatch).items():
        (folder / name).write_bytes(content)
    splits = load("CIFAR10", tmp_path)
    assert splits.counts == {"train": 34, "val": 6, "test": 8}
    assert splits.classes == ("air/plane", "cat")
    dataset = torchvision.datasets.CIFAR10(tmp_path, train=False)
    for image in splits.test:
        pixels, label = dataset[int(image.path.stem)]
        assert np.array_equal(np.asarray(Image.open(image.path)), np.asarray(pixels))
        assert image.label == label
    for file in folder.iterdir():
        file.unlink()  # the images are enough from now on
    again = load("CIFAR10", tmp_path)
    assert all(again.digest(split) == splits.digest(split) for split in ("train", "val", "test"))
    (tmp_path / "CIFAR10-images/classes.json").write_text('["one"]')
    with pytest.raises(UserError, match="damaged"):
        load("CIFAR10", tmp_path)


def test_official_validation_images_and_names_of_classes_are_used(tmp_path, monkeypatch):
    folder = tmp_path / "flowers-102"
    for number in range(1, 13):
        picture(folder / f"jpg/image_{number:05}.jpg", 20 * number)
    savemat(folder / "imagelabels.mat", {"labels": np.array([1, 2] * 6)})
    parts = {"trnid": [1, 2, 3, 4, 5, 6], "valid": [7, 8, 9, 10], "tstid": [11, 12]}
    savemat(folder / "setid.mat", {name: np.array(ids) for name, ids in parts.items()})
    own = torchvision.datasets.Flowers102
    monkeypatch.setattr(own, "_file_dict", {
        "image": own._file_dict["image"],
        **{key: (name, md5((folder / name).read_bytes()))
           for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))},
    })  # fmt: skip
    splits = load("Flowers102", tmp_path)
    assert splits.counts == {"train": 6, "val": 4, "test": 2}
    assert splits.classes == ("hard-leaved pocket orchid", "pink primrose")


def plant_pets(root: Path) -> None:
    for number in range(1, 9):
        for breed in ("Abyssinian", "great_pyrenees"):
            picture(root / f"oxford-iiit-pet/images/{breed}_{number}.jpg", 9 * number + len(breed))
    folder = root / "oxford-iiit-pet/annotations"
    folder.mkdir()
    for split, numbers in (("trainval", range(1, 7)), ("test", range(7, 9))):
        lines = [f"{breed}_{n} {label} 1 1" for n in numbers
                 for label, breed in ((1, "Abyssinian"), (2, "great_pyrenees"))]  # fmt: skip
        (folder / f"{split}.txt").write_text("\n".join(lines))


def plant_usps(root: Path) -> None:
    random = np.random.default_rng(0)
    for name, count in (("usps.bz2", 20), ("usps.t.bz2", 6)):
        lines = [f"{n % 10 + 1 if name == 'usps.bz2' else n + 1} " + " ".join(
            f"{k}:{value:.3f}" for k, value in enumerate(random.uniform(-1, 1, 256), 1))
            for n in range(count)]  # fmt: skip
        (root / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def plant_caltech(root: Path) -> None:
    for category in ("BACKGROUND_Google", "ant", "crab"):
        for number in range(1, 6):
            file = f"caltech101/101_ObjectCategories/{category}/image_{number:04}.jpg"
            picture(root / file, 7 * number + 50 * len(category))


def plant_imagenette(root: Path) -> None:
    for split, count in (("train", 6), ("val", 3)):
        for wnid in ("n01440764", "n03888257"):
            for number in range(count):
                file = f"imagenette2/{split}/{wnid}/{split}{number}.JPEG"
                picture(root / file, 11 * number + 40 * len(split) + int(wnid[-1]))


@pytest.mark.parametrize(
    ("name", "plant", "counts", "classes"),
    [
        ("OxfordIIITPet", plant_pets, (10, 2, 4), ("Abyssinian", "Great Pyrenees")),
        ("USPS", plant_usps, (10, 10, 6), tuple("0123456789")),
        ("Caltech101", plant_caltech, (6, 2, 2), ("ant", "crab")),
        ("Imagenette", plant_imagenette, (10, 6, 2), ("parachute", "tench")),
    ],
)
def test_other_layouts(name, plant, counts, classes, tmp_path):
    plant(tmp_path)
    splits = load(name, tmp_path)
    assert tuple(splits.counts.values()) == counts and splits.classes == classes


def test_what_torchvision_cannot_download_is_refused(tmp_path):
    with pytest.raises(UserError, match="StanfordCars is not in"):
        load("StanfordCars", tmp_path / "data")
