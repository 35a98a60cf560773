"""Request bodies of ``run`` and ``create``."""

import pytest

from netd.cli.errors import Fault, UsageFault
from netd.cli.parse.create_body import create_body
from netd.cli.parse.flags import parse
from netd.cli.parse.run_flags import RUN


def body(*words, attached=True, size=None):
    return create_body(parse([*words, "img", "cmd", "-x"], RUN, flags_first=True), attached=attached, size=size)


def host(*words):
    return body(*words)["HostConfig"]


def refusal(*words):
    with pytest.raises(UsageFault) as caught:
        body(*words)
    return caught.value.message


def test_a_plain_run_is_attached_and_asks_for_nothing():
    found = body()
    assert (found["Image"], found["Cmd"]) == ("img", ["cmd", "-x"])
    assert (found["AttachStdin"], found["AttachStdout"], found["OpenStdin"], found["Tty"]) == (
        False,
        True,
        False,
        False,
    )
    assert found["HostConfig"]["NetworkMode"] == "default" and found["NetworkingConfig"] == {"EndpointsConfig": {}}
    assert "Entrypoint" not in found and "StopTimeout" not in found and found["HostConfig"]["PidsLimit"] is None


def test_input_is_kept_open_once_for_the_one_that_is_attached():
    assert (lambda b: (b["AttachStdin"], b["OpenStdin"], b["StdinOnce"]))(body("-i")) == (True, True, True)
    detached = body("-i", "-d", attached=False)
    assert (detached["AttachStdin"], detached["OpenStdin"], detached["StdinOnce"]) == (False, True, False)


def test_no_command_leaves_the_images():
    found = create_body(parse(["--entrypoint", "", "img"], RUN, flags_first=True), attached=True, size=None)
    assert found["Cmd"] is None and found["Entrypoint"] == [""]


def test_limits_are_converted():
    found = host("--cpus", ".5", "-m", "100m", "--memory-swap=-1", "--pids-limit", "20", "--shm-size=1g", "-c", "5")
    assert (found["NanoCpus"], found["Memory"], found["MemorySwap"]) == (500_000_000, 100 << 20, -1)
    assert (found["PidsLimit"], found["ShmSize"], found["CpuShares"]) == (20, 1 << 30, 5)
    assert refusal("--cpus", "x").startswith('invalid argument "x" for "--cpus" flag: use a number of CPUs')
    assert refusal("--memory", "1z").startswith('invalid argument "1z" for "-m, --memory" flag:')


def test_ports_are_merged_and_exposed():
    found = body("-p", "8080:80", "-p", "8080:80", "-p", "81:80", "-p", "53/udp", "--expose", "7000-7001", "-P")
    assert found["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "", "HostPort": "81"}],
        "53/udp": [{"HostIp": "", "HostPort": ""}],
    }
    assert set(found["ExposedPorts"]) == {"7000/tcp", "7001/tcp", "80/tcp", "53/udp"}
    assert found["HostConfig"]["PublishAllPorts"] is True
    assert refusal("-p", "80:x") == 'invalid argument "80:x" for "-p, --publish" flag: invalid containerPort: x'


def test_storage_is_sorted_by_its_kinds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = body(
        "-v", "/a", "-v", "v:/b:ro", "-v", "./x:/c", "--tmpfs", "/t:size=1m", "--mount", "target=/m", "--read-only"
    )
    assert found["Volumes"] == {"/a": {}}
    assert found["HostConfig"]["Binds"] == ["v:/b:ro", f"{tmp_path}/x:/c"]
    assert found["HostConfig"]["Tmpfs"] == {"/t": "size=1m"}
    assert found["HostConfig"]["Mounts"] == [{"Type": "volume", "Target": "/m"}]
    assert found["HostConfig"]["ReadonlyRootfs"] is True


