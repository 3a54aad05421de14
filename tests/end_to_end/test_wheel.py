"""The wheel, in an environment of its own and an empty folder: no checkout, no network."""

import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    build = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([sys.executable, "-m", *build, "-w", folder, ROOT], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Install the wheel alone; its requirements are those of this environment."""
    place = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    # Searched last; its own .pth files, such as that of this checkout, are not read.
    (packages / "requirements.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    install = [
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-warn-conflicts",
        "--ignore-installed",
    ]
    command = [sys.executable, "-m", *install, "--prefix", place, wheel]
    subprocess.run(command, check=True)
    return place / "bin"


@pytest.fixture
def visionsweep(installed, tmp_path, sample_root):
    """Run the command in an empty folder, on small images that are there already."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VISION"))}
    environment |= {"VISIONSWEEP_CACHE": str(tmp_path / "cache"), "COLUMNS": "200"}
    (tmp_path / "empty").mkdir()

    def run(*words, status=0):
        done = subprocess.run(
            [installed / "python", installed / "visionsweep", *map(str, words)],
            cwd=tmp_path / "empty", env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return run


def test_wheel_holds_every_file_of_conf_and_the_page(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    source = {f"visionsweep/{f.relative_to(ROOT)}" for f in (ROOT / "conf").rglob("*.yaml")}
    assert source == {name for name in names if name.endswith(".yaml")}
    page = ROOT / "src" / "visionsweep" / "report" / "page"
    assert {f"visionsweep/report/page/{f.name}" for f in page.iterdir() if f.is_file()} <= set(
        names
    )


def test_eight_runs_a_leaderboard_and_a_prediction_outside_the_checkout(
    visionsweep, sample_root, tmp_path
):
    tiny = ["model.weights=null", "data=sample", f"data.root={sample_root}", "transform.size=32"]
    own = tmp_path / "own" / "optimizer"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# Mine.\ndefaults: [adam]\nname: mine\n")
    grid = ["model=resnet18,mobilenet_v3_small", "optimizer=adam,mine", "epochs=1,2"]
    trained = visionsweep("train", "--config-dir", own.parent, "-m", *grid, *tiny)
    (sweep,) = (tmp_path / "empty" / "outputs").glob("*/*")
    assert len(list(sweep.glob("*/result.json"))) == 8
    assert f"visionsweep view {sweep.relative_to(tmp_path / 'empty')} --all" in trained.stdout
    assert "src/" not in trained.stdout + trained.stderr

    assert "python" not in visionsweep("compare", "--markdown").stdout
    photo = next((sample_root / "sample").rglob("*.jpg"))
    assert photo.name in visionsweep("predict", photo, "--csv").stdout
    visionsweep("export", "--format", "torch_export", "--to", tmp_path / "handed")
    assert (tmp_path / "handed" / "predict.py").is_file()
    again = visionsweep("reproduce", next(sweep.glob("*/")), *tiny[2:3]).stdout
    assert "identical" in again
    assert "features: 2 stores" in visionsweep("cache", "list").stdout


def test_commands_explain_themselves(visionsweep):
    listed = visionsweep("--help").stdout
    names = ("train", "compare", "predict", "evaluate", "export", "reproduce", "view", "cache")
    for name in names:
        assert f"\n  {name} " in listed
        explained = visionsweep(name, "--help").stdout
        assert f"visionsweep {name}" in explained and "src/" not in explained
    refused = visionsweep("trian", status=2)
    assert "did you mean 'train'?" in refused.stderr
    nowhere = visionsweep("train", "model=timm_is_not_here", status=1)
    assert "visionsweep train --help" in nowhere.stderr
