"""The main job, through netctl: containers on networks, names, published ports."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.installation import needs_host_namespaces, wait_until

MISSION_FIELDS = {
    "IPAMConfig", "Links", "Aliases", "NetworkID", "EndpointID", "Gateway", "IPAddress", "IPPrefixLen",
    "IPv6Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "MacAddress", "DriverOpts",
}  # fmt: skip


def page(installation, *url):
    return installation.on_host("busybox", "wget", "-q", "-O", "-", *url)


def test_two_containers_on_a_user_defined_network(installation):
    installation.netctl("network", "create", "--driver", "bridge", "--subnet", "172.18.0.0/16", "shop")
    installation.netctl("run", "-d", "--name", "web", "--network", "shop", "-p", "8080:80", "busybox", "sh", "-c",
                 "echo hello from web > /tmp/index.html; exec httpd -f -p 80 -h /tmp")  # fmt: skip
    installation.netctl("run", "-d", "--name", "client", "--network", "shop", "busybox", "sleep", "1000")
    found = installation.netctl("exec", "client", "nslookup", "web", "127.0.0.11").stdout
    assert "172.18.0.2" in found
    installation.netctl("exec", "client", "ping", "-c", "1", "-W", "2", "web")
    assert installation.netctl("exec", "client", "wget", "-q", "-O", "-", "http://web/").stdout == "hello from web\n"
    for address in ("127.0.0.1", "172.18.0.1"):
        wait_until(lambda a=address: page(installation, f"http://{a}:8080/").stdout == "hello from web\n")
    settings = installation.inspect("web")["NetworkSettings"]
    entry = settings["Networks"]["shop"]
    assert set(entry) >= MISSION_FIELDS
    assert (entry["IPAddress"], entry["IPPrefixLen"], entry["Gateway"]) == ("172.18.0.2", 16, "172.18.0.1")
    assert entry["MacAddress"] == "02:42:ac:12:00:02"
    assert {"HostIp": "0.0.0.0", "HostPort": "8080"} in settings["Ports"]["80/tcp"]


def test_the_default_bridge_resolves_names_and_follows_a_restart(installation):
    installation.netctl("run", "-d", "--name", "a", "busybox", "sleep", "1000")
    installation.netctl("run", "-d", "--name", "b", "busybox", "sleep", "1000")
    assert installation.inspect("a")["NetworkSettings"]["Networks"]["bridge"]["MacAddress"].startswith(
        "02:42:ac:11:00:"
    )
    installation.netctl("exec", "b", "ping", "-c", "1", "-W", "2", "a")
    installation.netctl("stop", "-t", "0", "a")
    installation.netctl("run", "-d", "--name", "c", "busybox", "sleep", "1000")
    installation.netctl("start", "a")
    address = installation.inspect("a")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    assert address in installation.netctl("exec", "b", "nslookup", "a", "127.0.0.11").stdout


@needs_host_namespaces
def test_host_mode_shares_the_ports_of_the_host(installation):
    installation.netctl(
        "run", "-d", "--name", "h1", "--network", "host", "busybox", "httpd", "-f", "-p", "5000", "-h", "/etc"
    )
    wait_until(lambda: "root:x:0:0" in page(installation, "http://127.0.0.1:5000/passwd").stdout)
    second = installation.netctl(
        "run", "--rm", "--network", "host", "busybox", "httpd", "-f", "-p", "5000", check=False
    )
    assert second.returncode != 0 and "in use" in (second.stdout + second.stderr).lower()


def test_none_mode_has_only_loopback(installation):
    out = installation.netctl("run", "--rm", "--network", "none", "busybox", "ip", "-o", "link").stdout
    assert len(out.splitlines()) == 1 and "lo:" in out
    assert installation.netctl(
        "run", "--rm", "--network", "none", "busybox", "ping", "-c", "1", "-W", "1", "172.17.0.1", check=False
    ).returncode


def test_a_container_on_several_networks_and_networks_apart(installation):
    for name in ("front", "back"):
        installation.netctl("network", "create", name)
    installation.netctl("run", "-d", "--name", "db", "--network", "back", "busybox", "sleep", "1000")
    installation.netctl("run", "-d", "--name", "app", "--network", "front", "busybox", "sleep", "1000")
    address = installation.inspect("db")["NetworkSettings"]["Networks"]["back"]["IPAddress"]
    assert installation.netctl("exec", "app", "ping", "-c", "1", "-W", "1", address, check=False).returncode
    assert installation.netctl("exec", "app", "nslookup", "db", "127.0.0.11", check=False).returncode
    installation.netctl("network", "connect", "--alias", "api", "back", "app")
    installation.netctl("exec", "app", "ping", "-c", "1", "-W", "2", "db")
    installation.netctl("exec", "db", "ping", "-c", "1", "-W", "2", "api")
    installation.netctl("network", "disconnect", "back", "app")
    assert installation.netctl("exec", "app", "ping", "-c", "1", "-W", "1", address, check=False).returncode
    assert list(installation.inspect("app")["NetworkSettings"]["Networks"]) == ["front"]


def test_volumes_outlive_containers_and_the_container_layer_does_not(installation):
    installation.netctl("run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/f; echo gone > /f")
    done = installation.netctl(
        "run", "--rm", "-v", "data:/d:ro", "busybox", "sh", "-c", "cat /d/f; cat /f; touch /d/x", check=False
    )
    assert done.stdout == "kept\n" and "No such file" in done.stderr and "Read-only" in done.stderr
    assert (installation.state / "volumes/data/_data/f").read_text() == "kept\n"
    installation.netctl("volume", "rm", "data")
    assert not (installation.state / "volumes/data").exists()


def test_bind_mounts_share_a_directory_of_the_host(installation, tmp_path):
    (tmp_path / "f").write_text("from the host\n")
    assert (
        installation.netctl("run", "--rm", "-v", f"{tmp_path}:/x", "busybox", "cat", "/x/f").stdout == "from the host\n"
    )
    installation.netctl(
        "run", "--rm", "--mount", f"type=bind,source={tmp_path},target=/x", "busybox", "sh", "-c", "echo back > /x/g"
    )
    assert (tmp_path / "g").read_text() == "back\n"
    missing = installation.netctl(
        "run", "--rm", "--mount", f"type=bind,source={tmp_path}/no,target=/x", "busybox", "true", check=False
    )
    assert missing.returncode == 125 and f"{tmp_path}/no" in missing.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [(["sh", "-c", "exit 3"], 3), (["nosuch"], 127), (["/etc"], 126), (["sh", "-c", "kill -9 $$"], 137)],
)
def test_exit_codes_are_dockers(installation, command, code):
    done = installation.netctl("run", "--rm", "--init" if code == 137 else "--name=x", "busybox", *command, check=False)
    assert done.returncode == code, done.stderr


def test_limits_reach_the_control_groups(installation):
    installation.netctl(
        "run",
        "-d",
        "--name",
        "small",
        "--cpus",
        ".5",
        "--memory",
        "100m",
        "--pids-limit",
        "20",
        "busybox",
        "sleep",
        "1000",
    )
    config = installation.inspect("small")["HostConfig"]
    assert (config["NanoCpus"], config["Memory"], config["PidsLimit"]) == (500_000_000, 100 << 20, 20)
    pid = installation.inspect("small")["State"]["Pid"]
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())

    def limit(controller, file):
        return Path(f"/sys/fs/cgroup/{controller}{groups[controller]}/{file}").read_text().strip()

    if "memory" in groups:
        assert limit("memory", "memory.limit_in_bytes") == str(100 << 20)
        assert limit("cpu", "cpu.cfs_quota_us") == "50000"
        assert limit("pids", "pids.max") == "20"


def test_the_stock_docker_command_drives_it(installation):
    if subprocess.run(["sh", "-c", "command -v docker"], capture_output=True).returncode:
        pytest.skip("the stock docker command is not on this machine; the SDK is tested in tests/engine")

    def docker(*words, **kwargs):
        command = ["docker", "-H", f"unix://{installation.run}/docker.sock", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, **kwargs)

    docker("network", "create", "--subnet", "172.30.0.0/16", "n1")
    assert docker("run", "--rm", "--network", "n1", "busybox", "echo", "hi").stdout == "hi\n"
    assert docker("run", "-i", "--rm", "busybox", "cat", input="typed\n").stdout == "typed\n"
    assert (
        docker(
            "run",
            "-d",
            "--name",
            "s",
            "--network",
            "n1",
            "-p",
            "8081:80",
            "busybox",
            "httpd",
            "-f",
            "-p",
            "80",
            "-h",
            "/etc",
        ).returncode
        == 0
    )
    assert "0.0.0.0:8081->80/tcp" in docker("ps").stdout
    assert docker("exec", "s", "hostname").stdout.strip() == docker("ps", "-q").stdout.strip()
    assert json.loads(docker("inspect", "s").stdout)[0]["NetworkSettings"]["Networks"]["n1"]["IPAddress"].startswith(
        "172.30.0."
    )
    assert docker("exec", "s", "sh", "-c", "exit 4").returncode == 4
    assert "n1" in docker("network", "ls").stdout
    assert docker("volume", "create", "v1").stdout == "v1\n" and "v1" in docker("volume", "ls").stdout
    assert docker("rm", "-f", "s").returncode == 0 and docker("network", "rm", "n1").returncode == 0
    assert docker("volume", "rm", "v1").returncode == 0
