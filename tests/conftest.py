"""What all tests share: mounts that go with the run, and the packet laboratory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from hypothesis import settings

from netd.kernel.namespaces import libc
from tests.lab import Lab

settings.register_profile("netd", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("netd")


def pytest_sessionstart() -> None:
    """Keep the mounts of the tests in a mount namespace of their own, so that none outlives even a killed run."""
    if os.geteuid() == 0:
        libc.unshare(libc.CLONE_NEWNS)
        libc.make_mounts_private()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A laboratory of throwaway hosts.  It needs root and the tools to look at them; without, tests fail."""
    assert os.geteuid() == 0, "the tests of the kernel's side need root"
    for tool in ("ip", "nft", "nsenter"):
        assert shutil.which(tool), f"the tests need {tool}: install iproute2, nftables and util-linux"
    made = Lab()
    yield made
    made.close()
