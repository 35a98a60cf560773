"""Numbers in requests: only ASCII digits within limits are accepted, everything else is refused."""

import urllib.parse

import pytest

from netd.cli.parse.flags import integer
from netd.common.digits import signed, unsigned
from tests.installation import IMAGE

LONG = "9" * 5000
"""int() raises ValueError for this text, although isdecimal() is True."""
OTHER_SPELLINGS = ["+7", " 7", "7 ", "1_0", "\u0663", "0x10", LONG]


@pytest.mark.parametrize("text", ["", "-", "--5", "+5", "- 5", "5.0", *OTHER_SPELLINGS, str(2**63)])
def test_only_digits_of_ascii_are_a_number(text):
    assert unsigned(text) is None
    assert signed(text) is None


def test_numbers_are_read_within_their_bounds():
    assert [unsigned(text) for text in ("0", "007", str(2**63 - 1))] == [0, 7, 2**63 - 1]
    assert (unsigned("65535", 65535), unsigned("65536", 65535), unsigned("-5")) == (65535, None, None)
    assert (signed("-5"), signed("5"), signed("-0")) == (-5, 5, 0)


@pytest.fixture
def container(run):
    return run("sleep", "1000")


QUERIES = [
    ("POST", "/containers/{}/kill?signal={}"),
    ("POST", "/containers/{}/stop?signal={}"),
    ("POST", "/containers/{}/stop?t={}"),
    ("POST", "/containers/{}/restart?t={}"),
    ("POST", "/containers/{}/resize?h={}&w=1"),
    ("POST", "/containers/{}/resize?h=1&w={}"),
    ("GET", "/containers/{}/logs?stdout=1&since={}"),
    ("GET", "/containers/{}/logs?stdout=1&until={}"),
]
FILTERS = [
    ("GET", "/containers/json", "exited"), ("GET", "/containers/json", "publish"),
    ("GET", "/containers/json", "expose"), ("POST", "/containers/prune", "until"), ("POST", "/networks/prune", "until"),
]  # fmt: skip


@pytest.fixture
def refused(raw):
    def ask(method, path, body=None):
        status, _headers, answer = raw.ask(method, path, body)
        assert (status, "message" in answer) == (400, True), (method, path[:80], status, answer)

    return ask


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_queries_and_filters_take_only_plain_numbers(raw, refused, container, text):
    quoted = urllib.parse.quote(text)
    for method, path in QUERIES:
        refused(method, path.format(container, quoted))
    refused("GET", f"/containers/json?limit={quoted}")
    for method, path, key in FILTERS:
        refused(method, f"{path}?filters=" + urllib.parse.quote(f'{{"{key}":["{text}"]}}'))
    assert raw.ask("GET", f"/containers/{container}/json")[2]["State"]["Running"]
    assert raw.ask("GET", f"/v{LONG}.1/_ping")[0] == 404
    assert raw.ask("GET", "/v1.%D9%A4%D9%A1/_ping")[0] == 404


BODIES = [
    {"StopSignal": "{}"},
    {"ExposedPorts": {"{}/tcp": {}}},
    {"ExposedPorts": {"{}": {}}},
    {"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "{}"}]}}},
    {"HostConfig": {"PortBindings": {"{}/tcp": [{"HostPort": "80"}]}}},
    {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "{}"}}}},
    {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "{}"}}}},
    {"HostConfig": {"Tmpfs": {"/t": "size={}"}}},
    {"HostConfig": {"Tmpfs": {"/t": "mode={}"}}},
    {"HostConfig": {"Tmpfs": {"/t": "uid={}"}}},
    {"HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"Options": [["nr_inodes", "{}"]]}}]}},
    {"HostConfig": {"CpusetCpus": "{}"}},
    {"HostConfig": {"CpusetMems": "{}"}},
    {"HostConfig": {"DeviceCgroupRules": ["c {}:1 rwm"]}},
    {"HostConfig": {"DeviceCgroupRules": ["c 1:{} rwm"]}},
]


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_bodies_take_only_plain_numbers(refused, text):
    for body in BODIES:
        refused("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **filled(body, text)})
    for option in ("mtu", "advertise_addr_nmsgs"):
        options = {f"com.docker.network.{'driver.' if option == 'mtu' else ''}{option}": text}
        refused("POST", "/networks/create", {"Name": "numbers", "Options": options})


def filled(value, text):
    if isinstance(value, dict):
        return {key.replace("{}", text): filled(inner, text) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, text) for inner in value]
    return value.replace("{}", text) if isinstance(value, str) else value


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**63) - 1, 10**30])
@pytest.mark.parametrize(
    "body",
    [
        {"StopTimeout": 0}, {"HostConfig": {"Memory": 0}}, {"HostConfig": {"CpuShares": 0}},
        {"HostConfig": {"ShmSize": 0}}, {"HostConfig": {"PidsLimit": 0}}, {"HostConfig": {"OomScoreAdj": 0}},
        {"HostConfig": {"ConsoleSize": [0, 1]}}, {"HostConfig": {"Ulimits": [{"Name": "core", "Soft": 0, "Hard": -1}]}},
        {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"GwPriority": 0}}}},
        {"HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 0}}]}},
    ],
)  # fmt: skip
def test_numbers_of_more_than_64_bits_are_refused(refused, number, body):
    refused("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **big(body, number)})


def big(value, number):
    if isinstance(value, dict):
        return {key: big(inner, number) for key, inner in value.items()}
    if isinstance(value, list):
        return [big(inner, number) for inner in value]
    return number if value == 0 else value


@pytest.mark.parametrize("options", [{"Mode": -1}, {"Mode": 0o10000}, {"SizeBytes": -1}, {"Options": [["evil", "1"]]}])
def test_options_of_tmpfs_that_the_kernel_does_not_take_are_refused_at_once(refused, options):
    host = {"Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": options}]}
    refused("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": host})


def test_options_of_tmpfs_that_the_kernel_takes_are_passed_on(output):
    tmpfs = "rw,nosuid,exec,noatime,size=50%,mode=1750,uid=7,gid=8,nr_inodes=4k,nr_blocks=100"
    assert output("stat", "-c", "%a %u %g", "/t", host={"Tmpfs": {"/t": tmpfs}}) == (0, "1750 7 8\n")
    tmpfs = tmpfs.replace(",nr_blocks=100", "")
    assert output("stat", "-c", "%a %u %g", "/t", host={"Tmpfs": {"/t": tmpfs}}) == (0, "1750 7 8\n")


@pytest.mark.parametrize("text", ["", "+5", " 5", "5 ", "1_0", "\u0663", LONG])
def test_netctl_takes_only_plain_numbers(text):
    with pytest.raises(ValueError, match="not a whole number"):
        integer(text)


def test_netctl_takes_numbers_with_and_without_a_sign():
    assert [integer(text) for text in ("5", "-5", "007", str(2**63 - 1))] == [5, -5, 7, 2**63 - 1]
