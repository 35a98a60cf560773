"""An image, a network namespace and a launcher for the tests of the runtime's low level."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from low_box import Box, make_image


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert os.geteuid() == 0, "containers need root"
    return make_image(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture(scope="session")
def netns() -> Iterator[str]:
    """The path of a network namespace with a loopback device that is up."""
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link set lo up; echo; exec sleep infinity"], stdout=-1)
    assert holder.stdout is not None
    holder.stdout.readline()
    yield f"/proc/{holder.pid}/ns/net"
    holder.kill()
    holder.wait()
    holder.stdout.close()


@pytest.fixture
def box(tmp_path: Path, image: Path, netns: str) -> Iterator[Box]:
    made = Box(tmp_path, image, netns)
    yield made
    made.close()
