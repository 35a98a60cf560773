"""The commands in tools/, run as subprocesses."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool():
    """Run a program of tools/ and return the completed process."""

    def run(name, *words, **options):
        command = [str(ROOT / "tools" / name), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100, **options)

    return run
