"""Parsing of image names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from runtime.images.reference import id_prefix, parse


@pytest.mark.parametrize(
    ("text", "full", "short"),
    [
        ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
        ("someone/app", "docker.io/someone/app:latest", "someone/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest", "nginx:latest"),
        ("index.docker.io/a/b:c", "docker.io/a/b:c", "a/b:c"),
        ("localhost:5000/my-image", "localhost:5000/my-image:latest", "localhost:5000/my-image:latest"),
        ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
        (
            "private-registry.io/apps/internal-app",
            "private-registry.io/apps/internal-app:latest",
            "private-registry.io/apps/internal-app:latest",
        ),
        ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
        ("a@sha256:" + "0" * 64, "docker.io/library/a@sha256:" + "0" * 64, "a@sha256:" + "0" * 64),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
    ],
)
def test_a_name_stands_for_a_full_one_and_has_a_short_one(text, full, short):
    assert (parse(text).full, parse(text).short) == (full, short)
    assert parse(full).full == full
    assert parse(short).full == full


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nginx",
        "a b",
        "a/",
        "/a",
        "a//b",
        "a:",
        "a:b:c",
        "a@sha256:12",
        "-a",
        "a:" + "t" * 129,
        "é",
        "a\n",
    ],
)
def test_what_is_no_image_name_is_refused(text):
    with pytest.raises(BadRequest) as problem:
        parse(text)
    assert problem.value.message.startswith("invalid reference format")


@given(st.text(max_size=40))
def test_any_text_is_refused_or_reads_back(text):
    try:
        found = parse(text)
    except BadRequest:
        return
    assert parse(found.full) == parse(found.short)


def test_an_id_may_be_cut_short():
    assert id_prefix("sha256:abcd") == "abcd" == id_prefix("abcd")
    assert id_prefix("nginx") is None
