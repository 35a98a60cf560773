"""Docker's patterns for paths: .dockerignore and --exclude."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd import path_patterns
from netd.path_patterns import PatternError, compile_all, excludes, read_ignore_file

CASES = [
    ("**", "file", True),
    ("**", "dir/file", True),
    ("**/", "dir/file", True),
    ("dir/**", "dir/file", True),
    ("dir/**", "dir", False),
    ("**/dir", "dir", True),
    ("**/dir", "a/b/dir/file", True),
    ("**/dir2/*", "dir/dir2/file", True),
    ("**/dir2/*", "dir/dir2", False),
    ("a/**/b", "a/b", True),
    ("a/**/b", "a/x/y/b", True),
    ("**file", "file", True),
    ("**file", "x-file", True),
    ("**/file*txt", "dir/dir/file.txt", True),
    ("**/**/*.txt", "dir/dir/file.txt", True),
    ("a?c", "abc", True),
    ("a?c", "a/c", False),
    ("a*", "abc/d", True),
    ("*c", "a/c", False),
    ("[a-c]x", "bx", True),
    ("[^a-c]x", "bx", False),
    ("[^a-c]x", "dx", True),
    ("a\\*b", "a*b", True),
    ("a\\*b", "axb", False),
    ("a[\\]]b", "a]b", True),
    ("/abs", "abs/x", True),
    ("./x/../y", "y", True),
    ("abc.def", "abcxdef", False),
    ("(a+)", "(a+)", True),
    ("*/temp*", "a/temporary.txt", True),
    ("*/temp*", "a/b/temp", False),
]


@pytest.mark.parametrize(("pattern", "path", "expected"), CASES)
def test_a_pattern_matches_by_dockers_rules(pattern, path, expected):
    assert excludes(compile_all([pattern]), path) is expected


def test_the_last_pattern_that_matches_decides():
    patterns = compile_all(["*.md", "!README*.md", "README-secret.md"])
    paths = ("a.md", "README.md", "README-secret.md", "x.txt")
    assert [excludes(patterns, path) for path in paths] == [True, False, True, False]


def test_a_file_of_patterns_is_read():
    patterns = read_ignore_file(b"\xef\xbb\xbf# comment\r\n\n  a/ \n!a/keep\n # no comment\n")
    assert [excludes(patterns, path) for path in ("a/x", "a/keep", "# no comment")] == [True, False, True]


@pytest.mark.parametrize("pattern", ["!", "[a", "a\\", "[]a", "[b-a]", "[^"])
def test_an_invalid_pattern_is_refused(pattern):
    with pytest.raises(PatternError):
        compile_all([pattern])


@given(st.text(alphabet="ab*?[]^-!\\/.", max_size=12), st.text(alphabet="ab/", max_size=8))
def test_any_pattern_is_matched_or_refused(pattern, path):
    try:
        assert excludes(compile_all([pattern]), path) in (True, False)
    except PatternError:
        pass


@given(st.lists(st.text(alphabet="abc.", min_size=1, max_size=4).filter(lambda s: s not in (".", "..")), min_size=1))
def test_a_path_without_wildcards_matches_itself_and_what_is_below(parts):
    patterns = compile_all(["/".join(parts)])
    assert excludes(patterns, "/".join(parts)) and excludes(patterns, "/".join([*parts, "below"]))
    assert not excludes(patterns, "/".join(["other", *parts]))


def test_patterns_of_many_wildcards_take_no_exponential_time():
    started = time.monotonic()
    patterns = compile_all(["/".join(["**", "a"] * 30) + "/b", "*a" * 60 + "b"])
    assert not excludes(patterns, "/".join(["a"] * 120)) and not excludes(patterns, "a" * 250)
    assert time.monotonic() - started < 5


def test_the_number_of_patterns_is_bounded():
    with pytest.raises(PatternError, match="more than"):
        compile_all(["x"] * (path_patterns.MOST_PATTERNS + 1))
