"""What a run writes is as open to others as the umask says: outputs, cache and data."""

import os
import stat

import pytest


@pytest.mark.exhaustive
@pytest.mark.parametrize("umask", [0o077], ids=oct)
def test_files_of_a_run_respect_the_umask(pictures_in, tmp_path, publish, umask):
    address = publish(tmp_path / "published")
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    commands = pictures_in(place)
    small = ("model=mobilenet_v3_small", "model.weights=null", "epochs=1", "transform.size=32")
    before = os.umask(umask)
    try:
        done = commands.run(
            "train.py", "-m", *small, "data=10pct", "data.root=data", f"data.base_url={address}",
            "data.checksums=null", "replicates=2", "seed=1,2",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        done = commands.process("../scripts/predict_test_images.py")
        assert done.returncode == 0, done.stderr
    finally:
        os.umask(before)
    paths = [p for p in place.rglob("*") if not p.is_symlink()]
    names = {path.name for path in paths}
    assert {"report.html", "result.json", "predictions.csv", "logits.safetensors", "steak",
            "head.safetensors", "predictions-1.png", "thumbnails", "0.jpg"} <= names  # fmt: skip
    assert any("tfevents" in name for name in names)
    modes = {str(p.relative_to(place)): stat.S_IMODE(p.stat().st_mode) for p in paths}
    kinds = {str(p.relative_to(place)): 0o777 if p.is_dir() else 0o666 for p in paths}
    wrong = {name: oct(mode) for name, mode in modes.items() if mode != kinds[name] & ~umask}
    assert wrong == {}