def test_variables_come_from_files_flags_and_here(tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_HERE", "yes")
    monkeypatch.delenv("NOT_HERE", raising=False)
    file = tmp_path / "env"
    file.write_text("# comment\n\n  A=1 2 \nFROM_HERE\nNOT_HERE\nB=#x\n")
    found = body("-e", "C=3=4", "-e", "FROM_HERE", "-e", "NOT_HERE", "--env-file", str(file))["Env"]
    assert found == ["A=1 2 ", "FROM_HERE=yes", "B=#x", "C=3=4", "FROM_HERE=yes", "NOT_HERE"]
    file.write_text("BAD NAME=1\n")
    with pytest.raises(Fault, match="'BAD NAME' is not a valid variable name"):
        body("--env-file", str(file))


def test_security_options_carry_a_policys_text(tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text('{"defaultAction":"SCMP_ACT_ALLOW"}')
    options = (
        "--security-opt",
        f"seccomp={policy}",
        "--security-opt",
        "no-new-privileges",
        "--security-opt=seccomp=unconfined",
    )
    assert host(*options)["SecurityOpt"] == [f"seccomp={policy.read_text()}", "no-new-privileges", "seccomp=unconfined"]


def test_smaller_things_are_written_as_the_api_has_them():
    found = host(
        "--ulimit", "nofile=1024:2048", "--ulimit=core=0", "--sysctl", "net.a=1", "--add-host", "h:1.2.3.4",
        "--add-host=v6=[::1]", "--device", "/dev/a", "--device=/dev/b:/dev/c:r", "--device=/dev/d:rw", 
        "--log-opt", "max-size=1m",
        "--isolation", "hyperv", "--init", "--link", "db:d", "--dns=9.9.9.9", "--rm",
    )  # fmt: skip
    assert found["Ulimits"] == [{"Name": "nofile", "Soft": 1024, "Hard": 2048}, {"Name": "core", "Soft": 0, "Hard": 0}]
    assert found["Sysctls"] == {"net.a": "1"} and found["ExtraHosts"] == ["h:1.2.3.4", "v6:::1"]
    assert [(d["PathInContainer"], d["CgroupPermissions"]) for d in found["Devices"]] == [
        ("/dev/a", "rwm"), ("/dev/c", "r"), ("/dev/d", "rw"),
    ]  # fmt: skip
    assert found["LogConfig"] == {"Type": "", "Config": {"max-size": "1m"}}
    assert (found["Isolation"], found["Init"], found["AutoRemove"]) == ("hyperv", True, True)
    assert (found["Links"], found["Dns"]) == (["db:d"], ["9.9.9.9"])


@pytest.mark.parametrize(
    ("word", "policy"),
    [
        ("no", ("no", 0)),
        ("always", ("always", 0)),
        ("on-failure", ("on-failure", 0)),
        ("on-failure:3", ("on-failure", 3)),
    ],
)
def test_restart_policies(word, policy):
    found = host("--restart", word)["RestartPolicy"]
    assert (found["Name"], found["MaximumRetryCount"]) == policy


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--restart", "sometimes"], "use no, always, unless-stopped or on-failure[:TIMES]"),
        (["--restart", "always:3"], "use no, always"),
        (["--restart", "on-failure:x"], "maximum retry count must be a whole number"),
        (["--restart", "always", "--rm"], "conflicting options: cannot specify both --restart and --rm"),
        (["--ulimit", "nofile"], "use NAME=SOFT[:HARD]"),
        (["--add-host", "h"], 'bad format for add-host: "h"'),
        (["--device", "dev"], "use SOURCE[:TARGET[:rwm]]"),
        (["-e", "=x"], "the variable has no name"),
        (["--stop-timeout", "soon"], "not a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(words, part):
    assert part in refusal(*words)


def networks(*words):
    found = body(*words)
    return found["HostConfig"]["NetworkMode"], found["NetworkingConfig"]["EndpointsConfig"]


def test_a_lone_network_is_only_named():
    assert networks("--network", "n") == ("n", {})
    assert networks("--net", "host") == ("host", {})
    assert networks("--network", "container:x=y") == ("container:x=y", {})


def test_addresses_and_aliases_are_about_the_first_network():
    mode, endpoints = networks(
        "--network", "a", "--network", "b", "--ip", "10.0.0.5", "--network-alias", "x", "--network-alias", "y",
        "--mac-address", "02:42:0a:00:00:05", "--link", "db:d",
    )  # fmt: skip
    assert mode == "a" and endpoints["b"] == {}
    assert endpoints["a"] == {
        "IPAMConfig": {"IPv4Address": "10.0.0.5"},
        "Aliases": ["x", "y"],
        "MacAddress": "02:42:0a:00:00:05",
        "Links": ["db:d"],
    }


def test_an_address_without_a_network_is_the_daemons_to_refuse():
    assert networks("--ip", "10.0.0.5") == ("default", {"default": {"IPAMConfig": {"IPv4Address": "10.0.0.5"}}})


def test_a_network_may_say_all_about_itself():
    mode, endpoints = networks(
        "--network",
        "name=n,alias=a,alias=b,ip=10.0.0.9,ip6=fd00::9,mac-address=02:00:00:00:00:01,driver-opt=k=v,gw-priority=7",
    )
    assert (mode, endpoints) == (
        "n",
        {
            "n": {
                "Aliases": ["a", "b"],
                "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9"},
                "MacAddress": "02:00:00:00:00:01",
                "DriverOpts": {"k": "v"},
                "GwPriority": 7,
            }
        },
    )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--network", "a", "--network", "a"], 'network "a" is specified multiple times'),
        (["--network", "a", "--network", "host"], "cannot attach both user-defined networks and 'host'"),
        (["--network", "name=a,ip=10.0.0.5", "--ip", "10.0.0.6"], "cannot specify both --ip"),
        (["--network", "name=a,zork=1"], "invalid field key zork"),
        (["--network", "alias=a"], "use name=NETWORK"),
        (["--network", "name=a,gw-priority=x"], "not a whole number"),
    ],
)
def test_networks_that_contradict_are_refused(words, part):
    assert part in refusal(*words)


