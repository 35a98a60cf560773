"""A mock Engine API server for each test, and netctl in this process or in a subprocess."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_terminal import ROOT, Typist
from engine_peer import Peer
from hypothesis import settings

from netd.cli.main import main

# A loaded machine can exceed hypothesis' deadline of 0.2 s per example.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETD_RUN_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def peer(run_dir: Path) -> Iterator[Peer]:
    made = Peer(run_dir / "docker.sock")
    yield made
    made.close()


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def netctl(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Run netctl in this process and return its output."""

    def call(*words: str) -> Said:
        capfd.readouterr()
        code = main(list(words))
        return Said(code, *capfd.readouterr())

    return call


@pytest.fixture
def start(run_dir: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start netctl in a subprocess with pipes."""
    started: list[subprocess.Popen[bytes]] = []

    def call(*words: str, **kwargs: object) -> subprocess.Popen[bytes]:
        streams = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        process = subprocess.Popen([sys.executable, "-m", "netd.cli.main", *words], cwd=ROOT, **(streams | kwargs))
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def terminal(run_dir: Path) -> Iterator[Callable[..., Typist]]:
    """Start netctl on a new pseudo-terminal."""
    started: list[Typist] = []

    def call(*words: str, rows: int = 24, columns: int = 80) -> Typist:
        typist = Typist([sys.executable, "-m", "netd.cli.main", *words], rows, columns)
        started.append(typist)
        return typist

    yield call
    for typist in started:
        typist.close()
