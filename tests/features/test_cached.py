"""Features by content: what hits, what misses, and that they are the same numbers every time."""

import hashlib
import multiprocessing
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from visionsweep.config.schema import ModelConfig
from visionsweep.data.decoding import open_rgb
from visionsweep.data.transforms import resized
from visionsweep.errors import UserError
from visionsweep.features import extraction
from visionsweep.features.extraction import BATCH_SIZE, ROUND
from visionsweep.features.shards import read_shard
from visionsweep.models import pretrained_weights
from visionsweep.models.backbone_spec import resolve_backbone
from visionsweep.models.lazy_model import LazyModel

SIZE = 64  # pixels a side, as in conftest.py


def rows(cache: Path) -> int:
    """How many images have been extracted into a cache, ever."""
    shards = (cache / "features").glob("*/*.safetensors")
    return sum(len(read_shard(path).digests) for path in shards)


# --- what hits and what misses


def test_renamed_copy_is_a_hit_and_no_backbone_is_built(
    tmp_path, files, look_at, make_network, features, builds
):
    first = features(files, make_network())
    assert rows(tmp_path / "cache") == 12
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copies = [shutil.copy(f.path, elsewhere / f"copy of {f.path.name}.JPG") for f in files]
    shutil.rmtree(tmp_path / "images")
    again = features(look_at(copies), make_network())
    assert torch.equal(first, again)
    assert rows(tmp_path / "cache") == 12
    assert builds == ["squeezenet1_1"]