def test_health_labels_attached_streams_and_more(tmp_path):
    """Flags whose fields no other test of this module has."""
    labels = tmp_path / "labels"
    labels.write_text("# comment\n\na=1\nb\n")
    found = body(
        "--health-cmd", "true", "--health-interval=1m30s", "--health-timeout", "500ms", "--health-retries", "4",
        "--health-start-period=0", "--label-file", str(labels), "--label", "a=2", "--annotation", "x=y=z", "-a",
        "STDOUT", "--runtime", "netd", "--volume-driver", "local", "--link-local-ip", "169.254.1.1", "--network", "n",
        "--gpus", 'count=2,"capabilities=utility,compute"',
    )  # fmt: skip
    assert found["Healthcheck"] == {
        "Test": ["CMD-SHELL", "true"], "Interval": 90 * 10**9, "Timeout": 5 * 10**8, "StartPeriod": 0,
        "StartInterval": 0, "Retries": 4,
    }  # fmt: skip
    assert found["Labels"] == {"a": "2", "b": ""}
    assert (found["AttachStdout"], found["AttachStderr"], found["AttachStdin"]) == (True, False, False)
    fields = found["HostConfig"]
    assert (fields["Annotations"], fields["Runtime"], fields["VolumeDriver"]) == ({"x": "y=z"}, "netd", "local")
    assert fields["DeviceRequests"][0]["Count"] == 2
    assert fields["DeviceRequests"][0]["Capabilities"] == [["utility", "compute", "gpu"]]
    assert found["NetworkingConfig"]["EndpointsConfig"]["n"]["IPAMConfig"] == {"LinkLocalIPs": ["169.254.1.1"]}
    assert body("--no-healthcheck")["Healthcheck"] == {"Test": ["NONE"]}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--no-healthcheck", "--health-retries=3"], "--no-healthcheck conflicts with --health-* options"),
        (["--health-retries=-1"], "--health-retries cannot be negative"),
        (["--health-interval", "-1s"], "--health-interval cannot be negative"),
        (["--health-timeout", "soon"], 'invalid argument "soon" for "--health-timeout" flag'),
        (["-a", "zork"], "valid streams are STDIN, STDOUT and STDERR"),
        (["-d", "-a", "stdout"], "cannot specify both --attach and --detach"),
        (["--gpus", "foo"], 'value must be either "all" or an integer'),
        (["--kernel-memory", "1g"], "--kernel-memory is refused"),
        (["--use-api-socket"], "--use-api-socket is refused"),
        (["--disable-content-trust=false"], "does not verify signatures"),
        (["--annotation", "x"], "use KEY=VALUE"),
    ],
)
def test_flags_that_are_refused(peer, netctl, words, part):
    said = netctl("run", *words, "image")
    assert said.code == 125 and part in said.err and not peer.asked


def test_the_id_goes_to_a_file_that_must_not_exist(peer, netctl, tmp_path):
    peer.on("POST", "/containers/create", (201, {"Id": "f00", "Warnings": None}))
    path = tmp_path / "id"
    assert netctl("create", "--cidfile", str(path), "--platform", "linux/amd64", "image").out == "f00\n"
    assert path.read_text() == "f00" and peer.asked[-1].query["platform"] == "linux/amd64"
    said = netctl("create", "--cidfile", str(path), "image")
    assert said.code == 125 and f"make sure the other container isn't running or delete {path}" in said.err
    peer.on("POST", "/containers/create", (400, {"message": "no"}))
    assert netctl("run", "--cidfile", str(tmp_path / "other"), "image").code == 125
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("flag", ["--env-file", "--label-file"])
def test_files_that_cannot_be_read_are_docker_s_exit_code(peer, netctl, tmp_path, flag):
    said = netctl("run", flag, str(tmp_path / "none"), "image")
    assert (said.code, said.err) == (125, f"netctl: {tmp_path}/none: No such file or directory\n")
    (tmp_path / "binary").write_bytes(b"a=\xff\n")
    said = netctl("run", flag, str(tmp_path / "binary"), "image")
    assert (said.code, said.err) == (125, f"netctl: {tmp_path}/binary is not text in UTF-8\n")
