"""The wheel holds every file of the packages, and its console scripts work without the checkout."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.tools.conftest import ROOT

PACKAGES = ("netd", "runtime")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel made from a copy of the packages, because setuptools writes into the folder of the project."""
    folder = tmp_path_factory.mktemp("wheel")
    project = folder / "project"
    project.mkdir()
    names = (*PACKAGES, "pyproject.toml", "README.md", "LICENSE")
    subprocess.run(["cp", "-r", *(ROOT / name for name in names), project], check=True)
    pip(["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, project])
    (made,) = folder.glob("*.whl")
    return made


def pip(words):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    wanted = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == wanted


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder in which only the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed")
    pip(["install", "--no-deps", "--no-index", "--target", folder, wheel])
    return folder


@pytest.mark.parametrize("words", [("netd", "--version"), ("netd-runtime", "--version"), ("netctl", "--help")])
def test_console_scripts_work(installed, words):
    script, *flags = words
    done = run(installed, installed / "bin" / script, *flags)
    assert done.returncode == 0 and script in done.stdout, done


def test_the_code_is_that_of_the_wheel(installed):
    done = run(installed, sys.executable, "-c", "import netd, runtime; print(netd.__file__, runtime.__file__)")
    assert done.stdout.split() == [str(installed / package / "__init__.py") for package in PACKAGES]


def run(installed, *command):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd="/")
