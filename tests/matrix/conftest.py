"""One topology for all cells of one backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.matrix.topology import Topology


@pytest.fixture(scope="session", params=["nftables", "iptables"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def topology(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    lab = Lab()
    made = Topology(lab, tmp_path_factory.mktemp(backend) / "run", backend)
    yield made
    made.close()
    lab.close()
