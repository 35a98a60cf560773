"""From the create body to the runtime spec: supported options arrive, unsupported ones are refused by name."""

import msgspec
import pytest

from netd.common.errors import BadRequest, NotImplementedYet, Problem
from runtime import spec
from runtime.api.bodies import convert
from runtime.build.plan.change_instructions import apply
from runtime.container_config import Config, CreateRequest, HostConfig, LogConfig
from runtime.engine.options import log_options, networking, validate
from runtime.engine.options.image_defaults import with_image_defaults
from runtime.engine.options.mount_options import mount_requests
from runtime.engine.options.process import environment, exec_process
from runtime.engine.options.runtime_spec import StartContext, container
from runtime.images.image_config import ImageConfig
from runtime.kernel.capabilities import BIT, DEFAULT
from runtime.kernel.host_support import HostSupport
from runtime.paths import ContainerPaths
from runtime.record import ContainerRecord, ExecConfig, MountPoint

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ID = "0123456789ab" + "c" * 52


def body(**fields):
    return convert({"Image": "busybox", "Cmd": ["true"], **fields}, CreateRequest)


def check(**fields):
    asked = body(**fields)
    host = asked.host_config or HostConfig()
    config = Config(**{field: getattr(asked, field) for field in Config.__struct_fields__})
    endpoints = networking.endpoints(asked.networking_config, host)
    validate.check(config, host, endpoints, 2, HostSupport())
    mount_requests(config, host)
    return config, host, endpoints


def record(**fields):
    config, host, endpoints = check(**fields)
    return ContainerRecord(
        id=ID, name="web", created="", image="sha256:1", layers=["sha256:2"], config=config, host=host,
        endpoints=endpoints, mounts=[], tmpfs={},
    )  # fmt: skip


def translated(tmp_path, **fields) -> spec.ContainerSpec:
    context = StartContext(
        hostname="box", netns="/run/n", pid_mode="private", ipc_mode="private", root=spec.RootSource(lower=("/l",)),
        files=ContainerPaths(tmp_path), cpus=2,
    )  # fmt: skip
    return container(record(**fields), ContainerPaths(tmp_path), context)


def test_null_means_not_set_everywhere(tmp_path):
    """docker-py sends null for every field that is not set."""
    made = translated(
        tmp_path, Hostname=None, User=None, Tty=None, Env=None, Volumes=None, Labels=None,
        HostConfig={"Binds": None, "LogConfig": None, "RestartPolicy": None, "Memory": None, "Init": None},
        NetworkingConfig=None,
    )  # fmt: skip
    assert made.process.argv == ("true",) and made.process.user == ""


def test_the_defaults_are_dockers(tmp_path):
    made = translated(tmp_path)
    process = made.process
    assert (process.env, process.cwd, process.capabilities) == ((PATH, "HOSTNAME=box"), "/", DEFAULT)
    assert process.seccomp and not process.no_new_privileges and not process.tty and not process.stdin
    assert (made.shm_size, made.read_only, made.privileged, made.init) == (64 << 20, False, False, False)
    assert made.limits == spec.Limits() and made.log_path.endswith("-json.log")
    assert [mount.target for mount in made.mounts] == ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]


def test_every_option_arrives(tmp_path):
    made = translated(
        tmp_path,
        Tty=True, OpenStdin=True, StdinOnce=True, Env=["A=b", "HOSTNAME"], WorkingDir="/w", User="1:2",
        Domainname="ex.test", Entrypoint="sh", Cmd=["-c", "x"],
        HostConfig={
            "NanoCpus": 500_000_000, "Memory": 100 << 20, "PidsLimit": 20, "CpuShares": 512, "CpusetCpus": "0-1",
            "CapAdd": ["NET_ADMIN"], "CapDrop": ["CAP_chown"], "ReadonlyRootfs": True, "Init": True,
            "ShmSize": 1 << 20, "Ulimits": [{"Name": "nofile", "Soft": 10, "Hard": 20}],
            "Sysctls": {"net.core.somaxconn": "9", "kernel.msgmax": "8"}, "SecurityOpt": ["no-new-privileges"],
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}, "OomScoreAdj": 5,
            "GroupAdd": ["audio"], "ConsoleSize": [24, 80],
            "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"}],
        },
    )  # fmt: skip
    process = made.process
    assert process.argv == ("sh", "-c", "x") and process.env == (PATH, "TERM=xterm", "A=b")
    assert (process.cwd, process.user, process.group_add) == ("/w", "1:2", ("audio",))
    assert process.capabilities == (DEFAULT | BIT["NET_ADMIN"]) & ~BIT["CHOWN"]
    assert (process.tty, process.stdin, process.stdin_once, process.console_size) == (True, True, True, (24, 80))
    assert process.no_new_privileges and process.rlimits == ((7, 10, 20),) and process.oom_score_adj == 5
    assert (made.read_only, made.init, made.shm_size, made.domainname) == (True, True, 1 << 20, "ex.test")
    assert made.limits == spec.Limits(
        cpu_period=100_000, cpu_quota=50_000, cpu_shares=512, cpuset_cpus="0-1", memory=100 << 20,
        memory_swap=200 << 20, pids=20,
    )  # fmt: skip
    assert made.sysctls == (("kernel.msgmax", "8"),)
    assert (made.log_max_size, made.log_max_files) == (10 << 20, 3)
    assert made.devices == (spec.Device(source="/dev/null", target="/dev/x", access="rw"),)


