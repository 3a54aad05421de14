"""The store: what is written is whole, what is damaged is noticed, and the oldest goes first."""

import io
import logging
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file
from tqdm import tqdm

from visionsweep.data.images import digest_of
from visionsweep.features import maintenance, shards
from visionsweep.features import store as store_module
from visionsweep.features.leases import Lease
from visionsweep.features.shards import DamagedShardError, read_shard
from visionsweep.features.store import FeatureStore, evict_lru
from visionsweep.runtime import terminal
from visionsweep.storage import files

KEY = digest_of(b"a backbone under a transform")
WIDTH = 8
DIGESTS = [digest_of(bytes([i])) for i in range(12)]


def numbers(digest: str) -> torch.Tensor:
    """What the pretended backbone makes of an image."""
    return torch.randn(WIDTH, generator=torch.Generator().manual_seed(int(digest[:12], 16)))


def table(digests: list[str]) -> torch.Tensor:
    return torch.stack([numbers(digest) for digest in digests])


class Backbone:
    """Extracts in batches of four, and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, digests: Iterator[str]):
        while part := list(islice(digests, 4)):
            self.asked += part
            yield part, table(part)


def open_store(cache: Path, key: str = KEY, max_bytes: int = 10**9) -> FeatureStore:
    """A store as a new process opens it."""
    return FeatureStore(cache / "features" / key, key, {"model": "pretended"}, max_bytes)


def shards_of(cache: Path) -> list[Path]:
    return sorted((cache / "features").glob("*/*.safetensors"))


@pytest.fixture
def backbone() -> Backbone:
    return Backbone()


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A store of three shards with four images each."""
    monkeypatch.setattr(store_module, "SHARD_IMAGES", 4)
    open_store(tmp_path).get(DIGESTS, Backbone())
    paths = shards_of(tmp_path)
    assert len(paths) == 3
    return paths


def test_stored_features_are_not_extracted_again(tmp_path, backbone):
    assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS
    assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS


def test_only_missing_features_are_extracted_and_each_image_once(tmp_path, backbone):
    open_store(tmp_path).get(DIGESTS[:5], Backbone())
    requested = [*DIGESTS[::-1], *DIGESTS, DIGESTS[3]]
    assert torch.equal(open_store(tmp_path).get(requested, backbone), table(requested))
    assert sorted(backbone.asked) == sorted(DIGESTS[5:])


