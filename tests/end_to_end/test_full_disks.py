"""What a user sees of a cache and a data folder that are full."""

import json

import pytest
from PIL import Image


@pytest.mark.exhaustive
def test_full_cache_changes_no_number_and_is_reported_once(tmp_path, commands, small_disk):
    folder = tmp_path / "mine"
    for number in range(12):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * number, 100, 0)).save(path)
    settings = ["model=resnet18", "model.weights=null", "data=folder", f"data.root={folder}"]
    settings += ["transform.size=32", "epochs=2", "device=cpu"]
    small_disk.fill()
    full = commands.run("train.py", *settings, f"features.cache_dir={small_disk.path}")
    assert full.returncode == 0, full.stderr
    assert full.stdout.count("THE CACHE CANNOT BE WRITTEN") == 1
    assert "No space left on device" in full.stdout
    small_disk.empty()
    roomy = commands.run("train.py", *settings, f"features.cache_dir={small_disk.path}")
    assert roomy.returncode == 0 and "CACHE" not in roomy.stdout
    files = sorted(tmp_path.glob("outputs/*/*/result.json"))
    assert len(files) == 2
    first, second = (json.loads(file.read_text())["metrics"] for file in files)
    assert first == second


@pytest.mark.exhaustive
def test_full_data_folder_is_an_error_without_traceback_and_the_same_command_resumes(
    tmp_path, commands, small_disk, publish
):
    settings = ["model=resnet18", "model.weights=null", "transform.size=32", "epochs=1"]
    settings += [f"data.root={small_disk.path}", f"data.base_url={publish(tmp_path / 'published')}"]
    settings += ["data.checksums=null"]
    small_disk.fill(but=50_000)
    refused = commands.run("train.py", *settings)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    folder = small_disk.path / "pizza_steak_sushi"
    assert f"{folder}: No space left on device (" in refused.stderr
    assert " needed, " in refused.stderr and "data.root=FOLDER" in refused.stderr
    assert not folder.exists()
    record = json.loads(next(tmp_path.glob("outputs/*/*/result.json")).read_text())
    assert record["status"] == "failed" and "No space left" in record["failure"]["message"]
    small_disk.empty()
    done = commands.run("train.py", *settings)
    assert done.returncode == 0, done.stderr
