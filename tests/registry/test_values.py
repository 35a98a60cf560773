"""Headers, names, platforms and challenges as values."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from runtime import platforms
from runtime.images import reference
from runtime.platforms import Platform
from runtime.registry import auth_config, challenges, errors
from runtime.registry.auth_config import ANONYMOUS, Credentials

HOST = Platform("linux", "amd64")


def packed(value: object, encode=base64.urlsafe_b64encode) -> str:
    return encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("encode", [base64.urlsafe_b64encode, base64.b64encode])
@pytest.mark.parametrize("strip", ["", "="])
def test_credentials_are_decoded_in_both_alphabets_with_and_without_padding(encode, strip):
    text = packed({"username": "ü??>", "password": "p", "email": None}, encode)
    found = auth_config.from_header(text.rstrip("=") if strip else text)
    assert (found.username, found.password) == ("ü??>", "p")
    assert "p" not in repr(found).replace("Credentials(username", "").replace("serveraddress", "")


@pytest.mark.parametrize("text", ["", "e30=", "zzz", "!", "bnVsbA==", "WzFd", packed({"username": 3}), "x" * 100_000])
def test_a_header_that_cannot_be_decoded_is_anonymous(text):
    assert auth_config.from_header(text) == ANONYMOUS


def test_user_and_password_may_be_in_one_field():
    text = packed({"auth": base64.b64encode(b"me:a:b").decode()})
    assert auth_config.from_header(text) == Credentials("me", "a:b")


def test_the_credentials_of_a_build_are_by_registry():
    entry = {"username": "me", "password": "p"}
    found = auth_config.by_host(packed({"https://index.docker.io/v1/": entry, "h:5000": entry, "https://x/v2/": entry}))
    assert set(found) == {"docker.io", "h:5000", "x"}
    assert auth_config.by_host("zzz") == {}


@pytest.mark.parametrize(
    ("header", "scheme", "params"),
    [
        ('Basic realm="a b"', "basic", {"realm": "a b"}),
        (
            'Bearer realm="https://x/t?a=1,2",service="s",scope="repository:a:pull,push"',
            "bearer",
            {"realm": "https://x/t?a=1,2", "service": "s", "scope": "repository:a:pull,push"},
        ),
        ('BEARER Realm = "q\\"uote" , service=plain', "bearer", {"realm": 'q"uote', "service": "plain"}),
        ("Negotiate", "negotiate", {}),
    ],
)
def test_challenges_are_parsed(header, scheme, params):
    (found,) = challenges.parse([header])
    assert (found.scheme, found.params) == (scheme, params)


def test_several_challenges_may_be_in_one_header_or_in_several():
    together = challenges.parse(['Basic realm="a", Bearer realm="b",service="c"'])
    assert [found.scheme for found in together] == ["basic", "bearer"]
    assert together == challenges.parse(['Basic realm="a"', 'Bearer realm="b",service="c"'])


@given(st.lists(st.text(max_size=300), max_size=12))
def test_no_header_makes_the_parser_fail(headers):
    for found in challenges.parse(headers):
        assert found.scheme == found.scheme.lower()


def test_errors_are_worded_as_docker_words_them():
    body = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": {"Tag": "1"}}]})
    found = errors.of_response(404, [], body.encode())
    assert (found.message, found.code, found.status) == ("manifest unknown: manifest unknown", "MANIFEST_UNKNOWN", 404)
    found = errors.of_response(500, [], b"<html>")
    assert found.message == "received unexpected HTTP status: 500 Internal Server Error"
    found = errors.of_response(404, [], b"<html>\n no such page")
    assert found.message.startswith("error parsing HTTP 404 response body") and "no such page" in found.message
    assert errors.of_response(429, [], b"").status == 429
    challenge = challenges.parse(['Bearer realm="x",error="insufficient_scope"'])
    assert errors.of_response(401, challenge, b"").message == "denied: requested access to the resource is denied"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a/B", "invalid reference format: repository name (a/B) must be lowercase"),
        ("Bad", "invalid reference format: repository name (library/Bad) must be lowercase"),
        ("a//b", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a@sha256:12", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a" * 64, f"invalid repository name ({'a' * 64}), cannot specify 64-byte hexadecimal strings"),
        ("b/" + "a" * 255, "repository name must not be more than 255 characters"),
        ("", "invalid reference format"),
    ],
)
def test_names_that_docker_refuses_are_refused_in_its_words(text, words):
    with pytest.raises(BadRequest) as raised:
        reference.parse(text)
    assert raised.value.message.startswith(words)


def test_a_tag_may_be_given_apart():
    assert reference.with_tag("h:5000/a", "1") == reference.parse("h:5000/a:1")
    assert reference.with_tag("a:2", "1") == reference.parse("a:1")
    digest = f"sha256:{'0' * 64}"
    assert reference.with_tag("a", digest) == reference.parse(f"a@{digest}")
    with pytest.raises(BadRequest, match=r"^invalid tag format$"):
        reference.with_tag("a", "b!d")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("Linux/aarch64/v8", Platform("linux", "arm64")),
        ("arm64", Platform("linux", "arm64")),
        ("linux", HOST),
        ("linux/arm/7", Platform("linux", "arm")),
        ("linux/arm/v6", Platform("linux", "arm", "v6")),
        ("windows", Platform("windows", "amd64")),
    ],
)
def test_platforms_are_parsed_as_docker_does(text, wanted):
    assert platforms.parse(text, HOST) == wanted


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "linux/a b", "zorkos", "linux/../x"])
def test_what_is_no_platform_is_refused(text):
    with pytest.raises(BadRequest, match="invalid argument"):
        platforms.parse(text, HOST)


def test_the_best_platform_is_the_wanted_one_then_one_that_it_runs():
    amd64, i386, arm64, armv6, armv7 = (
        platforms.parse(text, HOST) for text in ("amd64", "386", "arm64", "linux/arm/v6", "linux/arm/v7")
    )
    assert platforms.best([i386, None, amd64], amd64) == 2
    assert platforms.best([None, i386], amd64) == 1
    assert platforms.best([armv6, armv7], arm64) == 1
    assert platforms.best([armv7], armv6) is None
    assert platforms.best([arm64], amd64) is None
    assert platforms.best([amd64], Platform("linux", "amd64", "v3")) == 0
