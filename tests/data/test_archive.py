"""Archives that lie or do harm: refused with a sentence, in little memory, leaving nothing."""

import os
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from visionsweep.data.archive import unpack
from visionsweep.errors import UserError
from visionsweep.storage.checksums import file_checksum, files_checksum, is_checksum

GOOD = {"train/pizza/1.jpg": os.urandom(5000), "test/pizza/2.jpg": b"two"}


def packed(
    path: Path, entries: dict[str, bytes] | Sequence[tuple[str, bytes]], method: int = 8
) -> Path:
    pairs = entries.items() if isinstance(entries, dict) else entries
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in pairs:
            archive.writestr(name, content)
    return path


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in both headers of an entry: `zipfile` does not write what is tested."""
    assert len(old) == len(new) and path.read_bytes().count(old) >= 2
    path.write_bytes(path.read_bytes().replace(old, new))


def refused(archive: Path) -> UserError:
    folder = archive.parent / "data" / "photos"
    folder.parent.mkdir()
    with pytest.raises(UserError) as error:
        unpack(archive, folder)
    assert list(folder.parent.iterdir()) == []
    assert error.value.where == str(archive) and error.value.hint
    return error.value


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([("train/a.jpg", b"1"), ("train/a.jpg", b"2")], "occurs twice"),
        ([("train/a.jpg", b"1"), ("train/./a.jpg", b"2")], "occurs twice"),
        ([("train", b"1"), ("train/a.jpg", b"2")], "occurs twice"),
        ([("train/a.jpg", b"1"), ("train", b"2")], "occurs twice"),
        ([("train/Cat/1.jpg", b"1"), ("train/cat/2.jpg", b"2")], "are one file on some disks"),
        ([("caf\u00e9.jpg", b"1"), ("cafe\u0301.jpg", b"2")], "are one file on some disks"),
        ([("train\\..\\..\\a.jpg", b"1")], "would leave the folder"),
        ([("C:/a.jpg", b"1")], "would leave the folder"),
        ([("//server/a.jpg", b"1")], "would leave the folder"),
        ([("x" * 256, b"1")], "a name longer than 255 bytes"),
        ([("x/" * 40 + "a.jpg", b"1")], "more than 32 folders deep"),
        ([("x" * 200 + "/" + "/".join(["y" * 200] * 5), b"1")], "a path longer than 1000"),
    ],
)
def test_invalid_names_are_refused(
    tmp_path: Path, entries: list[tuple[str, bytes]], said: str
) -> None:
    assert said in refused(packed(tmp_path / "photos.zip", entries)).what


def test_name_with_a_null_byte_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "photos.zip", {"train/a.jpg#.txt": b"1"})
    rewrite(archive, b"a.jpg#.txt", b"a.jpg\0.txt")
    assert "an invalid name" in refused(archive).what


@pytest.mark.parametrize("kind", [0o010000, 0o020000, 0o060000, 0o120000, 0o140000])
def test_links_devices_pipes_and_sockets_are_refused(tmp_path: Path, kind: int) -> None:
    entry = zipfile.ZipInfo("train/special")
    entry.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert "'train/special' is a link or a device" in refused(tmp_path / "photos.zip").what


def test_encrypted_entry_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    archive = packed(tmp_path / "photos.zip", GOOD)
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    archive.write_bytes(content)
    assert "encrypted" in refused(archive).what


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_with_unstated_memory_is_refused(tmp_path: Path, method: int) -> None:
    error = refused(packed(tmp_path / "photos.zip", {"train/a.jpg": b"1" * 1000}, method))
    assert f"compressed by method {method}" in error.what


def test_bomb_of_zeros_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "photos.zip", {"train/a.bmp": bytes(200_000_000)})
    assert archive.stat().st_size < 250_000
    assert "more than 100 times" in refused(archive).what


def test_large_plain_images_are_not_a_bomb(tmp_path: Path) -> None:
    archive = packed(tmp_path / "photos.zip", {"train/a.bmp": bytes(2_000_000)})
    unpack(archive, tmp_path / "photos")
    assert (tmp_path / "photos" / "train" / "a.bmp").stat().st_size == 2_000_000


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "photos.zip", {f"train/{i}.jpg": bytes(10_000) for i in range(9)})
    content = bytearray(archive.read_bytes())
    place = content.index(b"PK\1\2")
    while (place := content.find(b"PK\1\2", place)) >= 0:
        content[place + 42 : place + 46] = struct.pack("<I", 0)  # all begin where the first does
        place += 46
    archive.write_bytes(content)
    assert "shares its bytes" in refused(archive).what


@pytest.mark.parametrize("stated", [0, 10, 2_999_999, 3_000_001, 90_000_000])
def test_entry_that_lies_about_its_size_is_refused_and_writes_no_more(
    tmp_path: Path, stated: int
) -> None:
    archive = packed(tmp_path / "photos.zip", {"train/a.bmp": bytes(3_000_000)})
    rewrite(archive, struct.pack("<I", 3_000_000), struct.pack("<I", stated))
    assert "not a whole zip archive" in refused(archive).what


def test_table_of_contents_with_a_million_entries_needs_little_memory(tmp_path: Path) -> None:
    """Read by `zipfile` alone it takes 1.2 GB."""
    line = b"PK\1\2" + bytes(42)
    table = line * 1_000_000
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(table), 0, 0)
    (tmp_path / "photos.zip").write_bytes(table + end)
    code = (
        "import sys; from pathlib import Path; from visionsweep.data.archive import unpack;"
        "from visionsweep.errors import UserError\n"
        "try: unpack(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except UserError as error: print(error)"
    )
    limit = 500_000_000
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "photos.zip", tmp_path / "photos"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert "its table of contents is larger than 16.0 MB" in done.stdout, done.stderr


def test_entries_that_macos_adds_are_ignored(tmp_path: Path) -> None:
    entries = {f"photos/{name}": content for name, content in GOOD.items()}
    junk = {"__MACOSX/photos/._1.jpg": b"junk", ".DS_Store": b"junk"}
    unpack(packed(tmp_path / "photos.zip", entries | junk), tmp_path / "photos")
    assert sorted(p.name for p in (tmp_path / "photos").iterdir()) == ["test", "train"]


def test_files_checksum_does_not_depend_on_packing(tmp_path: Path) -> None:
    plain = packed(tmp_path / "a.zip", GOOD, zipfile.ZIP_STORED)
    reverse = packed(tmp_path / "b.zip", dict(reversed(GOOD.items())) | {".DS_Store": b"junk"})
    for archive in (plain, reverse):
        unpack(archive, tmp_path / archive.stem)
    own = files_checksum(tmp_path / "a")
    assert own == files_checksum(tmp_path / "b") and is_checksum(own)
    said_by_tools = subprocess.run(
        "find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum",
        shell=True, cwd=tmp_path / "a", capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert own == f"files:{said_by_tools.split()[0]}"
    unpack(reverse, tmp_path / "again", expected=[own])
    for name, content in ((name, b"other") for name in GOOD):
        changed = packed(tmp_path / "c.zip", GOOD | {name: content})
        with pytest.raises(UserError) as refusal:
            unpack(changed, tmp_path / "c", expected=[own])
        assert own in refusal.value.what and not (tmp_path / "c").exists()


def test_git_checksum_is_the_blob_id(tmp_path: Path) -> None:
    archive = packed(tmp_path / "a.zip", GOOD)
    done = subprocess.run(["git", "hash-object", archive], capture_output=True, text=True)
    assert file_checksum(archive, "git") == f"git:{done.stdout.strip()}"
    unpack(archive, tmp_path / "a", expected=[file_checksum(archive, "git")])


@pytest.mark.parametrize("text", ["sha256:12", f"md5:{32 * '0'}", 64 * "0", f"sha256:{64 * 'G'}"])
def test_mistyped_checksum_is_not_a_checksum(text: str) -> None:
    assert not is_checksum(text)
