"""One topology per file, and per firewall backend in the files that are about the firewall."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.packets.topology import BOOKS, AddressPlan, Topology


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest) -> str:
    """The firewall's; files that are about it name both."""
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
    """The addresses of one family; a test that names this is run for both."""
    return BOOKS[request.param]
