"""Requests, output and exit codes of verbs, with recorded responses of Docker."""

import io
import json

import pytest
from recorded import EVENTS, ID, IMAGES, NETWORKS, OTHER, STATS, inspected, listed, network, port


def test_networks_are_listed_by_name_as_docker_lists_them(peer, netctl):
    peer.on("GET", "/networks", NETWORKS)
    assert netctl("network", "ls").out == (
        "NETWORK ID     NAME      DRIVER    SCOPE     SUBNETS         CONTAINERS\n"
        "260e5b67d9f2   bridge    bridge    local     172.17.0.0/16   0\n"
        "f88201f012f6   host      host      local     172.17.0.0/16   0\n"
        "5774b712ce97   none      null      local     172.17.0.0/16   0\n"
    )
    assert netctl("network", "ls", "-q").out == "260e5b67d9f2\nf88201f012f6\n5774b712ce97\n"
    assert netctl("network", "ls", "-q", "--no-trunc").out.splitlines()[0] == NETWORKS[2]["Id"]
    lines = netctl("network", "list", "--format", "json").out.splitlines()
    assert [json.loads(line)["Name"] for line in lines] == ["bridge", "host", "none"]
    shown = netctl("network", "ls", "--format", r'table {{.Name}}\t{{.Driver}}\t{{.Label "a.b"}}').out
    assert shown.splitlines()[:2] == ["NAME      DRIVER    b", "bridge    bridge"]
    assert netctl("network", "ls", "--format", "{{.Name}}/{{.Subnets}}").out.splitlines()[0] == "bridge/172.17.0.0/16"


def test_filters_travel_as_the_api_has_them(peer, netctl):
    peer.on("GET", "/networks", [])
    netctl("network", "ls", "-f", "driver=bridge", "--filter", "label=a=b", "-f", "label=c")
    wanted = {"driver": {"bridge": True}, "label": {"a=b": True, "c": True}}
    assert json.loads(peer.asked[0].query["filters"]) == wanted
    said = netctl("network", "ls", "-f", "zork")
    assert said.code == 125 and 'invalid argument "zork" for "-f, --filter" flag: use key=value' in said.err


def test_a_network_is_created_with_all_that_was_said(peer, netctl):
    peer.on("POST", "/networks/create", (201, {"Id": "f04c", "Warning": "mind the gap"}))
    said = netctl(
        "network", "create", "--drive", "bridge", "--subnet", "172.18.0.0/16", "--gateway=172.18.0.1", "--ip-range",
        "172.18.5.0/24", "--aux-address", "r=172.18.0.9", "--internal", "--label", "a=b", "-o", "k=v", "--ipv6", "shop",
    )  # fmt: skip
    assert (said.code, said.out, said.err) == (0, "f04c\n", "netctl: warning: mind the gap\n")
    assert peer.asked[0].json == {
        "Name": "shop",
        "Driver": "bridge",
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [
                {
                    "Subnet": "172.18.0.0/16",
                    "IPRange": "172.18.5.0/24",
                    "Gateway": "172.18.0.1",
                    "AuxiliaryAddresses": {"r": "172.18.0.9"},
                }
            ],
        },
        "Internal": True,
        "Attachable": False,
        "Options": {"k": "v"},
        "Labels": {"a": "b"},
        "EnableIPv6": True,
    }


def test_each_gateway_goes_to_the_subnet_that_holds_it(peer, netctl):
    peer.on("POST", "/networks/create", (201, {"Id": "x", "Warning": ""}))
    subnets = ("--subnet", "fd00::/64", "--subnet", "10.1.0.0/16")
    assert netctl("network", "create", *subnets, "--gateway", "10.1.0.1", "--gateway", "fd00::1", "n").code == 0
    assert peer.asked[0].json["IPAM"]["Config"] == [
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
        {"Subnet": "10.1.0.0/16", "Gateway": "10.1.0.1"},
    ]
    for words, part in (
        ((*subnets, "--gateway", "10.2.0.1"), "no --subnet contains --gateway 10.2.0.1"),
        (("--gateway", "10.2.0.1"), "--gateway 10.2.0.1 needs a --subnet"),
        (
            ("--subnet=10.0.0.0/8", "--gateway=10.0.0.1", "--gateway=10.0.0.2"),
            "two values of --gateway: 10.0.0.1 and 10.0.0.2",
        ),
        ((*subnets, "--gateway", "zork"), 'invalid argument "zork" for "--gateway" flag'),
    ):
        said = netctl("network", "create", *words, "n")
        assert said.code == 125 and part in said.err