def test_privileged_means_every_capability_and_no_filter(tmp_path):
    made = translated(tmp_path, HostConfig={"Privileged": True})
    assert made.privileged and made.process.seccomp == b"" and made.process.capabilities & BIT["SYS_ADMIN"]


def test_mounts_go_parents_first_and_a_mount_at_a_files_place_wins(tmp_path):
    created = record()
    points = [
        MountPoint(type="bind", source="/h", destination="/etc/hosts", rw=False, propagation="rslave"),
        MountPoint(type="volume", name="v", source="/v", destination="/a/b"),
        MountPoint(type="tmpfs", destination="/a"),
        MountPoint(type="tmpfs", destination="/etc"),
    ]
    context = StartContext(
        hostname="h",
        netns=None,
        pid_mode="host",
        ipc_mode="private",
        root=spec.RootSource(),
        files=ContainerPaths(tmp_path),
        cpus=1,
    )
    made = container(
        msgspec.structs.replace(created, mounts=points, tmpfs={"/a": "size=1m", "/etc": ""}),
        ContainerPaths(tmp_path),
        context,
    )
    assert made.mounts == (
        spec.MountSpec(kind="tmpfs", target="/a", options="size=1m"),
        spec.MountSpec(kind="tmpfs", target="/etc", options=""),
        spec.MountSpec(kind="bind", target="/a/b", source="/v"),
        spec.MountSpec(kind="bind", target="/etc/hostname", source=str(ContainerPaths(tmp_path).hostname)),
        spec.MountSpec(kind="bind", target="/etc/hosts", source="/h", read_only=True, propagation="rslave"),
        spec.MountSpec(kind="bind", target="/etc/resolv.conf", source=str(ContainerPaths(tmp_path).resolv_conf)),
    )


HOST = {
    "Isolation": ("hyperv", 400), "UsernsMode": ("remap", 400), "Runtime": ("kata", 400), "CgroupParent": ("../x", 400),
    "SecurityOpt": (["nosuch=mine"], 400), "DeviceRequests": ([{"Count": -1}], 501),
    "MaskedPaths": (["relative"], 400), "LogConfig": ({"Type": "syslog"}, 400), "VolumeDriver": ("nfs", 400),
    "IpcMode": ("nosuch", 400), "PidMode": ("other", 400), "UTSMode": ("other", 400), "CgroupnsMode": ("other", 400),
}  # fmt: skip


@pytest.mark.parametrize("field", HOST)
def test_what_cannot_be_done_is_refused_by_name(field):
    value, status = HOST[field]
    with pytest.raises(Problem) as problem:
        check(HostConfig={field: value})
    assert problem.value.status == status
    words = str(value[0] if isinstance(value, list) and value else value).strip("{}'").split("'")[0]
    assert field in problem.value.message or words in problem.value.message or "syslog" in problem.value.message