def test_features_of_another_precision_are_stored_under_another_key(
    tmp_path, files, make_network, features, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    network = make_network("mobilenet_v3_small")
    first = features(files[:2], network)
    half = features(files[:2], network, precision="bf16")
    assert rows(tmp_path / "cache") == 4 and not torch.equal(first, half)
    assert torch.equal(first, features(files[:2], network))
    assert torch.equal(half, features(files[:2], network, precision="bf16"))
    assert rows(tmp_path / "cache") == 4


def test_warm_store_opens_no_image(files, make_network, features):
    first = features(files, make_network())
    for file in files:
        file.path.write_bytes(b"no longer an image")
    assert torch.equal(first, features(files, make_network()))


@pytest.mark.parametrize("sweeping", [True, False])
def test_sweep_decodes_images_once_for_all_backbones_and_a_single_run_keeps_none(
    files, make_network, features, monkeypatch, sweeping
):
    decoded: list[int] = []

    def counted(content: bytes, *arguments: object, **named: object) -> Image.Image:
        decoded.append(len(content))
        return open_rgb(content)

    if sweeping:
        extraction.remember_pixels()
    monkeypatch.setattr(extraction, "open_rgb", counted)
    first = features(files, make_network("squeezenet1_1"), cache="first", same_command=True)
    assert len(decoded) == len(files)
    features(files, make_network("squeezenet1_0"), cache="first", same_command=True)
    again = features(files, make_network("squeezenet1_1"), cache="second", same_command=True)
    assert len(decoded) == (1 if sweeping else 3) * len(files)
    assert torch.equal(first, again)


def test_copies_in_different_folders_share_an_entry(
    tmp_path, files, look_at, make_network, features
):
    copy = tmp_path / "other class" / "x.jpg"
    copy.parent.mkdir()
    shutil.copy(files[3].path, copy)
    result = features([*files, *look_at([copy])], make_network())
    assert torch.equal(result[3], result[12])
    assert rows(tmp_path / "cache") == 12


def test_changed_byte_is_a_cache_miss(tmp_path, files, look_at, make_network, features):
    before = features(files, make_network())
    changed = files[0].path
    changed.write_bytes(changed.read_bytes() + b"\0")  # after the image's end: the same pixels
    looked = look_at([f.path for f in files])
    assert torch.equal(features(looked, make_network()), before)
    assert rows(tmp_path / "cache") == 13


@pytest.mark.parametrize(
    "other",
    [
        replace(resized(SIZE), interpolation="bicubic"),
        replace(resized(SIZE), mean=(0.5, 0.5, 0.5)),
        replace(resized(72), crop=SIZE),
    ],
    ids=["interpolation", "mean", "crop"],
)
def test_another_transform_is_a_cache_miss(tmp_path, files, make_network, features, other):
    network = make_network()
    first = features(files, network)
    assert not torch.equal(first, features(files, network, other))
    assert rows(tmp_path / "cache") == 24


def test_other_weights_or_model_are_a_cache_miss(
    tmp_path, files, make_network, features, monkeypatch
):
    """Weights are identified by the content of the file, whatever its name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    entry = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    config = ModelConfig(label="squeezenet1_1", name="squeezenet1_1", weights="IMAGENET1K_V1")
    results = []
    for seed in range(2):
        torch.manual_seed(seed)
        state = {
            name: torch.rand_like(t) * 0.1 if t.is_floating_point() else t
            for name, t in torchvision.models.squeezenet1_1().state_dict().items()
        }
        torch.save(state, folder / "state.pth")
        digits = hashlib.sha256((folder / "state.pth").read_bytes()).hexdigest()[:8]
        monkeypatch.setattr(
            entry.value, "url", f"https://elsewhere.example/squeezenet1_1-{digits}.pth"
        )
        (folder / "state.pth").rename(pretrained_weights.cache_path(entry))
        spec = resolve_backbone(config, random_if_unavailable=False)
        network = LazyModel(spec, SIZE, 3, True, tmp_path / "cache" / "networks")
        results.append(features(files, network))
    results.append(features(files, make_network("squeezenet1_0")))
    assert rows(tmp_path / "cache") == 36
    assert len({tuple(f[0].tolist()) for f in results}) == 3


def test_image_changed_since_its_digest_is_refused_and_not_stored(
    tmp_path, files, draw_to, make_network, features
):
    draw_to(files[5].path, 99)
    with pytest.raises(UserError, match=r"05\.jpg: the image changed.*verify"):
        features(files, make_network())
    assert rows(tmp_path / "cache") == 0
    files[6].path.unlink()
    with pytest.raises(UserError, match=r"06\.jpg: cannot be read: No such file"):
        features(files[6:], make_network())


# --- bitwise identical


FAMILIES = [
    "mobilenet_v3_small",
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in ("resnet18", "efficientnet_b0", "convnext_tiny")
    ),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_bitwise_identical_cold_warm_half_filled_and_in_any_order(
    tmp_path, draw_to, look_at, make_network, features, name
):
    """Twenty images are one batch and a short one."""
    assert BATCH_SIZE["cpu"] < 20
    paths = [draw_to(tmp_path / "images" / f"{i:02d}.jpg", i) for i in range(20)]
    files, network = look_at(paths), make_network(name)
    cold = features(files, network)
    assert torch.equal(cold, features(files, network)), "warm"
    features(files[:5], network, cache="half")
    assert torch.equal(cold, features(files, network, cache="half")), "half-filled"
    order = random.Random(1).sample(range(20), 20)
    shuffled = features([files[i] for i in order], network, cache="shuffled")
    assert torch.equal(cold[order], shuffled), "in another order"
    assert torch.equal(cold[order], features([files[i] for i in order], network)), "warm, reordered"
    alone = features(files[7:8], network, cache="alone")
    assert torch.equal(cold[7:8], alone), "alone in a batch"


def test_features_that_two_processes_extract_together_are_bitwise_identical(
    tmp_path, draw_to, look_at, make_network, features
):
    count = ROUND * BATCH_SIZE["cpu"] + 9  # more than one process takes at a time
    files = look_at([draw_to(tmp_path / "images" / f"{i:02d}.jpg", i) for i in range(count)])
    network = make_network("mobilenet_v3_small")

    def extract(own: Path, other: Path) -> None:
        own.touch()
        while not other.exists():
            time.sleep(0.001)
        torch.save(features(files, network, cache="shared"), own)

    paths = tmp_path / "first", tmp_path / "second"
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=extract, args=order) for order in (paths, paths[::-1])]
    for process in both:
        process.start()
    for process in both:
        process.join()
    alone = features(files, network, cache="alone")
    assert all(torch.equal(alone, torch.load(path)) for path in paths)
    assert rows(tmp_path / "shared") == count


def test_features_are_identical_after_some_were_evicted(tmp_path, files, make_network, features):
    network = make_network()
    cold = features(files, network)
    features(files[:5], network, max_size="1 kB", cache="tiny")
    assert torch.equal(cold, features(files, network, max_size="1 kB", cache="tiny"))
    assert torch.equal(cold[:5], features(files[:5], network, max_size="1 kB", cache="tiny"))
