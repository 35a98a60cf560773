"""End to end: both daemons, real containers, driven as a person would."""

import pytest

from tests.installation import Installation


@pytest.fixture(scope="module")
def installation():
    """An installation with a busybox image, shared by the tests of one module; each test cleans its own containers."""
    place = Installation()
    try:
        place.start()
        place.load_busybox()
        yield place
    finally:
        place.destroy()


@pytest.fixture(autouse=True)
def emptied(request):
    """Remove what a test left in the shared installation, so that tests do not meet each other's containers."""
    yield
    if "installation" in request.fixturenames:
        request.getfixturevalue("installation").remove_all()
