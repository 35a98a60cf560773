"""Expansion of words in Dockerfiles: the behaviours of the reference parser's public tests, and properties."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.build.dockerfile.faults import DockerfileError
from runtime.build.dockerfile.words import LONGEST, expand, expand_text, expand_words

VARIABLES = {"PWD": "/home", "SHELL": "bash", "KOREAN": "한국어", "NULL": "", "FOO": "xxyy", "STARS": "a***yy*"}

QUOTES = [
    ("hello", "hello"),
    ("he'll'o", "hello"),
    (r"he\'llo", "he'llo"),
    (r"he\\'llo'", "he\\llo"),
    ("abc\\tdef", "abctdef"),
    ('"abc\\tdef"', "abc\\tdef"),
    (r'"abc\"d"', 'abc"d'),
    (r"'abc\tdef'", "abc\\tdef"),
    (r"hello\ there", "hello there"),
    ("hello there", "hello there"),
    ('he"llo there\'x"', "hello there'x"),
    ("a\\", "a"),
    ("'$PWD'", "$PWD"),
    ('"$PWD"', "/home"),
    (r"\$PWD", "$PWD"),
    (r'"\$PWD"', "$PWD"),
    ("안녕$KOREAN", "안녕한국어"),
]
PLAIN = [
    ("$", "$"),
    ("a$", "a$"),
    ("$,x", "$,x"),
    ("$1a", "a"),
    ("$PWD/a", "/home/a"),
    ("${PWD}b", "/homeb"),
    ("$PWDb", ""),
    ("${NONE}", ""),
]
MODIFIERS = [
    ("${NONE:-z}", "z"),
    ("${NONE-z}", "z"),
    ("${NULL:-z}", "z"),
    ("${NULL-z}", ""),
    ("${FOO:-z}", "xxyy"),
    ("${NONE:-a$SHELL${PWD}}", "abash/home"),
    ("${NONE:-${ALSO:-deep}}", "deep"),
    ("${NONE:+z}", ""),
    ("${NULL:+z}", ""),
    ("${NULL+z}", "z"),
    ("${FOO+z}", "z"),
    ("${FOO:?gone}", "xxyy"),
    ("${NULL?gone}", ""),
    ("${NONE:-'a b'}", "a b"),
    ("${NONE:-\\}}", "}"),
    ("${NONE:-.}${FOO%x}${NONE:-.}", ".xxyy."),
]
PATTERNS = [
    ("${FOO#*x}", "xyy"),
    ("${FOO##*x}", "yy"),
    ("${FOO#*}", "xxyy"),
    ("${FOO#}", "xxyy"),
    ("${FOO#*x*y}", "y"),
    ("${FOO%y*}", "xxy"),
    ("${FOO%%y*}", "xx"),
    ("${FOO%}", "xxyy"),
    ("${FOO#$SHELL}", "xxyy"),
    ("${FOO##}", "xxyy"),
    ("${STARS%%\\**\\*}", "a"),
    ("${STARS#a\\*}", "**yy*"),
    ("${FOO/x/.}", ".xyy"),
    ("${FOO//x/.}", "..yy"),
    ("${FOO///}", "xxyy"),
    ("${FOO/$NONE/w}", "wxxyy"),
    ("${PWD//\\//\\/}", "/home"),
    ("${NONE///}", ""),
]
ERRORS = [
    ("he'llo", "single-quote"),
    ('he"llo', "double-quote"),
    ("${", "missing '}'"),
    ("${PWD", "missing '}'"),
    ("${}", "bad substitution"),
    ("${:}", "bad substitution"),
    ("${PWD:-x", "missing '}'"),
    ("${PWD=x}", "unsupported modifier"),
    ("${PWD:=x}", "unsupported modifier"),
    ("${NONE:?gone}", "NONE: gone"),
    ("${NONE?}", "NONE: not allowed to be unset"),
    ("${FOO//ww}", "missing '/'"),
    ("${FOO#\\x}", "invalid escape"),
]


@pytest.mark.parametrize(("text", "expected"), QUOTES + PLAIN + MODIFIERS + PATTERNS)
def test_a_word_is_expanded(text, expected):
    assert expand(text, VARIABLES) == expected


@pytest.mark.parametrize(("text", "fault"), ERRORS)
def test_an_invalid_word_is_refused_with_the_reason(text, fault):
    with pytest.raises(DockerfileError, match=fault.replace("?", r"\?")):
        expand(text, VARIABLES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ["a", "b"]),
        ("'a b' c", ["a b", "c"]),
        ("$LIST x", ["1", "2", "x"]),
        ('"$LIST" x', ["1 2", "x"]),
        ("''", [""]),
        ("$NONE", []),
        (r"a\ b", ["a b"]),
    ],
)
def test_words_are_separated_by_unquoted_blanks(text, expected):
    assert expand_words(text, {"LIST": "1 2"}) == expected


def test_the_escape_character_can_be_a_backquote():
    assert expand(r"C:\dir`$x", {}, "`") == r"C:\dir$x"


@given(st.text(alphabet=st.characters(exclude_characters="$'\"\\", exclude_categories=("Cs",))))
def test_text_without_special_characters_stays(text):
    assert expand(text, {"A": "b"}) == text


@given(st.text(max_size=60), st.dictionaries(st.sampled_from("abc"), st.text(max_size=5)))
def test_any_text_is_expanded_or_refused(text, variables):
    try:
        assert isinstance(expand(text, variables), str)
    except DockerfileError:
        pass


@given(st.text(alphabet="ab", max_size=12), st.text(alphabet="ab*?", max_size=6))
def test_patterns_remove_what_the_shell_rules_say(value, pattern):
    """The shortest and the longest matching start and end, found by trying all of them."""
    import fnmatch

    cuts = range(len(value) + 1)
    starts = [cut for cut in cuts if fnmatch.fnmatchcase(value[:cut], pattern)]
    ends = [cut for cut in cuts if fnmatch.fnmatchcase(value[cut:], pattern)]
    variables = {"V": value}
    assert expand(f"${{V#{pattern}}}", variables) == value[min(starts, default=0) :]
    assert expand(f"${{V##{pattern}}}", variables) == value[max(starts, default=0) :]
    assert expand(f"${{V%{pattern}}}", variables) == value[: max(ends, default=len(value))]
    assert expand(f"${{V%%{pattern}}}", variables) == value[: min(ends, default=len(value))]


def test_a_pattern_of_many_stars_takes_no_exponential_time():
    started = time.monotonic()
    assert expand("${V##" + "*a" * 30 + "b}", {"V": "a" * 5000}) == "a" * 5000
    assert time.monotonic() - started < 5


def test_a_value_that_grows_without_bound_is_refused():
    with pytest.raises(DockerfileError, match="longer than"):
        expand("$A$A$A", {"A": "x" * (LONGEST // 2)})
    with pytest.raises(DockerfileError, match="longer than"):
        expand_text("$A" * 100, {"A": "x" * LONGEST})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("\"$A\" '$A'", "\"b\" 'b'"), ("\\$A \\\\ \\n", "$A \\ \\n"), ("${A:-x}${N:-y}", "by"), ("plain\n", "plain\n")],
)
def test_text_of_here_documents_keeps_quotation_marks(text, expected):
    assert expand_text(text, {"A": "b"}) == expected
