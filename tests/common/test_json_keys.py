"""Case-insensitive keys of JSON bodies."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from netd.api import ConnectRequest, SandboxRequest
from netd.common import codec
from netd.common.json_keys import normalize_keys
from netd.server.shapes import CreateJson

CASES = some.sampled_from([str.lower, str.upper, str.title, str.swapcase])


@given(case=CASES, name=some.text(max_size=20), labels=some.dictionaries(some.text(max_size=8), some.text(max_size=8)))
def test_keys_of_any_case_are_equivalent(case, name, labels):
    pool = {"Subnet": "10.0.0.0/8", "AuxiliaryAddresses": labels}
    usual = {"Name": name, "IPAM": {"Config": [pool]}, "Labels": labels, "EnableIPv6": True}
    ipam = {case("Config"): [{case(key): value for key, value in pool.items()}]}
    other = {case(key): value for key, value in {**usual, "IPAM": ipam}.items()}
    normalized = normalize_keys(msgspec.json.encode(other), CreateJson)
    assert codec.decode(normalized, CreateJson) == codec.decode(msgspec.json.encode(usual), CreateJson)


def test_keys_of_free_maps_stay():
    body = b'{"name":"n","options":{"Name":"1","name":"2","NAME":"3"}}'
    assert codec.decode(normalize_keys(body, CreateJson), CreateJson).options == {"Name": "1", "name": "2", "NAME": "3"}


def test_the_last_of_several_spellings_counts():
    assert codec.decode(normalize_keys(b'{"Name":"a","name":"b"}', CreateJson), CreateJson).name == "b"


@pytest.mark.parametrize("kind", [CreateJson, ConnectRequest, SandboxRequest])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"name":', b'{"Name":"n"}', b'{"zork":{"Zork":1}}'])
def test_other_bodies_are_left_as_they_are(kind, body):
    assert normalize_keys(body, kind) == body


def test_errors_are_reported_for_keys_of_any_case():
    with pytest.raises(msgspec.ValidationError, match="Name"):
        codec.decode(normalize_keys(b'{"NAME":5}', CreateJson), CreateJson)