def test_a_container_is_connected_and_disconnected(peer, netctl):
    peer.on("POST", "/networks/n/(dis)?connect", (200, None))
    assert netctl("network", "connect", "--ip", "10.0.0.5", "--alias", "a", "--driver-opt=k=v", "n", "c").code == 0
    assert netctl("network", "connect", "n", "c").code == 0
    assert netctl("network", "disconnect", "-f", "n", "c").code == 0
    first, second, third = (request.json for request in peer.asked)
    endpoint = {"IPAMConfig": {"IPv4Address": "10.0.0.5"}, "Aliases": ["a"], "DriverOpts": {"k": "v"}}
    assert first == {"Container": "c", "EndpointConfig": endpoint}
    assert second == {"Container": "c", "EndpointConfig": {}}
    assert third == {"Container": "c", "Force": True}


def test_of_many_the_good_ones_are_done_and_the_bad_ones_told(peer, netctl):
    peer.on("DELETE", "/networks/(a|c)", (204, None))
    peer.on("DELETE", "/networks/b", (403, {"message": "network b has active endpoints"}))
    said = netctl("network", "rm", "a", "b", "c")
    assert (said.code, said.out, said.err) == (1, "a\nc\n", "netctl: network b has active endpoints\n")


def test_network_verbs_work_with_netd_alone(peer, netctl, run_dir):
    peer.path.rename(run_dir / "netd.sock")
    peer.on("GET", "/networks", NETWORKS)
    peer.on("GET", "/networks/bridge", NETWORKS[2])
    assert "bridge" in netctl("network", "ls").out
    assert json.loads(netctl("network", "inspect", "bridge").out) == [NETWORKS[2]]
    said = netctl("ps")
    assert said.code == 1 and f"cannot reach netd-runtime at {run_dir}/docker.sock" in said.err


