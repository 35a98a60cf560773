"""The systemd units are valid, and their options leave the daemons what they need."""

import configparser
import shutil
import subprocess

import pytest

from tests.tools.conftest import ROOT

UNITS = ("netd.service", "netd-runtime.service", "netd-runtime.socket")


@pytest.fixture
def units(tmp_path):
    for name in UNITS:
        text = (ROOT / "packaging" / name).read_text()
        (tmp_path / name).write_text(text.replace("@BIN@", str(ROOT / ".venv/bin")))
    return [tmp_path / name for name in UNITS]


def test_systemd_finds_no_fault_in_the_units(units):
    assert shutil.which("systemd-analyze"), "install the package systemd; tools/setup dev does"
    # Manual pages of the installation are not installed here.
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=60)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "netd" in line]
    assert ours == [], done


@pytest.mark.parametrize("name", ["netd.service", "netd-runtime.service"])
def test_no_option_gives_a_daemon_a_mount_namespace_of_its_own(name):
    """systemd.exec(5): these options start the process in a new mount namespace."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(ROOT / "packaging" / name)
    prefixes = ("Private", "Protect", "ReadOnly", "ReadWrite", "Inaccessible", "Bind", "Temporary", "Root", "Mount")
    assert [key for key in unit["Service"] if key.startswith(prefixes)] == []
    assert unit["Service"]["KillMode"] == "process" and unit["Service"]["Type"] == "notify"