def test_open_store_sees_features_of_other_processes(tmp_path, backbone):
    early = open_store(tmp_path)
    early.get(DIGESTS[:2], Backbone())
    open_store(tmp_path).get(DIGESTS, Backbone())
    assert torch.equal(early.get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == []


def test_open_store_extracts_deleted_features_again(tmp_path, backbone):
    living = open_store(tmp_path)
    living.get(DIGESTS, Backbone())
    for path in shards_of(tmp_path):
        path.unlink()
    living.folder.joinpath("about.json").unlink()
    living.folder.rmdir()
    assert torch.equal(living.get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS


# --- damage


def flip(path: Path, at: int, bit: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= bit
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def of_another_key(path: Path) -> None:
    other = open_store(path.parents[2] / "elsewhere", key=digest_of(b"other"))
    other.get(DIGESTS, Backbone())
    path.write_bytes(shards_of(path.parents[2] / "elsewhere")[0].read_bytes())


def of_other_images(path: Path) -> None:
    sibling = next(p for p in path.parent.glob("*.safetensors") if p != path)
    path.write_bytes(sibling.read_bytes())


def with_feature(path: Path, value: float) -> None:
    """Write one feature of a shard anew, with a checksum that is right."""
    shard = read_shard(path, KEY)
    features = shard.features.clone()
    features[1, 2] = value
    path.write_bytes(shards.encode(KEY, shard.digests, features))


def wider(path: Path) -> None:
    shard = read_shard(path, KEY)
    path.write_bytes(shards.encode(KEY, shard.digests, torch.ones(len(shard.digests), WIDTH + 1)))


DAMAGES = {
    "truncated": cut,
    "empty": lambda path: path.write_bytes(b""),
    "one bit of a feature flipped": lambda path: flip(path, -1),
    "one bit of the digests flipped": lambda path: flip(
        path, path.read_bytes().index(b"digests") + 15
    ),
    "text": lambda path: path.write_text("this is no shard" * 50),
    "somebody else's safetensors": lambda path: save_file({"weight": torch.ones(4, 8)}, path),
    "ours by name, without digests": lambda path: path.write_bytes(
        save({"features": torch.ones(4, 8)}, {"format": shards.FORMAT, "key": KEY})
    ),
    "ours by name, empty": lambda path: path.write_bytes(
        save(
            {"features": torch.ones(0, 8)},
            {"format": shards.FORMAT, "key": KEY, "digests": "[]"},
        )
    ),
    "written for another key": of_another_key,
    "with a feature that is NaN": lambda path: with_feature(path, float("nan")),
    "with an infinite feature": lambda path: with_feature(path, float("-inf")),
    "with features of another width": lambda path: wider(path),
    "of other images": of_other_images,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_shard_is_quarantined_and_its_images_are_extracted_again(
    tmp_path, filled, backbone, damage, caplog
):
    victim = filled[1]
    images = read_shard(victim, KEY).digests
    damage(victim)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    # of shards of two widths either may be the wrong one
    among = DIGESTS if damage is DAMAGES["with features of another width"] else images
    assert sorted(backbone.asked) == sorted(among)
    assert victim.with_suffix(".damaged").is_file()
    assert str(victim) in caplog.text and "extracted again" in caplog.text
    again = Backbone()
    open_store(tmp_path).get(DIGESTS, again)
    assert again.asked == []


def test_flipped_bit_or_truncation_never_changes_features(tmp_path):
    """A header's padding may change unseen; a feature and the name of its image may not."""
    open_store(tmp_path).get(DIGESTS[:2], Backbone())
    path = shards_of(tmp_path)[0]
    whole, good = path.read_bytes(), read_shard(path, KEY)
    survived = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            shard = read_shard(path, KEY)
        except DamagedShardError:
            continue
        assert shard.digests == good.digests and torch.equal(shard.features, table(DIGESTS[:2]))
        survived += 1
    assert survived < len(whole) / 10
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedShardError):
            read_shard(path, KEY)


def test_shard_quarantined_by_another_process_is_no_error(tmp_path, filled):
    shards.quarantine(filled[0], "for this test")
    shards.quarantine(filled[0], "for this test")
    assert filled[0].with_suffix(".damaged").is_file()


# --- two processes, and one that is killed


def extract(cache: Path, how: str) -> None:
    """Extract all features in shards of four, noting which; in a process of its own."""
    store_module.SHARD_IMAGES = 4

    class Noted(Backbone):
        def __call__(self, digests: Iterator[str]):
            for part in super().__call__(digests):
                with (cache / "extracted.txt").open("a") as log:
                    log.writelines(f"{os.getpid()} {digest}\n" for digest in part[0])
                while (
                    how.endswith("beside another") and len({pid for pid, _ in extracted(cache)}) < 2
                ):
                    time.sleep(0.01)  # until both have begun
                if how == "killed beside another":
                    os.kill(os.getpid(), signal.SIGKILL)
                if part[0][0] == DIGESTS[4] and how == "killed before the rename":
                    files.os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
                if part[0][0] == DIGESTS[4] and how == "killed while writing":
                    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # the kernel ends us at byte 300
                    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
                yield part

    assert torch.equal(open_store(cache).get(DIGESTS, Noted(), part=4), table(DIGESTS))


def extracted(cache: Path) -> list[tuple[int, str]]:
    """Return which process extracted which image, in order."""
    lines = [line.split() for line in (cache / "extracted.txt").read_text().splitlines()]
    return [(int(pid), digest) for pid, digest in lines]


def start(cache: Path, how: str) -> multiprocessing.Process:
    cache.mkdir(exist_ok=True)
    process = multiprocessing.get_context("fork").Process(target=extract, args=(cache, how))
    process.start()
    return process


def leases(cache: Path) -> list[Path]:
    return [path for path in (cache / "features").iterdir() if KEY + "." in path.name]


def test_two_processes_extract_each_image_once_together(tmp_path):
    cache = tmp_path / "cache"
    both = [start(cache, "beside another") for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    pids, images = zip(*extracted(cache), strict=True)
    assert sorted(images) == sorted(DIGESTS)
    assert set(pids) == {process.pid for process in both}
    assert len(shards_of(cache)) == 3
    assert [path.name for path in leases(cache)] == [f"{KEY}.lock"]


def test_process_takes_over_the_part_of_a_killed_one(tmp_path):
    cache = tmp_path / "cache"
    killed, other = start(cache, "killed beside another"), start(cache, "beside another")
    killed.join()
    other.join()
    assert (killed.exitcode, other.exitcode) == (-signal.SIGKILL, 0)
    lost = [digest for pid, digest in extracted(cache) if pid == killed.pid]
    rest = [digest for pid, digest in extracted(cache) if pid == other.pid]
    assert len(lost) == 4 and sorted(rest) == sorted(DIGESTS)
    assert [path.name for path in leases(cache)] == [f"{KEY}.lock"]


def test_images_that_another_process_did_not_store_are_extracted_and_shown(
    tmp_path, backbone, monkeypatch
):
    """The other process ends, as on a disk that is full for it."""
    bar = tqdm(total=len(DIGESTS), file=io.StringIO(), mininterval=0)
    monkeypatch.setattr(terminal, "bar", lambda **_: bar)
    other = Lease(tmp_path / "features" / KEY)
    with ExitStack() as leased:
        leased.enter_context(other.held())
        theirs = other.take(lambda: dict.fromkeys(DIGESTS), 4)

        def extract(digests: Iterator[str]):
            for part in backbone(digests):
                yield part
                if part[0] == DIGESTS[8:]:
                    assert bar.n == 12 and bar.desc == "Features, 2 processes: "
                    leased.close()

        assert torch.equal(open_store(tmp_path).get(DIGESTS, extract, part=4), table(DIGESTS))
    assert theirs == DIGESTS[:4] and backbone.asked == DIGESTS[4:] + theirs
    assert bar.n == 12 and bar.desc == "Features: "


def test_store_that_another_process_extracts_for_is_not_deleted(tmp_path):
    open_store(tmp_path).get(DIGESTS[:4], Backbone())
    left = tmp_path / "features" / KEY / f".{DIGESTS[0]}.safetensors-abcd1234.part"
    left.write_bytes(b"being written")
    (stored,) = maintenance.stores(tmp_path)
    with Lease(stored.folder).held():
        left.write_bytes(b"being written")
        assert maintenance.tidy(tmp_path) == [] and not maintenance.delete(stored)
        open_store(tmp_path).get(DIGESTS, Backbone())
        assert left.is_file()
    assert maintenance.tidy(tmp_path) == [left] and maintenance.delete(stored)


@pytest.mark.parametrize(
    ("how", "by"),
    [("killed before the rename", signal.SIGKILL), ("killed while writing", signal.SIGXFSZ)],
)
def test_process_killed_while_writing_leaves_no_partial_shard(tmp_path, backbone, how, by, caplog):
    cache = tmp_path / "cache"
    killed = start(cache, how)
    killed.join()
    assert killed.exitcode == -by
    (left,) = (cache / "features" / KEY).glob(".*")
    whole = shards_of(cache)
    assert [sorted(load_file(path)) for path in whole] == [["features"]]
    assert (left.stat().st_size == 300) == (how == "killed while writing")

    assert torch.equal(open_store(cache).get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS[4:]  # the shard before is kept, and no lock is held
    assert f"died while extracting features (process {killed.pid} on" in caplog.text
    assert not left.exists() and not list((cache / "features").rglob("*.damaged"))
    assert [path.name for path in leases(cache)] == [f"{KEY}.lock"]


# --- room


def age(path: Path, days: int) -> None:
    os.utime(path, times=(path.stat().st_mtime - days * 86_400,) * 2)


def test_least_recently_used_shards_are_evicted_first(tmp_path, filled):
    sizes = filled[0].stat().st_size
    for path, days in zip(filled, (2, 3, 1), strict=True):
        age(path, days)
    assert evict_lru(tmp_path / "features", 2 * sizes, in_use=set()) == [filled[1]]
    assert evict_lru(tmp_path / "features", sizes, in_use=set()) == [filled[0]]
    assert shards_of(tmp_path) == [filled[2]]


def test_shards_in_use_stay_even_if_they_are_the_oldest_and_too_large(tmp_path, filled):
    age(filled[0], 9)
    deleted = evict_lru(tmp_path / "features", 1, in_use={filled[0]})
    assert sorted(deleted) == filled[1:]
    assert shards_of(tmp_path) == [filled[0]]


def test_using_features_marks_only_their_shards_as_recent(tmp_path, filled):
    for path in filled:
        age(path, 9)
    requested = read_shard(filled[1], KEY).digests
    before = {path: path.stat().st_mtime for path in filled}
    living = open_store(tmp_path)
    living.get(requested[:1], Backbone())
    assert [p for p in filled if p.stat().st_mtime > before[p] + 86_400] == [filled[1]]
    age(filled[1], 9)
    living.get(requested, Backbone())  # also of a store that has long been open
    assert filled[1].stat().st_mtime > before[filled[1]] + 86_400


def test_max_size_applies_to_all_stores_together(tmp_path, filled):
    size = filled[0].stat().st_size
    for path in filled:
        age(path, 1)
    other = open_store(tmp_path, key=digest_of(b"other"), max_bytes=3 * size + 100)
    assert torch.equal(other.get(DIGESTS[:4], Backbone()), table(DIGESTS[:4]))
    left = shards_of(tmp_path)
    assert sum(path.stat().st_size for path in left) <= 3 * size + 100
    assert len(left) == 3 and len(list(other.folder.glob("*.safetensors"))) == 1


def test_request_larger_than_the_store_is_answered(tmp_path, backbone):
    tiny = open_store(tmp_path, max_bytes=1)
    assert torch.equal(tiny.get(DIGESTS, backbone), table(DIGESTS))
    assert torch.equal(tiny.get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS


def test_features_of_a_deleted_shard_are_extracted_again(tmp_path, filled, backbone):
    images = read_shard(filled[2], KEY).digests
    evict_lru(tmp_path / "features", filled[0].stat().st_size, in_use={filled[0], filled[1]})
    assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    assert sorted(backbone.asked) == sorted(images)


@pytest.mark.parametrize("writable", [True, False])
def test_width_of_new_features_replaces_planted_ones(tmp_path, backbone, writable, caplog):
    folder = tmp_path / "features" / KEY
    folder.mkdir(parents=True)
    planted = folder / shards.file_name(DIGESTS[:5])
    planted.write_bytes(shards.encode(KEY, DIGESTS[:5], torch.ones(5, WIDTH + 3)))
    store = open_store(tmp_path)
    if not writable:
        store_module.quarantine, original = lambda path, reason: None, store_module.quarantine
    try:
        assert torch.equal(store.get(DIGESTS, backbone), table(DIGESTS))
    finally:
        if not writable:
            store_module.quarantine = original
    assert sorted(backbone.asked) == sorted(DIGESTS)
    assert planted.with_suffix(".damaged").is_file() == writable


def test_pipe_or_link_in_place_of_a_shard_is_quarantined(tmp_path, filled, backbone):
    first, second = filled[:2]
    images = read_shard(first, KEY).digests + read_shard(second, KEY).digests
    first.unlink()
    os.mkfifo(first)
    second.rename(tmp_path / "elsewhere")
    second.symlink_to(tmp_path / "elsewhere")
    assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    assert sorted(backbone.asked) == sorted(images)
    assert first.is_file() and not second.is_symlink()
