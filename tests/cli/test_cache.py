"""`python src/cache.py`: what it shows and mends, what it deletes and what it does not."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from filelock import FileLock

from visionsweep.cli.cache import main
from visionsweep.data.images import digest_of
from visionsweep.features.store import FeatureStore

DIGESTS = [digest_of(bytes([i])) for i in range(5)]
MODELS = ("resnet18", "convnext_tiny")


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def fill(cache: Path, model: str) -> Path:
    """Store five images' features as if this model had made them; return the shard."""
    key = digest_of(model.encode())
    about = {"model": model, "weights": "IMAGENET1K_V1", "device": "cpu"}
    store = FeatureStore(cache / "features" / key, key, about, 10**9)
    store.get(DIGESTS, lambda missing: (([digest], torch.ones(1, 4)) for digest in missing))
    (shard,) = store.folder.glob("*.safetensors")
    return shard


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    cache = tmp_path / "cache"
    for model in MODELS:
        fill(cache, model)
    for name in ("networks/{}.msgpack", "images/{}.json", "thumbnails/{}.zip"):
        file = cache / name.format(digest_of(b"x"))
        file.parent.mkdir()
        file.write_bytes(b"x" * 500)
    return cache


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Done]:
    """Run the command in this process, without a terminal."""

    def run(cache: Path, *arguments: str | Path) -> Done:
        monkeypatch.setenv("VISIONSWEEP_CACHE", str(cache))
        monkeypatch.setenv("COLUMNS", "160")
        status = main([*map(str, arguments)])
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return run


def shards_of(cache: Path) -> list[Path]:
    return sorted((cache / "features").glob("*/*.safetensors"))


def test_list_names_every_store_and_sums_up(cache, tmp_path, run):
    shown = run(tmp_path / "not the default", "list", "--cache-dir", cache)
    assert shown.returncode == 0, shown.stderr
    for model in MODELS:
        assert re.search(rf"{model} .*IMAGENET1K_V1.*cpu.* 5 .*\d+-\d+-\d+ \d+:\d+", shown.stdout)
    assert "features: 2 stores, 10 rows" in shown.stdout
    assert "networks: 1 files, 500 bytes" in shown.stdout
    assert "images: 1 files, 500 bytes" in shown.stdout
    assert "thumbnails: 1 files, 500 bytes" in shown.stdout
    nothing = run(tmp_path / "nowhere", "list")
    assert nothing.returncode == 0 and "No features" in nothing.stdout
    assert not (tmp_path / "nowhere").exists()


def test_verify_sets_damaged_shards_aside_and_removes_what_is_left_over(cache, run, caplog):
    sound, damaged = shards_of(cache)
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    temporary = sound.with_name(f".{sound.name}-abcd1234.part")
    young, old = sound.with_name("young.damaged"), sound.with_name("old.damaged")
    for file in (temporary, young, old):
        file.write_bytes(b"x")
    os.utime(old, (time.time() - 2 * 86_400,) * 2)

    first = run(cache, "verify")
    assert first.returncode == 1
    assert "2 shards read, 1 damaged, 2 leftovers removed" in first.stdout
    assert damaged.name in caplog.text and "renamed to" in caplog.text
    assert shards_of(cache) == [sound]
    assert damaged.with_suffix(".damaged").is_file() and young.is_file()
    assert not temporary.exists() and not old.exists()
    second = run(cache, "verify")
    assert second.returncode == 0 and "1 shards read, 0 damaged" in second.stdout


def test_clear_asks_first_and_without_a_terminal_needs_yes(cache, run):
    refused = run(cache, "clear")
    assert refused.returncode == 1 and "--yes" in refused.stderr
    assert len(shards_of(cache)) == 2
    unknown = run(cache, "clear", "--model", "resnet81", "--yes")
    assert unknown.returncode == 1 and "convnext_tiny, resnet18" in unknown.stderr
    assert len(shards_of(cache)) == 2
    done = run(cache, "clear", "--model", "resnet18", "--yes")
    assert done.returncode == 0 and "1 stores deleted" in done.stdout
    assert [p.parent.name for p in shards_of(cache)] == [digest_of(b"convnext_tiny")]
    assert len([*cache.glob("networks/*"), *cache.glob("images/*")]) == 2


def test_clear_deletes_ours_and_nothing_else(cache, run):
    bystanders = [cache / "features" / "mine" / "a.safetensors", cache / "images" / "holiday.json"]
    for file in bystanders:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
    assert run(cache, "verify").returncode == 0
    assert run(cache, "clear", "--yes").returncode == 0
    left = [p for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert sorted(left) == sorted(bystanders)


def test_clear_spares_a_store_that_a_process_is_filling(cache, run):
    busy = cache / "features" / digest_of(b"resnet18")
    temporary = busy / ".shard-abcd1234.part"
    temporary.touch()
    with FileLock(busy.with_suffix(".lock")):
        done = run(cache, "clear", "--yes")
        verified = run(cache, "verify")
    assert done.returncode == 1 and "in use by another process" in done.stderr
    assert [path.parent for path in shards_of(cache)] == [busy]
    assert verified.returncode == 0 and temporary.exists()
    assert len([*cache.glob("networks/*"), *cache.glob("images/*")]) == 2
