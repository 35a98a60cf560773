"""Requests, output and exit codes of the other verbs, with recorded responses of Docker."""

import json

import pytest
from recorded import EVENTS, ID, IMAGES, NETWORKS, OTHER, STATS, inspected, listed, network, port


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
