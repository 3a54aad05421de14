"""What a user sees of an outputs folder that is full or cannot be written to."""

import re

import pytest

from visionsweep.runs.discovery import find_runs


@pytest.mark.exhaustive
def test_full_disk_fails_the_runs_without_room_and_the_same_command_completes_them(
    pictures, undisturbed, small_disk
):
    small_disk.fill(but=700_000)
    asked = [*pictures.grid, f"outputs_dir={small_disk.path}/outputs"]
    full = pictures.train(*asked)
    assert full.returncode == 1
    assert "No space left on device" in full.stderr and "resume=last" in full.stderr
    assert "Traceback" not in full.stdout + full.stderr
    found = find_runs([small_disk.path])
    assert found.skipped == []
    completed = {r.record.name: r.record for r in found.runs if r.record.status == "completed"}
    assert 1 <= len(completed) < 8
    assert not list(small_disk.path.rglob("*.part"))

    small_disk.empty()
    small_disk.remount("size=60m")
    done = pictures.train(*asked, "resume=last")
    assert done.returncode == 0, done.stderr
    kept = re.findall(r"(\d+) runs? w(?:as|ere) finished earlier", done.stderr)
    assert sum(map(int, kept)) == len(completed)
    records = pictures.records(str(small_disk.path))
    assert set(records) == set(undisturbed)
    for name, each in records.items():
        assert pictures.numbers(each) == pictures.numbers(undisturbed[name]), name


def test_read_only_outputs_folder_is_refused_before_any_run(pictures, small_disk):
    small_disk.remount("ro")
    refused = pictures.train("model=resnet18", f"outputs_dir={small_disk.path}/outputs")
    small_disk.remount("rw")
    assert refused.returncode == 1
    assert "may not be written to" in refused.stderr and "Nothing was run" in refused.stderr
    assert list(pictures.directory.iterdir()) == [small_disk.path]