BAD_HOST = [
    {"Memory": 1 << 20}, {"Memory": -1}, {"MemorySwap": 10 << 20}, {"Memory": 10 << 20, "MemorySwap": 8 << 20},
    {"Memory": 10 << 20, "MemoryReservation": 11 << 20}, {"NanoCpus": 1}, {"NanoCpus": 3 * 10**9},
    {"NanoCpus": 10**9, "CpuPeriod": 5000}, {"NanoCpus": 10**9, "CpuQuota": 5000}, {"CpuPeriod": 10},
    {"CpuQuota": 10}, {"CpusetCpus": "5"}, {"CpusetCpus": "x"}, {"CpuShares": -1}, {"OomScoreAdj": 2000},
    {"ShmSize": -1}, {"Ulimits": [{"Name": "nosuch", "Soft": 1, "Hard": 1}]},
    {"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}, {"CapAdd": ["NOSUCH"]}, {"CapDrop": ["x"]},
    {"RestartPolicy": {"Name": "sometimes"}}, {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}},
    {"RestartPolicy": {"Name": "always"}, "AutoRemove": True}, {"Sysctls": {"kernel.panic": "1"}},
    {"Sysctls": {"net.x/../../kernel.panic": "1"}}, {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}},
    {"NetworkMode": "host", "Sysctls": {"net.core.somaxconn": "1"}}, {"ExtraHosts": ["a"]},
    {"ExtraHosts": ["a:zork"]}, {"Dns": ["zork"]}, {"PortBindings": {"0/tcp": []}}, {"PortBindings": {"x": []}},
    {"PortBindings": {"70000/tcp": None}}, {"PortBindings": {"80/tcp": [{"HostPort": "70000"}]}},
    {"PortBindings": {"80/tcp": [{"HostPort": "9-8"}]}}, {"PortBindings": {"80/tcp": [{"HostIp": "zork"}]}},
    {"NetworkMode": "container:"}, {"NetworkMode": "container:x", "PortBindings": {"80/tcp": []}},
    {"NetworkMode": "container:x", "Dns": ["1.1.1.1"]}, {"NetworkMode": "host", "Links": ["a"]},
    {"LogConfig": {"Type": "json-file", "Config": {"max-size": "big"}}},
    {"LogConfig": {"Type": "json-file", "Config": {"nosuch": "1"}}},
    {"LogConfig": {"Type": "json-file", "Config": {"max-file": "0"}}}, {"Devices": [{"PathOnHost": "dev/x"}]},
    {"Devices": [{"PathOnHost": "/dev/x", "CgroupPermissions": "q"}]}, {"DeviceCgroupRules": ["x"]},
    {"Init": True, "PidMode": "host"}, {"Binds": ["a b:/x"]},
]  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOST, ids=str)
def test_host_settings_that_make_no_sense_are_refused(host):
    with pytest.raises(BadRequest) as problem:
        check(HostConfig=host)
    assert "\n" not in problem.value.message


BAD_CONFIG = [
    {"Cmd": None}, {"WorkingDir": "rel"}, {"Env": ["=x"]}, {"Env": [""]}, {"Env": ["A=\0"]}, {"Cmd": ["a\0b"]},
    {"StopSignal": "NOPE"}, {"Hostname": "h" * 65}, {"ExposedPorts": {"0/tcp": {}}}, {"ExposedPorts": {"zork": {}}},
    {"Volumes": {"rel": {}}}, {"Healthcheck": {"Test": ["WHAT"]}}, {"Healthcheck": {"Interval": 5}},
    {"Tty": "yes"}, {"Env": "A=b"}, {"HostConfig": []}, {"HostConfig": {"Memory": "1g"}}, {"Cmd": ["\ud800"]},
    {"NetworkingConfig": {"EndpointsConfig": {"n": None}}},
    {"NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}}},
    {"NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": ["a"]}}}},
    {"NetworkingConfig": {"EndpointsConfig": {"n": {"IPAMConfig": {"IPv4Address": "zork"}}}}},
    {"NetworkingConfig": {"EndpointsConfig": {"n": {}, "host": {}}}},
]  # fmt: skip


@pytest.mark.parametrize("config", BAD_CONFIG, ids=str)
def test_settings_that_make_no_sense_are_refused(config):
    with pytest.raises(BadRequest):
        check(**config)


def test_endpoints_are_wishes_and_the_mode_stands_in_for_none():
    copied = {"IPAddress": "10.0.0.9", "NetworkID": "abc", "Aliases": ["a"], "IPAMConfig": None}
    _, _, endpoints = check(NetworkingConfig={"EndpointsConfig": {"n": copied}})
    assert (endpoints["n"].ip_address, endpoints["n"].network_id, endpoints["n"].aliases) == ("", "", ["a"])
    assert list(check(HostConfig={"NetworkMode": "default"})[2]) == ["bridge"]
    assert list(check(HostConfig={"NetworkMode": "mine"})[2]) == ["mine"]
    assert check(HostConfig={"NetworkMode": "container:x"})[2] == {}


