"""Invalid text: names that are not UTF-8, NUL bytes and lone surrogates are shown or refused without exceptions."""

import contextlib
import subprocess
import sys
from ipaddress import ip_address

import pytest

from netd.kernel.ports import owners
from runtime.kernel import cgroups
from tests.installation import IMAGE

NOT_UTF8 = "x\\377\\376) R 1"


def test_top_shows_processes_whose_names_are_not_utf8(api, run):
    """The container chooses the process name, which can contain the delimiters of /proc/PID/stat."""
    made = run("sh", "-c", f"printf '{NOT_UTF8}' > /proc/self/comm; echo named; sleep 1000 & wait")
    next(api.logs(made, stream=True))
    for arguments in ("-ef", "aux", "-o pid,args"):
        rows = api.top(made, arguments)["Processes"]
        assert len(rows) == 2
        assert rows[1][-1] == "sleep 1000"


def test_stats_show_links_whose_names_are_not_utf8(api, run):
    made = run("sh", "-c", "ip link add name $(printf 'x\\377') type bridge && echo made; sleep 1000",
               host={"CapAdd": ["NET_ADMIN"]})  # fmt: skip
    assert next(api.logs(made, stream=True)) == b"made\n"
    assert "x\ufffd" in api.stats(made, stream=False)["networks"]


LISTENER = """
import socket
open("/proc/self/comm", "wb").write(b"x\\xff\\xfe")
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
input()
"""


def test_the_owner_of_a_port_is_named_though_its_name_is_not_utf8():
    with subprocess.Popen([sys.executable, "-c", LISTENER], stdin=-1, stdout=-1) as listener:
        with contextlib.closing(listener.stdin):
            port = int(listener.stdout.readline())
            assert owners.owner("tcp", ip_address("127.0.0.1"), port) == f"x\ufffd\ufffd (pid {listener.pid})"


def test_control_groups_are_found_beside_mounts_whose_places_are_not_utf8(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_bytes(
        b"1 0 0:1 / /mnt/\xff\xfe rw - tmpfs tmpfs rw\n2 0 0:2 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    )
    assert [found.path for found in cgroups.find(str(table))] == ["/sys/fs/cgroup/pids"]


NUL = "x\0y"
CREATE = [
    {"Hostname": NUL}, {"Domainname": NUL}, {"User": NUL}, {"Env": [f"A={NUL}"]}, {"Env": [f"{NUL}=b"]},
    {"Cmd": ["sh", NUL]}, {"Cmd": NUL}, {"Entrypoint": [NUL]}, {"WorkingDir": f"/{NUL}"}, {"Labels": {"a": NUL}},
    {"Labels": {NUL: "a"}}, {"Volumes": {f"/{NUL}": {}}}, {"StopSignal": NUL}, {"MacAddress": NUL},
    {"Healthcheck": {"Test": ["CMD", NUL]}}, {"ExposedPorts": {f"80{NUL}/tcp": {}}}, {"Image": f"{IMAGE}{NUL}"},
    {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"Aliases": [NUL]}}}},
]  # fmt: skip
HOST = [
    {"Binds": [f"/tmp/{NUL}:/a"]}, {"Binds": [f"/tmp:/{NUL}"]}, {"Binds": [f"v{NUL}:/a"]}, {"GroupAdd": [NUL]},
    {"Mounts": [{"Type": "bind", "Source": f"/tmp/{NUL}", "Target": "/a"}]},
    {"Mounts": [{"Type": "tmpfs", "Target": f"/{NUL}"}]}, {"Tmpfs": {f"/{NUL}": ""}}, {"Tmpfs": {"/a": NUL}},
    {"Devices": [{"PathOnHost": f"/dev/{NUL}"}]}, {"Sysctls": {"kernel.domainname": NUL}}, {"Dns": [NUL]},
    {"DnsSearch": [NUL]}, {"DnsOptions": [NUL]}, {"ExtraHosts": [f"a{NUL}:10.0.0.1"]}, {"SecurityOpt": [NUL]},
    {"CapAdd": [NUL]}, {"NetworkMode": NUL}, {"PidMode": f"container:{NUL}"}, {"CpusetCpus": NUL},
    {"DeviceCgroupRules": [NUL]}, {"LogConfig": {"Type": "json-file", "Config": {"tag": NUL}}},
    {"Ulimits": [{"Name": NUL}]}, {"Annotations": {NUL: NUL}},
]  # fmt: skip


