"""A cache that is full, read-only or somebody else's: runs go on, and keep what can be kept."""

import errno
import fcntl
import os
import re
from itertools import islice

import torch

from visionsweep.command_memory import fresh_memory
from visionsweep.data import image_facts, thumbnails
from visionsweep.data.images import digest_of
from visionsweep.features import maintenance
from visionsweep.features import store as store_module
from visionsweep.features.store import FeatureStore

KEY = digest_of(b"a backbone under a transform")
DIGESTS = [digest_of(bytes([i])) for i in range(12)]
FULL = "No space left on device"


class Backbone:
    """Gives each image features of its own, 40 kB, in batches of four; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, digests):
        while part := list(islice(digests, 4)):
            self.asked += part
            yield part, table(part)


def table(digests):
    return torch.tensor([[float(DIGESTS.index(d))] * 10_000 for d in digests])


def open_store(cache) -> FeatureStore:
    return FeatureStore(cache / "features" / KEY, KEY, {"model": "pretended"}, 10**9)


def frames(caplog) -> list[str]:
    return [m for r in caplog.records if "!!!!" in (m := r.getMessage())]


def test_features_that_do_not_fit_on_a_full_disk_are_used_and_others_are_stored(
    small_disk, monkeypatch, caplog
):
    """Shards of 160 kB, and room for one and a half."""
    monkeypatch.setattr(store_module, "SHARD_IMAGES", 4)
    small_disk.fill(but=250_000)
    first, second, third = Backbone(), Backbone(), Backbone()
    assert torch.equal(open_store(small_disk.path).get(DIGESTS, first), table(DIGESTS))
    (frame,) = frames(caplog)
    assert FULL in frame and len(caplog.records) == 1  # not one more for each shard
    (shard,) = small_disk.path.glob("features/*/*.safetensors")
    assert not list(small_disk.path.rglob(".*"))

    assert torch.equal(open_store(small_disk.path).get(DIGESTS, second), table(DIGESTS))
    assert second.asked == DIGESTS[4:]
    small_disk.empty()
    open_store(small_disk.path).get(DIGESTS, third)
    assert third.asked == DIGESTS[4:]
    assert len(list(shard.parent.glob("*.safetensors"))) == 3
    last = Backbone()
    assert torch.equal(open_store(small_disk.path).get(DIGESTS, last), table(DIGESTS))
    assert last.asked == []


def test_store_continues_on_a_full_disk_and_after_it_was_freed(small_disk):
    """Features kept only in memory do not count as stored."""
    living, backbone = open_store(small_disk.path), Backbone()
    small_disk.fill()
    assert torch.equal(living.get(DIGESTS, backbone), table(DIGESTS))
    small_disk.empty()
    assert torch.equal(living.get(DIGESTS, backbone), table(DIGESTS))
    assert torch.equal(living.get(DIGESTS[::-1], backbone), table(DIGESTS[::-1]))
    assert backbone.asked == DIGESTS * 2


def test_read_only_cache_is_read_silently_and_missing_features_are_extracted(small_disk, caplog):
    open_store(small_disk.path).get(DIGESTS[:8], Backbone())
    small_disk.remount("ro")
    backbone = Backbone()
    assert torch.equal(open_store(small_disk.path).get(DIGESTS[:8], backbone), table(DIGESTS[:8]))
    assert backbone.asked == [] and not caplog.records
    assert torch.equal(open_store(small_disk.path).get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS[8:]
    (frame,) = frames(caplog)
    assert "Read-only file system" in frame


def test_damaged_shard_in_a_read_only_cache_is_skipped(small_disk, caplog):
    open_store(small_disk.path).get(DIGESTS, Backbone())
    (shard,) = small_disk.path.glob("features/*/*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-9])
    small_disk.remount("ro")
    backbone = Backbone()
    assert torch.equal(open_store(small_disk.path).get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS
    assert "cannot be renamed (Read-only file system)" in caplog.text
    assert maintenance.verify(shard) is not None and shard.is_file()
    assert maintenance.tidy(small_disk.path) == []


def test_cache_of_another_user_is_left_alone(tmp_path, as_somebody_else, caplog):
    open_store(tmp_path).get(DIGESTS[:4], Backbone())
    before = sorted(tmp_path.rglob("*"))
    backbone = Backbone()
    with as_somebody_else():
        assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    assert sorted(tmp_path.rglob("*")) == before
    (frame,) = frames(caplog)
    assert "Permission denied" in frame


def test_features_are_stored_without_file_locks(tmp_path, monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    backbone = Backbone()
    assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    assert "others may do the same work now: this file system cannot lock files" in caplog.text
    assert torch.equal(open_store(tmp_path).get(DIGESTS, backbone), table(DIGESTS))
    assert backbone.asked == DIGESTS


def test_temporary_files_of_a_killed_process_in_a_store_are_deleted_by_the_next_write(tmp_path):
    store = open_store(tmp_path)
    store.get(DIGESTS[:4], Backbone())
    left = store.folder / f".{DIGESTS[0]}.safetensors-abcd1234.part"
    left.write_bytes(b"half")
    open_store(tmp_path).get(DIGESTS[:4], Backbone())
    assert left.is_file()  # one that only reads holds no lock
    open_store(tmp_path).get(DIGESTS, Backbone())
    assert not left.exists()


def test_run_succeeds_without_any_cache(
    small_disk, tmp_path, files, make_network, features, caplog
):
    """Without memory of images, card, features and thumbnails all is as with them."""
    expected = features(files, make_network())
    card = make_network().summary
    (tmp_path / "full").symlink_to(small_disk.path)
    small_disk.fill()

    network = make_network()
    object.__setattr__(network, "summary_dir", tmp_path / "full" / "networks")
    again = {c: getattr(network.summary, c) for c in ("parameters", "layer_table")}
    assert again == {c: getattr(card, c) for c in again}
    assert torch.equal(features(files, network, cache="full"), expected)
    for _ in range(2):
        memory = tmp_path / "full" / "images" / "m.json"
        inspected = image_facts.inspect([f.path for f in files], memory)
        assert [image.digest for image in inspected.values()] == [f.digest for f in files]
    sheet = thumbnails.thumbnails(files, tmp_path / "full")
    with fresh_memory():
        assert sheet.sheet == thumbnails.thumbnails(files, tmp_path / "kept").sheet

    assert [p for p in small_disk.path.rglob("*") if p.stat().st_size and p.is_file()] == [
        small_disk.path / "somebody's film"
    ]
    frame, *_ = frames(caplog)  # and one of each further command
    assert FULL in frame and re.search(r"networks.*No space", frame)
