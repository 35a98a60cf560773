"""Completion: candidates of ``__complete``, and their use by shells."""

import shutil
import subprocess
import sys

import pytest
from cli_terminal import Typist
from recorded import IMAGES, NETWORKS, listed

from netd.cli.output.completion_scripts import SCRIPTS


@pytest.fixture
def daemon(peer):
    containers = [listed("web"), listed("old", State="exited")]
    peer.on("GET", "/networks", NETWORKS)
    peer.on("GET", "/containers/json", containers)
    peer.on("GET", "/images/json", IMAGES)
    peer.on("GET", "/info", {"Plugins": {"Network": ["bridge", "host", "macvlan", "null"], "Volume": ["local"]}})
    ports = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
        "99/tcp": None,
    }
    peer.on("GET", "/containers/web/json", {"NetworkSettings": {"Ports": ports}})
    peer.on("GET", "/volumes", {"Volumes": [{"Name": "data"}]})
    return peer


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["netw"], ["network"]),
        (["network", "c"], ["create", "connect"]),
        (["container", "st"], ["start", "stop", "stats"]),
        (["network", "rm", ""], ["none", "host", "bridge"]),
        (["network", "rm", "bridge", "h"], ["host"]),
        (["network", "connect", "bridge", ""], ["web", "old"]),
        (["network", "connect", "bridge", "web", ""], []),
        (["run", "--network", "b"], ["bridge"]),
        (["run", "--network=b"], ["--network=bridge"]),
        (["run", "--net"], ["--network", "--network-alias"]),
        (["run", "-it", "--rm", "b"], ["busybox"]),
        (["run", "-p", "80:80", ""], ["busybox", "localhost:5000/x/bb:t"]),
        (["run", "busybox", "--net"], [":file"]),
        (["run", "-v", "d"], ["data"]),
        (["run", "-v", "./"], [":file"]),
        (["run", "--name", ""], []),
        (["stop", ""], ["web"]),
        (["start", ""], ["old"]),
        (["inspect", ""], ["web", "old", "busybox", "localhost:5000/x/bb:t", "none", "host", "bridge", "data"]),
        (["ps", "--format", ""], ["json", "table"]),
        (["--run-dir", ""], [":dir"]),
        (["image", "import", ""], [":file"]),
        (["completion", "z"], ["zsh"]),
        (["ps", "--filter", "st"], ["status="]),
        (["ps", "-f", "status=re"], ["status=restarting", "status=removing"]),
        (["ps", "--filter=network=b"], ["--filter=network=bridge"]),
        (["network", "ls", "-f", "driver=m"], ["driver=macvlan"]),
        (["network", "create", "-d", "b"], ["bridge"]),
        (["port", "rm", "web", ""], ["127.0.0.1:53:53/udp", "8080:80"]),
        (["port", "rm", "web", "8080:80", ""], ["127.0.0.1:53:53/udp"]),
        (["zork", ""], []),
        (["--r"], ["--run-dir"]),
    ],
)
def test_candidates_are_what_may_come_next(daemon, netctl, words, found):
    said = netctl("__complete", *words)
    assert [line.partition("\t")[0] for line in said.out.splitlines()] == found and said.err == ""


def test_verbs_flags_and_services_of_compose(netctl, tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("services: {web: {image: x}, worker: {image: x, profiles: [p]}, db: {image: x}}")

    def offered(*words):
        return [line.partition("\t")[0] for line in netctl("__complete", "compose", *words).out.split("\n") if line]

    assert offered("st") == ["start", "stop", "stats"]
    assert offered("-f", "") == [":file"] and offered("--pro") == [
        "--project-name",
        "--profile",
        "--project-directory",
        "--progress",
    ]
    assert offered("-f", str(file), "up", "w") == ["web", "worker"]
    assert offered("-f", str(file), "up", "--exit-code-from", "d") == ["db"]
    assert offered("-f", str(file), "run", "web", "") == [":file"]
    file.write_text("services: [")
    assert offered("-f", str(file), "logs", "") == []


def test_no_daemon_is_no_reason_to_complain(netctl):
    said = netctl("__complete", "network", "rm", "")
    assert (said.code, said.out, said.err) == (1, "", "")


def test_the_run_directory_on_the_line_is_followed(daemon, netctl, monkeypatch):
    monkeypatch.setenv("NETD_RUN_DIR", "/nonexistent")
    assert netctl("__complete", "--run-dir", str(daemon.path.parent), "stop", "").out == "web\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_printed(netctl, shell):
    assert netctl("completion", shell).out.strip() == SCRIPTS[shell].strip()


def test_an_unknown_shell_is_refused(netctl):
    said = netctl("completion", "ksh")
    assert said.code == 1 and "unsupported shell 'ksh': use bash, zsh, fish" in said.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_sound(netctl, shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(netctl("completion", shell).out)
    assert subprocess.run([shell, "-n", str(script)], capture_output=True).stderr == b""


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (b"netctl network rm bri", b"network rm bridge "),
        (b"netctl run --network=bri", b"--network=bridge "),
        (b"netctl run localhost:5", b"run localhost:5000/x/bb:t "),
        (b"netctl image import HERE/arch", b"/archive.tar "),
        (b"netctl ps -f stat", b"ps -f status="),
        (b"netctl ps -f status=runn", b"status=running "),
    ],
)
def test_bash_completes_a_line(daemon, tmp_path, typed, line):
    """In an interactive bash, because of bash's own word splitting."""
    (tmp_path / "archive.tar").touch()
    bin = tmp_path / "bin"
    bin.mkdir()
    (bin / "netctl").write_text(f'#!/bin/sh\nexec {sys.executable} -m netd.cli.main "$@"\n')
    (bin / "netctl").chmod(0o755)
    rc = tmp_path / "rc"
    rc.write_text(
        f"PATH={bin}:$PATH\nPS1='> '\nbind 'set enable-bracketed-paste off'\nsource <(netctl completion bash)\n"
    )
    at = Typist(["bash", "--noprofile", "--rcfile", str(rc), "-i"], 24, 200)
    try:
        at.read_until(b"> ")
        at.type(typed.replace(b"HERE", bytes(tmp_path)) + b"\t")
        at.read_until(line)
    finally:
        at.close()