@pytest.fixture
def refused(raw):
    def ask(method, path, body=None):
        status, _headers, answer = raw.ask(method, path, body, {"Content-Type": "application/json"})
        assert (status, set(answer)) == (400, {"message"}), (method, path, body, status, answer)
        assert "\n" not in answer["message"]
        return answer["message"]

    return ask


def test_a_nul_byte_anywhere_in_a_body_is_refused_with_its_place(refused, run):
    plain = {"Image": IMAGE, "Cmd": ["true"]}
    for body in [*CREATE, *({"HostConfig": host} for host in HOST)]:
        assert "holds a NUL character: remove it" in refused("POST", "/containers/create", {**plain, **body})
    made = run("sleep", "1000")
    for body in ({"Cmd": [NUL]}, {"Env": [f"A={NUL}"]}, {"User": NUL}, {"WorkingDir": f"/{NUL}"}, {"DetachKeys": NUL}):
        assert "holds a NUL" in refused("POST", f"/containers/{made}/exec", {"Cmd": ["true"], **body})
    for path, body in (
        ("/volumes/create", {"Name": NUL}), ("/volumes/create", {"Labels": {"a": NUL}}),
        ("/networks/create", {"Name": NUL}), ("/networks/create", {"Name": "nul", "Options": {"a": NUL}}),
        ("/networks/bridge/connect", {"Container": NUL}),
    ):  # fmt: skip
        assert "holds a NUL" in refused("POST", path, body)
    assert refused("POST", "/containers/create", {**plain, "HostConfig": {"Binds": ["/a:/b", f"/c{NUL}:/d"]}}) == (
        "invalid JSON: the string at `$.HostConfig.Binds[1]` holds a NUL character: remove it"
    )


def test_a_nul_byte_in_a_query_is_refused(refused, raw, run):
    made = run("sleep", "1000")
    for path in (
        f"/containers/{made}/rename?name=a%00b", f"/containers/{made}/kill?signal=9%00",
        "/images/create?fromSrc=-&repo=a%00b", f"/containers/{made}/resize?h=1%00&w=1",
    ):  # fmt: skip
        refused("POST", path)
    refused("GET", "/containers/json?filters=%7B%22name%22%3A%5B%22a%00%22%5D%7D")
    for path in ("/containers/a%00b/json", "/networks/a%00b", "/volumes/a%00b", "/images/a%00b/json", "/exec/%00/json"):
        assert raw.ask("GET", path)[0] in (400, 404), path


def test_a_text_that_only_looks_like_a_nul_byte_is_taken(run, api):
    made = run("sleep", "1000", Labels={"a": "\\u0000"})
    assert api.inspect_container(made)["Config"]["Labels"] == {"a": "\\u0000"}


def test_lone_surrogates_and_bytes_that_are_not_utf8_are_refused(refused):
    for text in (b"\\ud800", b"\\udc00x", b"\xff\xfe", b"\xed\xa0\x80"):
        for body in (b'{"Image":"%s"}', b'{"Image":"busybox","Cmd":["true"],"Env":["A=%s"]}', b'{"Labels":{"%s":""}}'):
            refused("POST", "/containers/create", body % text)
    for text in ("%22%5Cud800%22", "%5Cud800"):
        refused("GET", f"/containers/json?filters=%7B%22{text}%22%3A%5B%22a%22%5D%7D")
        refused("GET", f"/networks?filters=%7B%22name%22%3A%5B%22{text}%22%5D%7D")
        refused("POST", f"/images/create?fromSrc=-&changes=CMD%20%5B%22{text}%22%5D")