@pytest.mark.parametrize(("answer", "asked"), [("y\n", 1), ("Y\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_pruning_asks_first(peer, start, answer, asked):
    peer.on("POST", "/networks/prune", {"NetworksDeleted": ["old"]})
    process = start("network", "prune")
    out, _ = process.communicate(answer.encode(), timeout=10)
    assert process.returncode == 0 and len(peer.asked) == asked
    assert out.startswith(b"WARNING! This will remove all custom networks") and (b"old\n" in out) == bool(asked)


def test_volumes(peer, netctl):
    volumes = [{"Name": "b", "Driver": "local"}, {"Name": "a", "Driver": "local"}]
    peer.on("GET", "/volumes", {"Volumes": volumes, "Warnings": None})
    peer.on("POST", "/volumes/create", (201, {"Name": "data"}))
    peer.on("DELETE", "/volumes/a", (204, None))
    peer.on("POST", "/volumes/prune", {"VolumesDeleted": ["a"], "SpaceReclaimed": 1500})
    assert netctl("volume", "ls").out == "DRIVER    VOLUME NAME\nlocal     a\nlocal     b\n"
    assert netctl("volume", "ls", "-q").out == "a\nb\n"
    assert netctl("volume", "create", "-o", "type=tmpfs", "--label", "x", "data").out == "data\n"
    assert peer.asked[-1].json == {
        "Name": "data",
        "Driver": "local",
        "DriverOpts": {"type": "tmpfs"},
        "Labels": {"x": ""},
    }
    assert netctl("volume", "rm", "-f", "a").out == "a\n" and peer.asked[-1].query == {"force": "1"}
    assert netctl("volume", "prune", "-af").out == "Deleted Volumes:\na\n\nTotal reclaimed space: 1.5kB\n"
    assert json.loads(peer.asked[-1].query["filters"]) == {"all": {"true": True}}


def test_containers_are_listed_as_docker_lists_them(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 7200.0)
    peer.on("GET", "/containers/json", [listed("web", Ports=[port(80, 8080, "0.0.0.0")], Names=["/web", "/app/link"])])
    head, row = netctl("ps").out.splitlines()
    assert head.split("  ")[0] == "CONTAINER ID"
    assert row == (
        '8285dcf41249   busybox   "sh -c \'i=0; while :…"   2 hours ago   Up 2 minutes   0.0.0.0:8080->80/tcp   web'
    )
    assert ID in netctl("container", "ls", "--no-trunc").out
    assert netctl("ps", "-q").out == "8285dcf41249\n"
    found = json.loads(netctl("ps", "--format=json").out)
    assert (found["Names"], found["ID"], found["State"]) == ("web", "8285dcf41249", "running")
    assert netctl("ps", "--format", "{{.Names}} {{.Ports}}").out == "web 0.0.0.0:8080->80/tcp\n"
    assert netctl("ps", "--format", r"table {{.ID}}\t{{.Image}}").out.splitlines() == [
        "CONTAINER ID   IMAGE",
        "8285dcf41249   busybox",
    ]


def test_ps_asks_for_what_was_said(peer, netctl):
    peer.on("GET", "/containers/json", [])
    for words, query in (
        ((), {}),
        (("-a",), {"all": "1"}),
        (("-l",), {"all": "1", "limit": "1"}),
        (("-n", "3", "-s"), {"all": "1", "limit": "3", "size": "1"}),
    ):
        netctl("ps", *words)
        assert peer.asked[-1].query == query


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([], ""),
        ([port(7777)], "7777/tcp"),
        ([port(81), port(80), port(82)], "80-82/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(80, 8080, "::")], "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"),
        ([port(n, 8000 + n, "0.0.0.0") for n in (82, 80, 81)], "0.0.0.0:8080-8082->80-82/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(81, 9090, "0.0.0.0")], "0.0.0.0:8080->80/tcp, 0.0.0.0:9090->81/tcp"),
        ([port(80, 8080, "0.0.0.0"), port(81), port(53, 53, "1.2.3.4", "udp")],
         "1.2.3.4:53->53/udp, 0.0.0.0:8080->80/tcp, 81/tcp"),
        ([port(80, 1, "0.0.0.0"), port(81)], "0.0.0.0:1->80/tcp, 81/tcp"),
    ],
)  # fmt: skip
def test_ports_are_one_short_cell(entries, text):
    from netd.cli.commands.ps import ports

    assert ports(entries) == text


def test_port_lists_what_is_published(peer, netctl):
    peer.on("GET", "/containers/web/json", inspected())
    assert netctl("port", "web").out == ("53/udp -> 127.0.0.1:32768\n80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n")
    assert netctl("port", "web", "80").out == "0.0.0.0:8080\n[::]:8080\n"
    said = netctl("port", "web", "7777/tcp")
    assert (said.code, said.out) == (1, "") and "web does not publish port '7777/tcp'" in said.err


def test_top_and_stats_are_tables(peer, netctl):
    peer.on("GET", "/containers/web/top", {"Titles": ["PID", "CMD"], "Processes": [["7", "sleep 9"]]})
    peer.on("GET", "/containers/json", [listed("web")])
    peer.on("GET", "/containers/(web|[0-9a-f]{64})/stats", STATS)
    assert netctl("top", "web", "-o", "pid,cmd").out == "PID       CMD\n7         sleep 9\n"
    assert peer.asked[-1].query == {"ps_args": "-o pid,cmd"}
    for words in ((), ("web",)):
        assert netctl("stats", "--no-stream", *words).out.splitlines()[1] == (
            "8285dcf41249   web       40.00%    2MiB / 100MiB       2.00%     1.99kB / 252B   5kB / 7B    2"
        )
    assert peer.asked[-1].query == {"stream": "false"}
    found = json.loads(netctl("stats", "--no-stream", "--format", "json").out)
    assert (found["Name"], found["CPUPerc"], found["MemUsage"], found["PIDs"]) == (
        "web",
        "40.00%",
        "2MiB / 100MiB",
        "2",
    )
    assert netctl("stats", "--no-stream", "--format", "{{.Container}}: {{.NetIO}}", "web").out == "web: 1.99kB / 252B\n"
    assert netctl("stats", "-a", "--no-stream").code == 0
    assert [asked.query for asked in peer.asked if asked.path == "/containers/json"][-1] == {"all": "1"}


def test_life_cycle_verbs_post_and_print_names(peer, netctl):
    peer.on("POST", "/containers/.*", (204, None))
    peer.on("DELETE", "/containers/.*", (204, None))
    for words, method, path, query in (
        (["stop", "-t", "3", "-s", "INT", "a"], "POST", "/containers/a/stop", {"t": "3", "signal": "INT"}),
        (["stop", "a"], "POST", "/containers/a/stop", {}),
        (["restart", "--timeout=0", "a"], "POST", "/containers/a/restart", {"t": "0"}),
        (["kill", "a"], "POST", "/containers/a/kill", {"signal": "KILL"}),
        (["kill", "-sUSR1", "a"], "POST", "/containers/a/kill", {"signal": "USR1"}),
        (["start", "a"], "POST", "/containers/a/start", {}),
        (["pause", "a"], "POST", "/containers/a/pause", {}),
        (["unpause", "a"], "POST", "/containers/a/unpause", {}),
        (["rm", "-fv", "a"], "DELETE", "/containers/a", {"force": "1", "v": "1"}),
    ):
        assert netctl(*words).out == "a\n"
        last = peer.asked[-1]
        assert (last.method, last.path, last.query) == (method, path, query)
    assert netctl("rename", "a", "b").out == "" and peer.asked[-1].query == {"name": "b"}


def test_stopping_many_does_not_wait_for_one_after_the_other(peer, netctl):
    names = ["a", "b", "c"]

    def stop(request):
        for name in names:
            peer.wait_for("POST", f"/containers/{name}/stop")
        return 204, None

    peer.on("POST", "/containers/./stop", stop)
    assert netctl("stop", *names).out == "a\nb\nc\n"


def test_wait_prints_exit_codes(peer, netctl):
    peer.on("POST", "/containers/a/wait", {"StatusCode": 137})
    assert netctl("wait", "a").out == "137\n"


def test_inspect_finds_whatever_bears_the_name(peer, netctl):
    peer.on("GET", "/containers/web/json", inspected())
    peer.on("GET", "/images/busybox/json", {"Id": IMAGES[0]["Id"]})
    peer.on("GET", "/networks/shop", network("shop", "f04c"))
    peer.on("GET", "/volumes/data", {"Name": "data"})
    said = netctl("inspect", "web", "busybox", "shop", "data", "nosuch")
    assert [sorted(found)[:1] for found in json.loads(said.out)] == [["Config"], ["Id"], ["Attachable"], ["Name"]]
    assert said.code == 1 and "no such object: nosuch" in said.err
    assert said.out.startswith('[\n    {\n        "Id": "8285')
    assert netctl("inspect", "--type", "network", "web").code == 1
    assert netctl("inspect", "-f", "{{.Name}} {{.Config.Tty}}", "web").out == "/web false\n"
    assert netctl("inspect", "-f", "{{zork .}}", "web").code == 1
    assert netctl("inspect", "--type", "zork", "web").code == 125


def test_inspect_does_not_hide_a_daemon_that_fails(peer, netctl):
    peer.on("GET", "/containers/web/json", (500, {"message": "the store is broken"}))
    said = netctl("inspect", "web")
    assert (said.code, said.out, said.err) == (1, "[]\n", "netctl: the store is broken\n")


def test_images(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 7200.0)
    peer.on("GET", "/images/json", IMAGES)
    peer.on("DELETE", "/images/busybox", [{"Untagged": "busybox:latest"}, {"Deleted": "sha256:30"}])
    peer.on("POST", "/images/busybox/tag", (201, None))
    assert netctl("images").out == (
        "REPOSITORY            TAG       IMAGE ID       CREATED       SIZE\n"
        "busybox               latest    304f3d163196   2 hours ago   1.98MB\n"
        "localhost:5000/x/bb   t         304f3d163196   2 hours ago   1.98MB\n"
        "<none>                <none>    abababababab   2 hours ago   5B\n"
    )
    assert netctl("image", "ls", "-q", "busybox").out == "304f3d163196\nabababababab\n"
    assert json.loads(peer.asked[-1].query["filters"]) == {"reference": {"busybox": True}}
    assert netctl("rmi", "busybox").out == "Untagged: busybox:latest\nDeleted: sha256:30\n"
    netctl("tag", "busybox", "localhost:5000/b")
    assert peer.asked[-1].query == {"repo": "localhost:5000/b"}
    netctl("image", "tag", "busybox", "localhost:5000/b:1")
    assert peer.asked[-1].query == {"repo": "localhost:5000/b", "tag": "1"}


def test_ports_are_added_and_taken_away(peer, netctl):
    bound = {"HostIp": "0.0.0.0", "HostPort": "8080", "Allow": ["192.0.2.0/24"]}
    peer.on("POST", "/netd/v1/containers/web/ports", {"Ports": {"80/tcp": [bound], "81/tcp": [bound], "9/tcp": None}})
    peer.on("DELETE", "/netd/v1/containers/web/ports", {"Ports": {}})
    assert netctl("port", "add", "web", "8080:80", "53/udp", "--allow", "192.0.2.0/24").out == (
        "80/tcp -> 0.0.0.0:8080 for 192.0.2.0/24\n"
    )
    assert netctl("container", "port", "rm", "web", "8080:80").out == ""
    path = "/netd/v1/containers/web/ports"
    asked = [peer.wait_for(method, path).json for method in ("POST", "DELETE")]
    allow = ["192.0.2.0/24"]
    assert asked[0]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080", "Allow": allow}],
        "53/udp": [{"HostIp": "", "HostPort": "", "Allow": allow}],
    }
    assert asked[1]["PortBindings"] == {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}
    said = netctl("port", "add", "web", "zork")
    assert said.code != 0 and 'invalid port "zork": invalid containerPort: zork' in said.err


def test_an_archive_is_imported_and_its_id_printed(peer, netctl, tmp_path):
    peer.on("POST", "/images/create", {"status": "sha256:1"})
    archive = tmp_path / "root.tar"
    archive.write_bytes(b"tar" * 200_000)
    assert netctl("image", "import", "-c", 'CMD ["sh"]', "-m", "mine", str(archive), "base:1").out == "sha256:1\n"
    (request,) = peer.asked
    assert request.body == archive.read_bytes()
    assert request.query == {"fromSrc": "-", "repo": "base", "tag": "1", "message": "mine", "changes": 'CMD ["sh"]'}
    peer.on("POST", "/images/create", {"errorDetail": {"message": "unexpected EOF"}, "error": "unexpected EOF"})
    said = netctl("image", "import", str(archive))
    assert (said.code, said.err) == (1, "netctl: unexpected EOF\n")
    said = netctl("image", "import", "/nonexistent")
    assert (said.code, said.err) == (1, "netctl: /nonexistent: No such file or directory\n")


def test_an_archive_may_come_from_a_pipe(peer, start):
    peer.on("POST", "/images/create", {"status": "sha256:1"})
    process = start("image", "import", "-", "base")
    assert process.communicate(b"x" * 300_000, timeout=10)[0] == b"sha256:1\n"
    assert peer.asked[0].body == b"x" * 300_000


def test_history_is_a_table(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 60.0)
    layer = {"Id": IMAGES[0]["Id"], "Created": 0, "CreatedBy": "x" * 60, "Size": 0, "Comment": "Imported from -"}
    peer.on("GET", "/images/busybox/history", [layer])
    assert netctl("history", "busybox").out.splitlines()[1] == (
        f"304f3d163196   About a minute ago   {'x' * 44}…   0B        Imported from -"
    )


def test_events_are_one_line_each_and_harmless_to_a_terminal(peer, netctl, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    peer.on("GET", "/events", EVENTS)
    assert netctl("events", "--since", "1700000000", "--until=1700000009", "-f", "type=container").out == (
        "2026-11-23T23:05:14.072225069+00:00 container kill 474b52427186 (image=busybox, name=w3, signal=9)\n"
        "2026-11-23T23:05:15.000000001+00:00 network create f04c (name=n\\x1b[2J, type=bridge)\n"
    )
    assert peer.asked[0].query["since"] == "1700000000"
    assert len([json.loads(line) for line in netctl("events", "--format=json").out.splitlines()]) == 2
    form = "{{.Type}} {{.Actor.Attributes.name}} {{.TimeNano}} {{.ID}} {{.Status}}"
    assert netctl("events", "--format", form).out.splitlines()[0] == "container w3 1795475114072225069 474b kill"
    said = netctl("events", "--format", "{{.Zork}}")
    assert said.code == 1 and "can't evaluate field Zork" in said.err


def test_logs_are_spread_over_output_and_error(peer, netctl):
    def logs(request):
        request.connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        request.connection.chunk(b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0")
        request.connection.chunk(b"\0\x04err\n")
        request.connection.chunk(b"")
        return request

    peer.on("GET", "/containers/web/json", inspected())
    peer.on("GET", "/containers/web/logs", logs)
    said = netctl("logs", "-f", "--tail", "5", "-t", "web")
    assert (said.code, said.out, said.err) == (0, "out\n", "err\n")
    assert peer.asked[-1].query == {"stdout": "1", "stderr": "1", "tail": "5", "follow": "1", "timestamps": "1"}
    peer.on("GET", "/containers/web/json", inspected(tty=True))
    peer.on("GET", "/containers/web/logs", b"raw\r\n")
    assert netctl("logs", "web").out == "raw\r\n"


def test_version_tells_what_is_there(peer, netctl):
    engine = {"Version": "28.5.2", "ApiVersion": "1.51", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "amd64"}
    peer.on(
        "GET", "/version", {**engine, "KernelVersion": "6.18", "Components": [{"Name": "Engine", "Version": "28.5.2"}]}
    )
    out = netctl("version").out
    assert out.startswith("netctl ") and "Engine 28.5.2\nAPI 1.51 (from 1.24)\nlinux/amd64, kernel 6.18\n" in out
    assert json.loads(netctl("version", "--format", "json").out)["Server"]["ApiVersion"] == "1.51"
    assert netctl("version", "-f", "{{.Server.APIVersion}}").out == "1.51\n"
    said = netctl("version", "-f", "{{.Zork}}")
    assert said.code == 1 and "can't evaluate field Zork" in said.err


def test_version_without_a_daemon_tells_its_own_and_fails(netctl, run_dir):
    said = netctl("-v")
    assert said.code == 1 and said.out.startswith("netctl ") and "cannot reach netd-runtime" in said.err


def test_info_tells_what_the_daemon_says(peer, netctl):
    found = {"Name": "vm", "Containers": 0, "MemTotal": 1 << 30, "Plugins": {"Network": ["bridge"]}}
    storage = {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"], ["userxattr", "false"]]}
    peer.on("GET", "/info", {**found, **storage})
    assert netctl("info").out == (
        "Name: vm\nContainers: 0\nStorage Driver: overlay2\n Backing Filesystem: extfs\n userxattr: false\n"
        "Network Drivers: bridge\nVolume Drivers: \nTotal Memory: 1GiB\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (["zork"], 1, "unknown verb 'zork'; 'netctl --help' lists all verbs"),
        (["netwrk", "ls"], 1, "unknown verb 'netwrk'; did you mean 'netctl network'?"),
        (["network", "lss"], 1, "unknown verb 'network lss'; did you mean 'netctl network ls'?"),
        (["container", "bogus"], 1, "unknown verb 'container bogus'; 'netctl container --help' lists all verbs"),
        (["compose", "zork"], 1, "unknown verb 'compose zork'; 'netctl compose --help' lists all verbs"),
        (["ps", "--al"], 125, "unknown flag: --al (did you mean --all?)"),
        (["ps", "-x"], 125, "unknown shorthand flag: 'x' in -x (see: netctl ps --help)"),
        (["ps", "web"], 1, "ps takes no arguments: netctl ps [FLAGS] (see: netctl ps --help)"),
        (["rename", "a"], 1,
         "rename needs exactly 2 arguments: netctl rename CONTAINER NAME (see: netctl rename --help)"),
        (["network", "ls", "--format", "{{.Name"], 1, "template: column 1: unclosed action"),
        (["logs", "--since", "x", "c"], 1, "No such container: c"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(peer, netctl, words, code, err):
    peer.on("GET", "/networks", [])
    peer.on("GET", "/containers/c/json", (404, {"message": "No such container: c"}))
    said = netctl(*words)
    assert (said.code, said.out, said.err) == (code, "", f"netctl: {err}\n")


def test_the_run_directory_may_be_named_before_or_after_the_verb(peer, netctl, monkeypatch, run_dir):
    monkeypatch.setenv("NETD_RUN_DIR", "/nonexistent")
    peer.on("GET", "/containers/json", [listed("web", OTHER)])
    for words in (
        ["--run-dir", str(run_dir), "ps", "-q"],
        [f"--run-dir={run_dir}", "ps", "-q"],
        ["ps", "-q", "--run-dir", str(run_dir)],
    ):
        assert netctl(*words).out == "474b52427186\n"
    assert "cannot reach netd-runtime at /nonexistent/docker.sock" in netctl("ps").err


DIGEST = "sha256:" + "d" * 64


def _image(digit: str, *names: str, **fields) -> dict:
    return {"Id": "sha256:" + digit * 64, "RepoTags": [*names], "RepoDigests": [], "Created": 0, **fields}


def test_images_are_listed_with_docker_s_columns(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 7200.0)
    monkeypatch.setenv("TZ", "UTC")
    images = [
        _image(
            "3", "a:1", "a:2", "b:1", RepoDigests=[f"a@{DIGEST}", f"c@{DIGEST}"], SharedSize=7, Size=9, Containers=-1
        ),
        _image("c", Size=5),
    ]
    peer.on("GET", "/images/json", images)
    assert [line.split()[:2] for line in netctl("images").out.splitlines()[1:]] == [
        ["a", "1"],
        ["a", "2"],
        ["b", "1"],
        ["c", "<none>"],
        ["<none>", "<none>"],
    ]
    lines = netctl("images", "--digests").out.splitlines()
    assert lines[0].split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
    assert [line.split()[2] for line in lines[1:]] == [DIGEST, DIGEST, "<none>", DIGEST, "<none>"]
    shown = netctl("image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.SharedSize}} {{.Containers}}").out
    assert shown.splitlines()[0] == "a:1 7B N/A"
    assert json.loads(netctl("image", "ls", "--format", "json").out.splitlines()[0])["Repository"] == "a"
    assert netctl("images", "-q", "--no-trunc").out == f"sha256:{'3' * 64}\nsha256:{'c' * 64}\n"


def test_an_archive_of_images_is_loaded(peer, netctl, tmp_path):
    peer.on("POST", "/images/load", {"stream": "Loaded image: app:1\n"})
    archive = tmp_path / "images.tar"
    archive.write_bytes(b"tar" * 100_000)
    assert netctl("load", "-i", str(archive), "--platform", "linux/arm64").out == "Loaded image: app:1\n"
    (request,) = peer.asked
    assert request.body == archive.read_bytes() and request.query == {"quiet": "1", "platform": "linux/arm64"}
    peer.on("POST", "/images/load", {"errorDetail": {"message": "it is damaged"}, "error": "it is damaged"})
    said = netctl("image", "load", "--input", str(archive))
    assert (said.code, said.err) == (1, "netctl: it is damaged\n")


def test_a_saved_archive_exists_only_when_it_is_complete(peer, netctl, tmp_path):
    peer.on("GET", "/images/get", b"x" * 300_000)
    target = tmp_path / "out.tar"
    assert netctl("save", "-o", str(target), "a", "b:1").code == 0
    assert target.read_bytes() == b"x" * 300_000 and peer.asked[0].path == "/images/get"
    peer.on("GET", "/images/get", (404, {"message": "No such image: a:latest"}))
    assert netctl("save", "-o", str(tmp_path / "other.tar"), "a").err == "netctl: No such image: a:latest\n"
    assert sorted(path.name for path in tmp_path.glob("*tar*")) == ["out.tar"]


def test_a_container_is_committed(peer, netctl):
    peer.on("POST", "/commit", (201, {"Id": "sha256:12"}))
    words = ("-m", "why", "-a", "me", "-c", "CMD x", "--pause=false", "web", "host:5000/app:1")
    assert netctl("commit", *words).out == "sha256:12\n"
    assert peer.asked[0].query == {
        "container": "web", "repo": "host:5000/app", "tag": "1", "author": "me", "comment": "why", "pause": "0",
        "changes": "CMD x",
    }  # fmt: skip
    netctl("container", "commit", "web")
    assert peer.asked[1].query["pause"] == "1"


def test_images_are_pruned_after_a_question(peer, netctl, monkeypatch):
    peer.on(
        "POST", "/images/prune", {"ImagesDeleted": [{"Untagged": "a:1"}, {"Deleted": "sha256:1"}], "SpaceReclaimed": 7}
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "all dangling images" in netctl("image", "prune").out and not peer.asked
    said = netctl("image", "prune", "-af", "--filter", "until=1h")
    assert said.out == "Deleted Images:\nuntagged: a:1\ndeleted: sha256:1\n\nTotal reclaimed space: 7B\n"
    assert json.loads(peer.asked[0].query["filters"]) == {"until": {"1h": True}, "dangling": {"false": True}}


USAGE = {
    "LayersSize": 1000,
    "Images": [
        _image("1", "a:1", Size=900, SharedSize=100, Containers=1),
        _image("2", Size=200, SharedSize=100, Containers=0),
    ],
    "Containers": [
        {"Id": "c" * 64, "Names": ["/web"], "Image": "a:1", "Command": "sh", "Created": 0, "State": "exited",
         "Status": "Exited (0)", "Ports": [], "SizeRw": 50}
    ],
    "Volumes": [
        {"Name": "v", "UsageData": {"Size": 5, "RefCount": 0}},
        {"Name": "w", "UsageData": {"Size": 15, "RefCount": 2}},
    ],
    "BuildCache": [
        {"ID": "k" * 25, "Type": "regular", "Size": 30, "CreatedAt": "1970-01-01T00:00:00.000000000Z",
         "LastUsedAt": None, "UsageCount": 2, "Shared": False, "InUse": False}
    ],
}  # fmt: skip


def test_disk_usage_has_docker_s_columns(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 7200.0)
    peer.on("GET", "/v1.51/system/df", USAGE)
    assert netctl("system", "df").out == (
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"
        "Images          2         1         1kB       200B (20%)\n"
        "Containers      1         0         50B       50B (100%)\n"
        "Local Volumes   2         1         20B       5B (25%)\n"
        "Build Cache     1         0         30B       30B\n"
    )
    shown = netctl("system", "df", "-v").out
    assert "a            1         111111111111   2 hours ago   900B      100B          800B          1" in shown
    assert (
        "cccccccccccc   a:1       " in shown
        and "Build cache usage: 30B" in shown
        and "v             0         5B" in shown
    )
    assert netctl("system", "df", "--format", "{{.Type}} {{.Size}}").out.splitlines()[3] == "Build Cache 30B"
    found = json.loads(netctl("system", "df", "-v", "--format", "json").out)
    assert {"Images", "Containers", "Volumes", "BuildCache"} == set(found) and found["BuildCache"][0][
        "Type"
    ] == "regular"
    form = "{{range .Volumes}}{{.Name}} {{.Size}};{{end}}"
    assert netctl("system", "df", "-v", "--format", form).out == "v 5B;w 15B;\n"


def test_everything_unused_is_removed_in_one_go(peer, netctl):
    peer.on("POST", "/containers/prune", {"ContainersDeleted": ["c1"], "SpaceReclaimed": 500})
    peer.on("POST", "/networks/prune", {"NetworksDeleted": ["n1"]})
    peer.on("POST", "/volumes/prune", {"VolumesDeleted": ["v1"], "SpaceReclaimed": 1000})
    peer.on(
        "POST", "/images/prune", {"ImagesDeleted": [{"Untagged": "x:1"}, {"Deleted": "sha256:5"}], "SpaceReclaimed": 0}
    )
    peer.on("POST", "/build/prune", {"CachesDeleted": None, "SpaceReclaimed": 0})
    assert netctl("container", "prune", "-f", "--filter", "until=1h").out.endswith(
        "c1\n\nTotal reclaimed space: 500B\n"
    )
    assert json.loads(peer.asked[-1].query["filters"]) == {"until": {"1h": True}}
    assert netctl("system", "prune", "-af", "--volumes").out == (
        "Deleted Containers:\nc1\n\nDeleted Networks:\nn1\n\nDeleted Volumes:\nv1\n\n"
        "Deleted Images:\nuntagged: x:1\ndeleted: sha256:5\n\nTotal reclaimed space: 1.5kB\n"
    )
    assert peer.asked[-1].query == {"all": "1"}
    peer.asked.clear()
    assert netctl("system", "prune", "-f", "--filter", "label=a").code == 0
    assert [asked.path for asked in peer.asked] == ["/containers/prune", "/networks/prune", "/images/prune"]
    said = netctl("system", "prune", "--volumes", "--filter", "until=1h")
    assert said.code == 125 and '"until" filter is not supported with "--volumes"' in said.err


@pytest.mark.parametrize("words", [["network", "rm"], ["rm"], ["image", "rm"]])
def test_a_missing_object_is_no_error_with_force(peer, netctl, words):
    peer.on("DELETE", "/.*/a", (404, {"message": "a is not found"}))
    peer.on("DELETE", "/.*/b", (200, [{"Deleted": "b"}]))
    said = netctl(*words, "-f", "a", "b")
    assert said.code == 0 and said.out.endswith("b\n") and "a is not found" in said.err
    assert netctl(*words, "a", "b").code == 1


@pytest.mark.parametrize(
    ("words", "path", "message", "near"),
    [
        (["stop", "wbe"], "/containers/wbe/stop", "No such container: wbe", "web"),
        (["logs", "wbe"], "/containers/wbe/json", "No such container: wbe", "web"),
        (["network", "rm", "birdge"], "/networks/birdge", "network birdge not found", "bridge"),
        (["volume", "rm", "dtaa"], "/volumes/dtaa", "get dtaa: no such volume", "data"),
        (["image", "tag", "bsybox", "x"], "/images/bsybox/tag", "No such image: bsybox:latest", "busybox"),
        (["inspect", "buzybox"], "/(containers|images|networks|volumes)/buzybox(/json)?", "gone", "busybox"),
        (["stop", "zork"], "/containers/zork/stop", "No such container: zork", None),
    ],
)
def test_a_name_that_is_misspelled_is_answered_with_the_nearest(peer, netctl, words, path, message, near):
    peer.on("GET", "/networks", NETWORKS)
    peer.on("GET", "/containers/json", [listed("web")])
    peer.on("GET", "/images/json", IMAGES)
    peer.on("GET", "/volumes", {"Volumes": [{"Name": "data"}]})
    for method in ("GET", "POST", "DELETE"):
        peer.on(method, path, (404, {"message": message}))
    said = netctl(*words)
    assert said.code == 1
    assert said.err.endswith(f"; did you mean {near}?\n") if near else said.err == f"netctl: {message}\n"


def test_a_network_is_shown_to_people_as_lines_and_a_table(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_700_000_120.0)
    shop = {
        "Name": "shop", "Id": "f04c", "Driver": "bridge", "Created": "2023-11-14T22:13:20.5Z", "Internal": True,
        "EnableIPv6": False, "Labels": {"tier": "front\n"}, "Options": {},
        "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.1"}]},
        "Status": {"IPAM": {"Subnets": {"10.1.0.0/24": {"IPsInUse": 4, "DynamicIPsAvailable": 252}}}},
        "Containers": {"x": {"Name": "web", "IPv4Address": "10.1.0.2/24", "IPv6Address": "", "MacAddress": "02:42"}},
    }  # fmt: skip
    peer.on("GET", "/networks/shop", shop)
    assert netctl("network", "inspect", "--format", "pretty", "shop").out == (
        "Name:        shop\n"
        "Id:          f04c\n"
        "Driver:      bridge\n"
        "Created:     About a minute ago (2023-11-14T22:13:20.5Z)\n"
        "Subnet:      10.1.0.0/24 (gateway 10.1.0.1)\n"
        "Addresses:   4 in use, 252 free in 10.1.0.0/24\n"
        "Properties:  internal\n"
        "Label:       tier=front\\n\n"
        "Containers:  1\n"
        "  CONTAINER   IPV4 ADDRESS   IPV6 ADDRESS   MAC ADDRESS\n"
        "  web         10.1.0.2/24                   02:42\n"
    )
