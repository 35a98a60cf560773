"""One town for all cells of one backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab
from tests.matrix.town import Town


@pytest.fixture(scope="session", params=["nftables", "iptables"])
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def town(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    lab = Lab()
    made = Town(lab, tmp_path_factory.mktemp(backend) / "run", backend)
    yield made
    made.close()
    lab.close()
