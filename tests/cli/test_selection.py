"""Which run is asked, and about which images."""

import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from visionsweep.cli.selection import choose_run, expand, named_run
from visionsweep.errors import UserError
from visionsweep.runs.discovery import find_runs
from visionsweep.runs.paths import RECORD, event_folders
from visionsweep.runs.record import Failure


def test_lowest_validation_loss_is_chosen(write_run, tmp_path):
    for name, loss in (("a", 0.5), ("b", 0.2), ("c", 0.9)):
        write_run(name, loss)
    run, reason = choose_run(tmp_path / "outputs")
    assert run.record.name == "b"
    assert reason.startswith("lowest validation loss of 3 runs on sample; none is recommended: ")


def test_runs_scored_on_other_images_do_not_compete(write_run, tmp_path):
    write_run("others", 0.1, val_images="elsewhere", dataset="pets")
    write_run("a", 0.5)
    write_run("b", 0.4)
    later = tmp_path / "outputs" / "b" / "result.json"
    later.write_text(later.read_text().replace("2026-01-31", "2026-02-01"))
    run, reason = choose_run(tmp_path / "outputs")
    assert run.record.name == "b"
    assert "1 run on other images left out" in reason


def test_records_and_predictions_that_cannot_be_used_are_named(write_run, tmp_path, capsys):
    write_run("a", 0.3)
    (write_run("damaged", 0.2) / "logits.safetensors").write_bytes(b"x")
    write_run("broken")
    (tmp_path / "outputs" / "broken" / RECORD).write_text("{")
    assert choose_run(tmp_path / "outputs")[0].record.name == "a"
    broken, damaged = capsys.readouterr().err.splitlines()
    assert broken.startswith("passed over") and "broken" in broken
    assert damaged.startswith("passed over") and "damaged" in damaged


def test_failed_runs_cannot_predict(write_run, tmp_path):
    write_run("a")
    with pytest.raises(UserError, match="no completed run"):
        choose_run(tmp_path / "outputs")


def test_diverged_run_is_never_chosen(write_run, tmp_path):
    write_run("diverged", math.nan)
    with pytest.raises(UserError, match="train again with a smaller optimizer"):
        choose_run(tmp_path / "outputs")
    write_run("on-other-images", 0.9, val_images="elsewhere")
    assert choose_run(tmp_path / "outputs")[0].record.name == "on-other-images"
    with pytest.raises(UserError, match="training diverged"):
        choose_run(tmp_path / "outputs" / "diverged")


def test_folders_are_searched_and_an_empty_one_refused(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    Image.new("L", (4, 4)).save(tmp_path / "deep" / "er" / "b.png")
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    assert [p.name for p in expand([tmp_path]).images] == ["a.png", "b.png"]
    absent = tmp_path / "absent.jpg"  # beside others it is told of when its turn comes
    assert expand([tmp_path / "a.png", absent]).images == [tmp_path / "a.png", absent]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        expand([tmp_path / "empty"])


def test_choosing_a_run_does_not_import_torch():
    code = "import sys, visionsweep.cli.selection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_is_named_by_its_directory_or_by_its_record(write_run):
    directory = write_run("a", 0.5)
    for place in (directory, directory / "result.json"):
        assert named_run(place).directory == directory
        assert named_run(place).record.name == "a"


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_run_without_results_is_refused_with_its_reason(write_run, status):
    failure = Failure("UserError", "no such folder")
    directory = write_run("a", 0.5, status=status, failure=failure)
    with pytest.raises(UserError, match=rf"{status} \(UserError: no such folder\)"):
        named_run(directory)


def test_record_with_another_schema_is_refused(write_run):
    directory = write_run("a", 0.5)
    content = json.loads((directory / "result.json").read_text())
    (directory / "result.json").write_text(json.dumps(content | {"schema_version": 0}))
    with pytest.raises(UserError, match="schema version 0; this program reads 1"):
        named_run(directory)


def test_a_folder_without_a_run_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=f"a folder that holds {RECORD}"):
            named_run(place)


def test_folder_of_runs_is_refused_and_commands_are_listed_best_first(write_run, tmp_path):
    for name, loss in (("a 1", 0.5), ("b", 0.2)):
        write_run(name, loss)
    write_run("c", status="failed")
    with pytest.raises(UserError) as refused:
        named_run(tmp_path / "outputs", "reproduce")
    assert refused.value.where == str(tmp_path / "outputs")
    assert "2 completed runs" in refused.value.what and "1 more" in refused.value.what
    _, *commands = refused.value.hint.splitlines()
    assert [shlex.split(line)[2] for line in commands] == [
        str(tmp_path / "outputs" / name) for name in ("b", "a 1")
    ]
    assert all(Path(shlex.split(line)[1]).name == "reproduce.py" for line in commands)


def test_folder_of_images_and_file_are_not_taken_for_runs(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError) as refused:
        named_run(tmp_path)
    assert "folder of images" in refused.value.what
    with pytest.raises(UserError) as refused:
        named_run(tmp_path / "a.png")
    assert refused.value.where == str(tmp_path / "a.png") and "no record" in refused.value.what


def test_missing_path_is_refused_with_the_nearest_name(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "photo.png")
    (tmp_path / "outputs").mkdir()
    for ask in (
        lambda: expand([tmp_path / "photos.png"]),
        lambda: named_run(tmp_path / "output"),
        lambda: find_runs([tmp_path / "output"]),
        lambda: event_folders(tmp_path / "output"),
    ):
        with pytest.raises(UserError) as refused:
            ask()
        assert "no such" in refused.value.what
        assert "photo.png" in refused.value.what or "outputs" in refused.value.what
    with pytest.raises(UserError, match="is a file"):
        event_folders(tmp_path / "photo.png")


def test_path_that_is_not_a_folder_is_refused_and_never_suggested(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    for name, why in (("pipe", "device, pipe, or socket"), ("gone", "broken link to 'nowhere'")):
        for ask in (named_run, event_folders, lambda place: find_runs([place])):
            with pytest.raises(UserError) as refused:
                ask(tmp_path / name)
            assert refused.value.where == str(tmp_path / name)
            assert why in refused.value.what and "did you mean" not in refused.value.what
