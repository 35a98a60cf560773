"""Shared by all tests: a private mount namespace, and the packet laboratory."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from netd.kernel.namespaces import libc
from tests.lab import Lab

settings.register_profile("netd", deadline=None)  # The duration of an example depends on the load of the machine.
settings.load_profile("netd")


def pytest_sessionstart() -> None:
    """Enter a private mount namespace, so that no mount of the tests outlives the run, even a killed one."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs so, and every process that the tests start would ignore Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.geteuid() == 0:
        libc.unshare(libc.CLONE_NEWNS)
        libc.make_mounts_private()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A laboratory of temporary hosts.  Without root and the tools that inspect the hosts, tests fail."""
    assert os.geteuid() == 0, "the tests of the kernel packages need root"
    for tool in ("ip", "nft", "nsenter"):
        assert shutil.which(tool), f"the tests need {tool}: install iproute2, nftables and util-linux"
    made = Lab()
    yield made
    made.close()
