"""One topology per file, and per firewall backend in files that test the firewall."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.packets.topology import BOOKS, AddressPlan, Topology


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest) -> str:
    """The firewall backend; files that test the firewall set both."""
    return getattr(request, "param", "nftables")


@pytest.fixture(scope="module")
def topology(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    lab = Lab()
    made = Topology(lab, tmp_path_factory.mktemp(backend) / "run", backend)
    yield made
    made.close()
    lab.close()


@pytest.fixture(params=BOOKS, ids="IPv{}".format)
def plan(request: pytest.FixtureRequest) -> AddressPlan:
    """The addresses of one family; tests with this fixture run for both."""
    return BOOKS[request.param]
