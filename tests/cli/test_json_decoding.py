"""netctl's decoding of JSON agrees with that of the package json."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.transport.json_decoding import decode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BROKEN = [b"", b" ", b"{", b'{"a":1} x', b"[1,]", b'{"a"}', b"nul", b'"a\nb"', b"'a'", b"\xff", b"{1:2}", b'"\\x"']


@given(VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_values_are_those_of_json(value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    assert decode(b" \r\n\t" + text + b"\n") == json.loads(text)


@pytest.mark.parametrize("text", BROKEN)
def test_text_that_json_refuses_is_a_value_error(text):
    with pytest.raises(ValueError):
        json.loads(text)
    with pytest.raises(ValueError):
        decode(text)


def test_an_interpreter_without_the_extension_module_uses_json(monkeypatch):
    monkeypatch.setitem(sys.modules, "_json", None)
    assert decode(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
