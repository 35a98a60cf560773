"""The pinned requirements: complete, and free of any registry's address."""

import re
import tomllib

import pytest

from tests.tools.conftest import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
SOURCES = "requirements-iptables.lock"


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    return dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("name", [*LOCKS, SOURCES])
def test_a_lock_is_nothing_but_pins_and_hashes(name):
    for line in (ROOT / name).read_text().splitlines()[1:]:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9a-z.]+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line), line


def test_the_locks_hold_what_the_project_asks_for_in_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime, development = map(pins, LOCKS)
    asked = {name(need) for need in project["dependencies"]}
    extras = {extra: {name(need) for need in needs} for extra, needs in project["optional-dependencies"].items()}
    assert asked <= set(runtime) and asked | extras["dev"] <= set(development)
    assert extras["iptables"] == set(pins(SOURCES))
    assert runtime.items() <= development.items()


def name(need):
    return re.sub("[-_.]+", "-", re.match(r"[\w.-]+", need)[0]).lower()
