"""What ``netctl compose create`` makes of the corpus is inspected as what Docker's compose makes of it on Docker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.compose import created, recorder
from tests.differential.compare import differences
from tests.installation import MAPPED, running_installation

DIFFERENCES = recorder.GOLDEN / "created-differences.json"
COMPOSE = os.environ.get("NETD_DOCKER_COMPOSE", "")
"""Docker's compose, to create the projects with it in place of netctl."""

pytestmark = pytest.mark.skipif(MAPPED, reason="the recorded documents are those of containers without user namespaces")


@pytest.fixture(scope="module")
def engine():
    """Return the socket of netd-runtime, and the call of the compose that is tested."""
    with running_installation() as installation:
        socket = str(installation.run / "docker.sock")
        created.prepare_engine(socket)
        yield socket, created.docker_compose(COMPOSE, socket) if COMPOSE else _netctl(str(installation.run))


@pytest.fixture(scope="module")
def ours(engine):
    socket, compose = engine
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda name: created.created(socket, compose, name), recorder.names())
        return dict(zip(recorder.names(), found, strict=True))


def _netctl(run_dir: str) -> created.Compose:
    def run(folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
        variables = {**created.environment(folder), "NETD_RUN_DIR": run_dir, "PYTHONPATH": os.getcwd()}
        command = [sys.executable, "-m", "netd.cli.main", "compose", *words]
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)

    return run


def _known() -> dict[str, str]:
    """Return the reason of each difference that stays; ``*`` stands for any name in a path."""
    listed: dict[str, list[str]] = json.loads(DIFFERENCES.read_text())
    return {place: reason for reason, places in listed.items() for place in places}


def _is_known(path: str, known: dict[str, str]) -> bool:
    return any(_matches(place, path) for place in known)


def _matches(place: str, path: str) -> bool:
    wanted, given = place.split("."), path.split(".")
    return len(wanted) == len(given) and all(word in ("*", key) for word, key in zip(wanted, given, strict=True))


@pytest.mark.parametrize("name", recorder.names())
def test_a_created_project_is_inspected_as_that_of_docker(ours, name):
    docker = json.loads(created.FILE.read_text())["projects"][name]
    assert _new_differences(docker, ours[name]) == ""


@pytest.mark.parametrize("name", created.STARTED)
def test_a_started_project_is_inspected_as_that_of_docker(engine, name):
    docker = json.loads(created.FILE.read_text())["started"][name]
    assert _new_differences(docker, created.created(*engine, name, start=True)) == ""


def _new_differences(docker: created.Json, ours: created.Json) -> str:
    known = _known()
    found = differences(_dotless(docker), _dotless(ours))
    return "\n".join(str(entry) for entry in found if not _is_known(f"{entry.call}.{entry.path}", known))


def _dotless(value):
    """Replace dots in keys, so that a path can be split at them."""
    if isinstance(value, dict):
        return {key.replace(".", "/"): _dotless(entry) for key, entry in value.items()}
    return [_dotless(entry) for entry in value] if isinstance(value, list) else value
