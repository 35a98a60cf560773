"""End to end: both daemons and real containers, driven by netctl."""

import pytest

from tests.installation import Installation


@pytest.fixture(scope="module")
def installation():
    """An installation with a busybox image, shared by the tests of one module."""
    place = Installation()
    try:
        place.start()
        place.load_busybox()
        yield place
    finally:
        place.destroy()


@pytest.fixture(autouse=True)
def emptied(request):
    """Remove containers and networks of the shared installation after each test."""
    yield
    if "installation" in request.fixturenames:
        request.getfixturevalue("installation").remove_all()
