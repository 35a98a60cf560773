"""End to end: both daemons and real containers, driven by netctl."""

import pytest

from tests.installation import running_installation


@pytest.fixture(scope="module")
def installation():
    """An installation with a busybox image, shared by the tests of one module."""
    with running_installation() as place:
        yield place


@pytest.fixture(autouse=True)
def emptied(request):
    """Remove containers and networks of the shared installation after each test."""
    yield
    if "installation" in request.fixturenames:
        request.getfixturevalue("installation").remove_all()
