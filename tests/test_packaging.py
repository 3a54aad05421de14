"""Installation: the interpreter that make chooses, dependency groups, pins, ignored outputs."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)$")

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
needs_git = pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout"
)


@pytest.fixture
def interpreters(tmp_path):
    """Put this Python on a PATH of its own, with another version or without venv."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "sed", "touch", "rm"):
        (folder / tool).symlink_to(shutil.which(tool))

    def make(name, version, *, has_venv=True, starts=True):
        release = ", ".join(version.split("."))
        disguise = f"import sys; sys.version_info = ({release}); "
        if not has_venv:
            disguise += "sys.modules['ensurepip'] = None; "
        (folder / name).write_text(
            f'#!/bin/sh\nexec {sys.executable} -I -S -c "{disguise} exec(sys.argv[1])" "$2"\n'
            if starts
            else f"#!/bin/sh\necho 'pyenv: {name}: command not found' >&2\nexit 127\n"
        )
        (folder / name).chmod(0o755)

    make.path = str(folder)
    return make


def dry_run(path, *arguments, target="demo"):
    """Print the commands of a target in a checkout without an environment."""
    command = [shutil.which("make"), "-n", target, "VENV=not-there", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={"PATH": path}, capture_output=True, text=True, check=False
    )


def chosen(done):
    created = re.search(r"^(\S+) -m venv not-there$", done.stdout, re.MULTILINE)
    assert created, done.stdout + done.stderr
    return created[1]


@needs_make
@pytest.mark.parametrize("name", ["python3", "python3.11", "python3.12", "python3.13"])
def test_make_takes_any_python_from_3_11_on(name, interpreters):
    interpreters(name, "3.13" if name == "python3" else name.removeprefix("python"))
    assert chosen(dry_run(interpreters.path)) == name


@needs_make
def test_interpreter_that_does_not_start_or_has_no_venv_is_passed_over(interpreters):
    interpreters("python3.13", "3.13", starts=False)
    interpreters("python3.12", "3.12", has_venv=False)
    interpreters("python3", "3.11")
    assert chosen(dry_run(interpreters.path)) == "python3"


@needs_make
def test_python_named_by_the_user_is_checked_as_well(interpreters):
    interpreters("python3.12", "3.12")
    interpreters("mine", "3.11")
    interpreters("old", "3.10")
    assert chosen(dry_run(interpreters.path, "PYTHON=mine")) == "mine"
    refused = dry_run(interpreters.path, "PYTHON=old")
    assert chosen(refused) == "false"
    assert "3.10" in refused.stderr and "3.11" in refused.stderr


@needs_make
def test_old_python_fails_the_target_and_is_named_with_its_version(interpreters):
    interpreters("python3", "3.9")
    command = [shutil.which("make"), "lint", "VENV=not-there"]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": interpreters.path}, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "python3 is Python 3.9" in done.stderr and "3.11" in done.stderr
    assert not (ROOT / "not-there").exists()


@needs_make
@pytest.mark.parametrize(
    ("version", "has_venv", "missing"),
    [("3.12", False, "python3.12-venv"), (None, True, "apt install python3 python3-venv")],
)
def test_package_to_install_is_named(version, has_venv, missing, interpreters):
    if version:
        interpreters("python3", version, has_venv=has_venv)
    done = dry_run(interpreters.path)
    assert chosen(done) == "false"
    assert missing in done.stderr


@needs_make
@pytest.mark.parametrize("target", ["demo", "test", "lint"])
def test_cpu_wheels_are_installed_before_the_rest(target, interpreters):
    interpreters("python3", "3.11")
    plain = dry_run(interpreters.path, target=target).stdout
    assert "download.pytorch.org" not in plain
    lines = dry_run(interpreters.path, "TORCH=cpu", target=target).stdout.splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2
    assert "--index-url https://download.pytorch.org/whl/cpu torch torchvision" in installs[0]
    assert "--editable" in installs[1] and "index" not in installs[1]
    assert all("--constraint constraints.txt" in line for line in installs)


def test_pins_admit_the_cpu_wheels():
    # Their versions carry a local label; a pin without one must still match.
    for name in ("torch", "torchvision"):
        version = pins()[name]
        assert Requirement(f"{name}=={version}").specifier.contains(f"{version}+cpu")


def pins():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    matched = [PIN.match(line) for line in lines if not line.startswith("#")]
    assert all(matched), "constraints.txt holds exact versions and nothing else"
    names = [canonicalize_name(match[1]) for match in matched]
    assert len(names) == len(set(names)), "a package is pinned twice"
    return dict(zip(names, (match[2] for match in matched), strict=True))


def group(name):
    """Return the requirements of a dependency group with the groups that it includes."""
    requirements = []
    for entry in PROJECT["dependency-groups"][name]:
        requirements += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return requirements


def test_dev_extra_and_dev_group_are_the_same():
    assert sorted(EXTRAS["dev"]) == sorted(group("dev"))


def test_every_requirement_is_pinned_to_a_version_that_it_allows():
    everything = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    everything += [line for lines in EXTRAS.values() for line in lines]
    pinned = pins()
    for requirement in map(Requirement, everything):
        if requirement.name != PROJECT["project"]["name"]:
            version = pinned[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), f"{requirement} against {version}"


def test_pins_name_no_host():
    assert "://" not in (ROOT / "constraints.txt").read_text("utf-8")


def test_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]


def test_continuous_integration_requires_only_what_the_classifiers_claim():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
    fast = workflow["jobs"]["fast"]
    claimed = [
        version[1]
        for line in PROJECT["project"]["classifiers"]
        if (version := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]
    assert claimed == re.findall(r"matrix\.python != '([\d.]+)'", fast["continue-on-error"])
    assert set(claimed) <= set(fast["strategy"]["matrix"]["python"])
    assert {system.partition("-")[0] for system in fast["strategy"]["matrix"]["os"]} == {
        "ubuntu", "macos", "windows",
    }  # fmt: skip


@needs_git
def test_outputs_holds_its_readme_and_git_ignores_the_rest():
    tracked = subprocess.run(
        ["git", "ls-files", "outputs"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert tracked.stdout.split() == ["outputs/README.md"]

    def ignored(path):
        command = ["git", "check-ignore", "--no-index", "-q", path]
        return subprocess.run(command, cwd=ROOT).returncode == 0

    assert ignored("outputs/2026-01-31/12-00-00-000000/result.json")
    assert ignored("benchmarks/outputs/2026-01-31")
    assert not ignored("outputs/README.md")
