"""Images for other platforms are refused with the reason."""

import pytest

from netd.common.errors import BadRequest, NotFound
from runtime.images import compatibility
from runtime.platforms import Platform

AMD64, ARM64, WINDOWS = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("windows", "amd64")


@pytest.fixture(autouse=True)
def on_amd64(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("linux/aarch64", ARM64),
        ("arm64", ARM64),
        ('{"os":"linux","architecture":"arm64","variant":"v8"}', ARM64),
        ('{"architecture":"amd64"}', AMD64),
    ],
)
def test_requested_platforms_are_parsed_in_both_forms(text, found):
    assert compatibility.requested(text) == found


@pytest.mark.parametrize("text", ["{", '{"os":1}', "linux/", "../.."])
def test_invalid_platforms_are_refused(text):
    with pytest.raises(BadRequest):
        compatibility.requested(text)


def test_images_that_cannot_be_used_are_refused_with_the_reason():
    compatibility.check(Platform("linux", "386"), "x")
    compatibility.check(ARM64, "x", ARM64)
    with pytest.raises(BadRequest, match="Windows containers need a Windows host"):
        compatibility.check(WINDOWS, "x", WINDOWS)
    with pytest.raises(BadRequest, match="is for linux/arm64, and this machine runs linux/amd64"):
        compatibility.check(ARM64, "x")
    with pytest.raises(
        NotFound, match=r"platform \(linux/amd64\) does not match the specified platform \(linux/arm64\)"
    ):
        compatibility.check(AMD64, "x", ARM64)
