import pytest

from visionsweep.errors import UserError
from visionsweep.export.folder import refuse_taken, written_at_once


def test_failure_leaves_the_folder_as_it_was(tmp_path):
    folder = tmp_path / "export-onnx"
    folder.mkdir()
    (folder / "labels.json").write_text("old")
    with pytest.raises(ZeroDivisionError), written_at_once(folder) as place:
        (place / "labels.json").write_text("new")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["export-onnx"]
    assert (folder / "labels.json").read_text() == "old"


def test_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "above" / "mine"
    for name in ("model.onnx", "model.pt2"):
        with written_at_once(folder) as place:
            (place / name).touch()
            assert not (folder / name).exists()
    assert [path.name for path in folder.iterdir()] == ["model.pt2"]
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_nothing_but_an_export_is_replaced(tmp_path):
    refuse_taken(tmp_path / "new", force=False)
    refuse_taken(tmp_path, force=False)  # empty
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UserError) as refused:
        refuse_taken(tmp_path, force=False)
    assert "--force" in str(refused.value.hint)
    refuse_taken(tmp_path, force=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for place in (tmp_path, tmp_path / "model.onnx", tmp_path / "link"):
        with pytest.raises(UserError):
            refuse_taken(place, force=True)