def test_the_request_to_netd_says_all_of_networking():
    created = record(
        ExposedPorts={"80/tcp": {}}, Labels={"a": "b"},
        HostConfig={"NetworkMode": "n", "PublishAllPorts": True, "Dns": ["1.1.1.1"],
                    "Sysctls": {"net.core.somaxconn": "1"}, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
    )  # fmt: skip
    asked = networking.sandbox_request(created, "box")
    assert (asked.id, asked.name, asked.hostname, asked.network_mode) == (ID, "web", "box", "n")
    assert list(asked.networks) == ["n"] and asked.exposed_ports == ["80/tcp"] and asked.publish_all_ports
    assert asked.port_bindings["80/tcp"][0].host_port == "8080" and asked.labels == {"a": "b"}
    assert asked.sysctls["net.core.somaxconn"] == "1" and asked.sysctls["net.ipv4.ip_unprivileged_port_start"] == "0"


def test_the_images_defaults_stay_below_what_is_asked():
    image = ImageConfig(
        user="app", env=["A=image", "B=image"], entrypoint=["ep"], cmd=["cmd"], working_dir="/i",
        labels={"l": "i", "m": "i"}, stop_signal="INT",
    )  # fmt: skip
    plain = with_image_defaults(Config(), image)
    assert (plain.entrypoint, plain.cmd, plain.user, plain.working_dir) == (["ep"], ["cmd"], "app", "/i")
    own = with_image_defaults(Config(cmd=["x"], env=["A=own"], labels={"l": "o"}), image)
    assert (own.entrypoint, own.cmd, own.env, own.labels) == (["ep"], ["x"], ["A=own", "B=image"], {"l": "o", "m": "i"})
    replaced = with_image_defaults(Config(entrypoint=["sh"]), image)
    assert (replaced.entrypoint, replaced.cmd) == (["sh"], None)
    assert with_image_defaults(Config(entrypoint=[""], cmd=["x"]), image).entrypoint is None


def test_an_exec_has_the_containers_surroundings_and_its_own_words():
    created = record(Env=["A=b"], User="app", WorkingDir="/w", HostConfig={"CapDrop": ["ALL"]})
    made = exec_process(created, ExecConfig(cmd=["id"], env=["A=c", "N=1"], tty=True, attach_stdin=True), "box")
    assert made.env == (PATH, "HOSTNAME=box", "TERM=xterm", "A=c", "N=1")
    assert (made.user, made.cwd, made.capabilities, made.tty, made.stdin) == ("app", "/w", 0, True, True)
    assert exec_process(created, ExecConfig(cmd=["id"], privileged=True), "box").capabilities & BIT["SYS_ADMIN"]


def test_environments_override_and_take_away():
    assert environment(["A=1", "B=2"], ["B=3", "A", "C=4=5"]) == ("B=3", "C=4=5")


@pytest.mark.parametrize(("size", "found"), [("-1", -1), ("10", 10), ("3k", 3072), ("10MB", 10 << 20), ("1g", 1 << 30)])
def test_log_sizes(size, found):
    assert log_options.limits(HostConfig(log_config=LogConfig(config={"max-size": size})))[0] == found


def test_changes_of_an_import():
    made = apply(
        ['CMD ["a", "b"]', "ENTRYPOINT run it", "ENV A=1 B='two words'", "ENV C three", "EXPOSE 80 53/udp", "LABEL x=y",
         "USER app", "VOLUME /data", 'VOLUME ["/more"]', "WORKDIR /w", "STOPSIGNAL INT"]
    )  # fmt: skip
    assert (made.cmd, made.entrypoint) == (["a", "b"], ["/bin/sh", "-c", "run it"])
    assert made.env == ["A=1", "B=two words", "C=three"] and sorted(made.exposed_ports) == ["53/udp", "80/tcp"]
    assert (made.labels, made.user, sorted(made.volumes)) == ({"x": "y"}, "app", ["/data", "/more"])
    assert (made.working_dir, made.stop_signal) == ("/w", "INT")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("ARG x", "ARG is not a valid change command"),
        ("FOO bar", "FOO is not a valid change command"),
        ("USER", "USER requires exactly one argument"),
        ("ENV =x", ""),
        ("ENV 'a", ""),
        ("EXPOSE 80 x", "Invalid containerPort: x"),
        ("VOLUME rel", ""),
        ("STOPSIGNAL nope", "invalid signal: nope"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("# comment", "file with no instructions"),
        ("", "file with no instructions"),
    ],
)
def test_changes_that_cannot_be_applied_are_refused(change, message):
    """The messages are Docker's."""
    with pytest.raises(BadRequest) as refused:
        apply([change])
    assert refused.value.message == message or not message


def test_changes_use_variables_of_the_image_and_may_hold_several_lines():
    made = apply(["ENV A=1 B=$A", "LABEL x=$A", "WORKDIR rel", "ENV C=2\nUSER u$C"])
    assert (made.env, made.labels, made.working_dir, made.user) == (["A=1", "B=", "C=2"], {"x": "1"}, "/rel", "u2")


def test_refusals_of_what_is_missing_say_so():
    with pytest.raises(NotImplementedYet, match="--gpus"):
        check(HostConfig={"DeviceRequests": [{"Count": -1}]})
