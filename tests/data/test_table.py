"""Images that a table lists, and groups that stay together."""

import json
from pathlib import Path

import pytest
from PIL import Image

from visionsweep.config.schema import DataConfig
from visionsweep.data.split_loading import load_splits
from visionsweep.data.table import read_table
from visionsweep.errors import UserError
from visionsweep.training.cross_fit import make_folds


@pytest.fixture
def folder(tmp_path) -> Path:
    """Forty different images: 0.png to 39.png."""
    for number in range(40):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def config_of(file: Path, **changes) -> DataConfig:
    given = {"label": "table", "source": "table", "file": str(file), "root": str(file.parent)}
    return DataConfig(**given | changes)


def rows_of(count: int = 40, classes: int = 2) -> list[dict[str, str]]:
    return [{"path": f"{n}.png", "label": f"class {n % classes}"} for n in range(count)]


def write(file: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    lines = [delimiter.join(rows[0]), *(delimiter.join(row.values()) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return file


def test_every_format_gives_the_same_splits(folder):
    rows = [row | {"split": ["train", "val", "test"][n % 3]} for n, row in enumerate(rows_of())]
    files = [
        write(folder / "a.csv", rows),
        write(folder / "b.tsv", rows, "\t"),
        write(folder / "c.csv", rows, ";"),
        folder / "d.jsonl",
    ]
    files[-1].write_text("\n".join(map(json.dumps, rows)))
    splits = [load_splits(config_of(file)) for file in files]
    digests = {tuple(map(each.digest, ("train", "val", "test"))) for each in splits}
    assert len(digests) == 1
    assert splits[0].counts == {"train": 14, "val": 13, "test": 13}
    assert splits[0].classes == ("class 0", "class 1") and splits[0].dataset == "a"


def test_parquet_is_read(folder):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.Table.from_pylist(rows_of()), folder / "a.parquet")
    assert sum(load_splits(config_of(folder / "a.parquet")).counts.values()) == 40


@pytest.mark.parametrize(
    "header",
    [("image", "choice"), ("image_id", "breed"), ("Filename", "Class"), ("filepath", "category")],
)
def test_usual_names_of_columns_are_found(header, folder):
    rows = [dict(zip(header, row.values(), strict=True)) for row in rows_of()]
    assert len(read_table(write(folder / "a.csv", rows), folder, {}).rows) == 40


@pytest.mark.parametrize("value", ["{}", "{}.png", "/data/upload/3/{}.png", "http://host/x/{}.png"])
def test_images_are_found_by_name_address_and_without_suffix(value, folder, tmp_path):
    rows = [{"path": value.format(n), "label": str(n % 2)} for n in range(40)]
    table = read_table(write(folder / "a.csv", rows), tmp_path / "elsewhere", {})
    assert [row.path for row in table.rows] == [folder / f"{n}.png" for n in range(40)]


def test_other_columns_are_named(folder):
    rows = [{"a": row["path"], "b": row["label"]} for row in rows_of()]
    file = write(folder / "a.csv", rows)
    assert len(read_table(file, folder, {"path": "a", "label": "b"}).rows) == 40
    with pytest.raises(UserError) as refused:
        read_table(file, folder, {"path": "a"})
    assert "column of the label" in refused.value.what and "data.columns" in refused.value.hint
    with pytest.raises(UserError, match="no column 'bb'"):
        read_table(file, folder, {"path": "a", "label": "bb"})


@pytest.mark.parametrize(
    ("changed", "row", "reason"),
    [
        ({"path": "none.png"}, 3, "no such image"),
        ({"label": ""}, 4, "no label"),
        ({"path": ""}, 5, "no path"),
    ],
)
def test_rows_that_cannot_be_used_are_named_or_left_out(changed, row, reason, folder):
    rows = rows_of()
    rows[row] |= changed
    file = write(folder / "a.csv", rows)
    with pytest.raises(UserError) as refused:
        load_splits(config_of(file))
    assert reason in refused.value.what and f"a.csv, line {row + 2}" in refused.value.what
    splits = load_splits(config_of(file, on_bad_image="skip"))
    assert sum(splits.counts.values()) == 39 and reason in splits.skipped[0]


@pytest.mark.parametrize(
    ("rows", "where", "what"),
    [
        ([{"path": "1.png", "label": "a"}, {"path": "1.png", "label": "b"}], "line 3", "line 2"),
        ([{"path": "1.png", "label": "a", "split": "holdout"}], "line 2", "none of train"),
        ([{"path": "1.png", "label": "a,b"}], "line 2", "more values"),
    ],
)
def test_contradictions_are_refused_with_their_row(rows, where, what, folder):
    with pytest.raises(UserError) as refused:
        load_splits(config_of(write(folder / "a.csv", rows)))
    assert where in refused.value.where and what in refused.value.what


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.csv", b"path,label\n\xff\xfe,a\n", "utf-8"),
        ("a.csv", b"path,label\n", "no rows"),
        ("a.csv", b"path,label\nnone.png,a\n", "none of its 1 rows"),
        ("a.xlsx", b"PK", "no table"),
        ("a.jsonl", b"{}\n[1]\n", "no JSON object"),
        ("a.jsonl", b"{nothing}\n", "no JSON"),
    ],
)
def test_files_that_are_no_table_are_refused(name, content, what, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=what):
        load_splits(config_of(tmp_path / name))


def test_groups_are_whole_in_splits_and_folds(folder):
    rows = [row | {"group": f"patient {n // 4}"} for n, row in enumerate(rows_of())]
    splits = load_splits(config_of(write(folder / "a.csv", rows)))
    of_split = [{image.group for image in splits[s]} for s in ("train", "val", "test")]
    assert all(of_split) and sum(map(len, of_split)) == len(set.union(*of_split)) == 10
    folds = make_folds(splits, 0)
    pool = (*splits.train, *splits.val)
    of_group: dict[str, set[int]] = {}
    for place, fold in zip(folds.scored, folds.fold, strict=True):
        of_group.setdefault(pool[place].group, set()).add(int(fold))
    assert all(len(found) == 1 for found in of_group.values())
    for k, sample in enumerate(folds.samples.tolist()):
        trained = {pool[place].group for place in sample}
        assert not trained & {group for group, found in of_group.items() if found == {k}}


def test_group_in_two_splits_is_refused(folder):
    rows = [
        row | {"group": f"p{n // 2}", "split": "train" if n < 31 else ("val", "test")[n % 2]}
        for n, row in enumerate(rows_of())
    ]
    with pytest.raises(UserError) as refused:
        load_splits(config_of(write(folder / "a.csv", rows)))
    assert "'p15'" in refused.value.what and "train" in refused.value.what


def test_groups_are_captured_in_the_paths_of_a_folder(tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(20):
            image = Image.new("RGB", (8, 8), (number, label == "a", 0))
            image.save(tmp_path / label / f"p{number // 4}_{number}.png")
    config = DataConfig(label="folder", source="folder", root=str(tmp_path), group_from=r"/(p\d+)_")
    splits = load_splits(config)
    groups = [{image.group for image in splits[s]} for s in ("train", "val", "test")]
    assert set.union(*groups) == {f"p{n}" for n in range(5)} and sum(map(len, groups)) == 5
    config.group_from = r"(q\d+)"
    with pytest.raises(UserError) as refused:
        load_splits(config)
    assert refused.value.where == r"data.group_from=(q\d+)"
