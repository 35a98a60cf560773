"""Container escapes: descriptors, paths and processes of the host within reach of a container's processes."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from runtime.kernel import capabilities, seccomp
from runtime.shim_client import shim_pool
from runtime.shim_client.running import ShimProcess
from runtime.spec import ContainerSpec, StartError
from tests.installation import IMAGE
from tests.runtime_low.low_box import Box, make_image, needs_host_root

ALL_CAPABILITIES = capabilities.DEFAULT | capabilities.BIT["SYS_PTRACE"]
STREAMS = r"/[0-9a-f]{64}/std(in|out|err)"
"""Link targets of pipes in /proc/PID/fd, which name no path of the host."""
LINKS = "ls -ld /proc/[0-9]*/fd/* /proc/[0-9]*/cwd /proc/[0-9]*/root | sed -n 's/.* -> //p'"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_image(tmp_path_factory.mktemp("image") / "root")


@pytest.fixture
def box(tmp_path: Path, image: Path) -> Iterator[Box]:
    made = Box(tmp_path, image, "/proc/self/ns/net")
    yield made
    made.close()


def prepared_exec(box: Box, spec: ContainerSpec, running: ShimProcess, **changes: Any) -> ShimProcess:
    """Return an exec in the container's namespaces that has not started its program."""
    process = box.process("true", **changes)
    made: ShimProcess = box.run(box.launcher.exec(spec.id, running.pid, process, secrets.token_hex(32)))
    return made


def descriptors(pid: int) -> dict[int, str]:
    return {int(name): os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}


def assert_harmless(found: dict[int, str], *, terminal: bool = False) -> None:
    streams = r"/dev/pts/(\d+|ptmx)" if terminal else f"{STREAMS}|/dev/null"
    assert all(re.fullmatch(streams, found[number]) for number in (0, 1, 2)), found
    others = {number: link for number, link in found.items() if number > 2}
    kinds = sorted(re.sub(r"\d+|" + STREAMS, "", link) for link in others.values())
    assert [kind for kind in kinds if kind.startswith("socket:")] == ["socket:[]"], "the channel to the host's side"
    assert all(re.fullmatch(rf"socket:\[\d+\]|{streams}", link) for link in others.values()), others


@pytest.mark.parametrize("terminal", [False, True])
def test_the_first_process_in_a_user_namespace_holds_its_streams_and_one_socket(box: Box, terminal: bool) -> None:
    first = box.run(box.launcher.prepare(box.mapped_spec("sleep", "1000", process={"tty": terminal})))
    assert_harmless(descriptors(first.pid), terminal=terminal)
    box.run(box.launcher.release(first))
    assert sorted(descriptors(first.pid)) == [0, 1, 2]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("stdin", [False, True])
def test_processes_before_their_program_hold_their_streams_and_one_socket(
    box: Box, terminal: bool, stdin: bool
) -> None:
    options = {"tty": terminal, "stdin": stdin}
    spec = box.spec("sleep", "1000", process=options)
    first = box.run(box.launcher.prepare(spec))
    assert_harmless(descriptors(first.pid), terminal=terminal)
    box.run(box.launcher.release(first))
    assert sorted(descriptors(first.pid)) == [0, 1, 2]
    assert not any("/run/" in link for link in descriptors(first.pid).values())
    further = prepared_exec(box, spec, first, **options)
    assert_harmless(descriptors(further.pid), terminal=terminal)
    assert b"netd-init\0" in Path(f"/proc/{further.pid}/cmdline").read_bytes()
    box.run(box.launcher.release(further))


def test_spares_hold_nothing_of_the_daemon(box: Box) -> None:
    assert box.shell("echo 1") == "1\n"
    box.run(box.launcher._pool.wait_filled())
    groups = Path("/sys/fs/cgroup").glob("*/netd/spare-*/cgroup.procs")
    pids = {int(line) for group in groups for line in group.read_text().split()}
    mine = {pid for pid in pids if box.launcher._pool._pid in ancestors(pid)}
    assert mine
    for pid in mine:
        kinds = sorted(re.sub(r"\d+", "", link) for link in descriptors(pid).values())
        assert kinds == ["anon_inode:[eventfd]"] * 3 + ["socket:[]"]
        assert Path(f"/proc/{pid}/cmdline").read_bytes().strip(b"\0") == b"netd-init"


def ancestors(pid: int) -> set[int]:
    """Return the session leaders and parents above a process; a zygote's shims have it as parent."""
    found: set[int] = set()
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.add(pid)
    return found


@needs_host_root
def test_a_container_that_may_trace_sees_no_descriptor_of_the_host_in_what_enters_it(box: Box) -> None:
    """With SYS_PTRACE, a container can open /proc/PID/fd at every moment of an exec (CVE-2016-9962)."""
    script = f"echo up; while :; do {LINKS}; done 2>/dev/null"
    powers = {"capabilities": ALL_CAPABILITIES, "seccomp": seccomp.default_program(ALL_CAPABILITIES)}
    spec = box.spec("sh", "-c", script, process=powers)
    running = box.start(spec)
    log = Path(spec.log_path)
    box.until(lambda: b"up" in log.read_bytes())
    for _ in range(8):
        made = prepared_exec(box, spec, running, **powers)
        size = log.stat().st_size
        box.until(lambda size=size: log.stat().st_size > size + 4096)  # type: ignore[misc]
        box.run(box.launcher.release(made))
        box.run(made.wait())
    box.run(box.launcher.kill_all(spec.id))
    links = set(re.findall(r'"log":"(.*?)\\n"', log.read_text()))
    assert any(link.startswith("socket:") for link in links), "the attacker observed no exec"
    own = f"{STREAMS}|/|/dev/null|/proc|/etc/(passwd|group)"
    allowed = re.compile(rf"{own}|(pipe|socket):\[\d+\]|anon_inode:\[eventfd\]|up")
    assert {link for link in links if not allowed.fullmatch(link)} == set()


@needs_host_root
def test_the_first_process_of_a_container_with_init_names_nothing_of_the_host(box: Box) -> None:
    script = "tr '\\0' ' ' < /proc/1/cmdline; echo; cat /proc/1/comm"
    out = box.shell(script, init=True)
    assert re.fullmatch(r"/sbin/docker-init -- sh -c .*\ninit\n", out), out
    powers = {"capabilities": ALL_CAPABILITIES, "seccomp": seccomp.default_program(ALL_CAPABILITIES)}
    links = box.shell(f"{LINKS}; tr '\\0' '\\n' < /proc/1/environ", init=True, process=powers).split()
    assert len(links) > 10
    assert all(re.fullmatch(rf"{STREAMS}|/dev/null|/|/proc/\d+/fd|pipe:\[\d+\]", link) for link in links), links


def test_a_private_control_group_namespace_hides_the_hosts_tree(box: Box) -> None:
    groups = "cut -d: -f3 /proc/self/cgroup; grep -E ' - cgroup2? ' /proc/self/mountinfo | cut -d' ' -f4"
    spec = box.spec("sleep", "1000", cgroup_namespace="private")
    running = box.start(spec)
    code, out, _err = box.exec(spec, running.pid, box.process("sh", "-c", groups))
    assert code == 0
    assert set(out.split()) == {"/"}
    assert set(box.shell(groups, cgroup_namespace="private").split()) == {"/"}


def test_a_private_control_group_namespace_can_be_asked_for(output: Any) -> None:
    _code, text = output("cut", "-d:", "-f3", "/proc/self/cgroup", host={"CgroupnsMode": "private"})
    assert set(text.split()) == {"/"}


def test_another_containers_memory_is_shared_only_by_one_that_offers_it(raw: Any, make: Any, run: Any) -> None:
    for mode in ("private", ""):
        donor = run("sleep", "1000", host={"IpcMode": mode})
        with pytest.raises(docker.errors.APIError, match="non-shareable IPC"):
            make("true", host={"IpcMode": f"container:{donor}"})
    joining = make("true", host={"IpcMode": f"container:{run('sleep', '1000', host={'IpcMode': 'shareable'})}"})
    assert raw.ask("POST", f"/containers/{joining}/start")[0] == 204


PLANTED = """
import ctypes, sys
call = ctypes.CDLL(None).syscall
call(250, 1, sys.argv[1].encode())
ring = call(250, 0, -3, 1)
assert call(250, 5, ring, 0x3F080000) == 0
print(f"{ring:08x}", flush=True)
input()
"""
"""Join a session keyring of this name.  Processes of the same user find it, but read it only after joining."""


@contextlib.contextmanager
def planted(name: str) -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-c", PLANTED, name], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.write("\n")


def test_no_process_joins_a_keyring_that_another_has_laid_out_for_it(box: Box) -> None:
    """keyctl joins an existing keyring by name; a container without a seccomp filter can create any."""
    spec = box.spec("sleep", "1000", privileged=True)
    running = box.start(spec)
    with planted("_ses") as ring:
        code, keys, _err = box.exec(spec, running.pid, box.process("cat", "/proc/keys"))
        assert (code, ring in keys) == (0, False)
        assert "keyring" in keys
    spec = box.spec("cat", "/proc/keys", privileged=True)
    with planted(f"_ses.{spec.id}") as ring:
        code, keys, _err = box.complete(spec)
        assert (code, ring in keys) == (0, False)


@needs_host_root
def test_the_interpreter_of_what_enters_a_container_cannot_be_spoiled(box: Box) -> None:
    """All containers share the interpreter's page cache; a container with SYS_PTRACE could remove its execute bit."""
    powers = {"capabilities": ALL_CAPABILITIES, "seccomp": seccomp.default_program(ALL_CAPABILITIES)}
    spec = box.spec("sleep", "1000", process=powers)
    running = box.start(spec)
    further = prepared_exec(box, spec, running, **powers)
    executable = f"/proc/{further.pid}/exe"
    before = os.stat(executable)
    assert os.readlink(executable).startswith("/memfd:netd")
    script = (
        "for p in /proc/[0-9]*; do case $(readlink $p/exe) in /memfd:*) echo found; chmod 0 $p/exe;"
        " chmod 4755 $p/exe; echo > $p/exe; truncate -s 0 $p/exe; esac; done 2>/dev/null"
    )
    code, out, _err = box.exec(spec, running.pid, box.process("sh", "-c", script, **powers))
    assert (code, out.split()[:1]) == (0, ["found"])
    after = os.stat(executable)
    assert (after.st_mode, after.st_size) == (before.st_mode, before.st_size)
    box.restart()
    assert box.shell("echo on") == "on\n"


def test_sysctls_reach_nothing_beside_the_containers_own(raw: Any) -> None:
    """CVE-2025-52881, CVE-2022-0811: names that are paths, and values that add a second sysctl."""
    kernel = Path("/proc/sys/kernel")
    before = (kernel / "core_pattern").read_text(), (kernel / "panic").read_text()
    for name, value in (
        ("kernel.core_pattern", "|/evil"), ("net.x/../../kernel/panic", "9"), ("net/../kernel/panic", "9"),
        ("net...kernel.panic", "9"), ("kernel.shm_rmid_forced", "1\n+kernel.core_pattern=|/evil"),
        ("kernel/panic", "9"), ("kernel.shm_rmid_forced+kernel.panic", "1"), ("", "1"), ("net", "1"), (".", "1"),
    ):  # fmt: skip
        body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"Sysctls": {name: value}}}
        status, _headers, answer = raw.ask("POST", "/containers/create", body)
        if status == 201:
            status, _headers, answer = raw.ask("POST", f"/containers/{answer['Id']}/start")
        assert status in (400, 500), (name, answer)
        assert "message" in answer
    assert before == ((kernel / "core_pattern").read_text(), (kernel / "panic").read_text())


STOPPER = (
    "echo up; while :; do for x in /proc/[0-9]*; do [ $x = /proc/1 ] || kill -STOP ${x#/proc/}; done; done 2>/dev/null"
)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_container_cannot_hold_up_execs_by_stopping_them(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container sees an exec before its program runs; a health check must still get a result."""
    hurried = shim_pool._ZYGOTE_SCRIPT.replace(
        "main()", "from runtime.shim import spawn; spawn.ExecSpawn.timeout = 100; main()"
    )
    monkeypatch.setattr(shim_pool, "_ZYGOTE_SCRIPT", hurried)
    box = Box(tmp_path, image, "/proc/self/ns/net")
    try:
        spec = box.spec("sh", "-c", STOPPER)
        running = box.start(spec)
        box.until(lambda: b"up" in Path(spec.log_path).read_bytes())
        for _ in range(3):
            with pytest.raises(StartError, match="did not become ready in time"):
                # In either step; at the latest the process is stopped while it waits for its release.
                made = prepared_exec(box, spec, running)
                box.until(lambda made=made: is_stopped(made.pid))  # type: ignore[misc]
                box.run(box.launcher.release(made))
        box.until(lambda: box.launcher.pids(spec.id) == [running.pid])
    finally:
        box.close()


HARMLESS = {
    "proc": "mkdir -p /m && mount -t proc proc /m",
    "tmpfs": "mount -t tmpfs none /mnt",
    "namespace": "unshare -m true",
    "user namespace": "unshare -U true",
    "keys": "grep -q . /proc/keys",
    "host name": "hostname evil",
}
"""A privileged container runs them too, to show that they succeed without restrictions."""
ATTEMPTS = {
    **HARMLESS,
    # Opened for writing but not written, so that a failing test does not damage the machine.
    "core_pattern": ": > /proc/sys/kernel/core_pattern",
    "sysrq": ": > /proc/sysrq-trigger",
    "caches": ": > /proc/sys/vm/drop_caches",
    "irq": ": > /proc/irq/default_smp_affinity",
    "uevent": ": > /sys/kernel/uevent_helper",
    "devices": ": > /sys/fs/cgroup/devices/devices.allow",
    "cgroup": "mount -t cgroup -o memory none /m",
    "remount": "mount -o remount,rw /sys",
    "unmask": "umount /proc/keys",
    "kernel's memory": "mknod /mem c 1 1 && head -c 1 /mem | grep -q .",
    "block device": "mknod /b b $(awk 'NR > 2 {print $1, $2; exit}' /proc/partitions) && head -c 1 /b | grep -q .",
    "kcore": "head -c 1 /proc/kcore | grep -q .",
    "log": "dmesg | grep -q .",
    "release agent": "find /sys/fs/cgroup -name release_agent | grep -q .",
    "own group": "mkdir /sys/fs/cgroup/pids/evil",
    "root of the first": "[ $(stat -c %d:%i /proc/1/root/..) != $(stat -c %d:%i /) ]",
    "inheritable capability": "grep -q 'CapInh:.*[1-9a-f]' /proc/self/status",
}


def script_of(attempts: dict[str, str]) -> str:
    """Return a script that prints the names of successful attempts."""
    return "\n".join(f'({attempt}) >/dev/null 2>&1 && echo "{name}"' for name, attempt in attempts.items()) + "\ntrue"


def test_known_escapes_fail(box: Box) -> None:
    """CVE-2022-0492, CVE-2022-24769 and other accesses to the host, by the container's root and in an exec."""
    script = script_of(ATTEMPTS)
    assert box.shell(script) == ""
    spec = box.spec("sleep", "1000")
    running = box.start(spec)
    assert box.exec(spec, running.pid, box.process("sh", "-c", script))[:2] == (0, "")
    powers = {"capabilities": capabilities.resolve(privileged=True), "seccomp": b""}
    out = box.shell(script_of(HARMLESS), privileged=True, process=powers)
    assert {"proc", "namespace", "keys", "host name"} <= set(out.splitlines())


def test_links_of_an_image_in_dev_do_not_redirect_the_console(box: Box, tmp_path: Path) -> None:
    """CVE-2025-52565: /dev/console and /dev/pts of the image point at files that the container may not write."""
    victim, image = tmp_path / "victim", tmp_path / "layer"
    victim.write_text("safe")
    (image / "dev/pts").mkdir(parents=True)
    for name in ("console", "null", "ptmx", "pts/0", "pts/ptmx", "tty"):
        (image / "dev" / name).symlink_to(victim)
    lower = (str(image), str(box.image))
    script = "stat -c %F /dev/console /dev/null /dev/pts/ptmx; tty; echo x > /dev/console"
    spec = box.spec("sh", "-c", script, lower=lower, process={"tty": True})
    code, out, _err = box.complete(spec)
    assert (code, out.split("\r\n")[:4]) == (0, [*["character special file"] * 3, "/dev/pts/0"])
    assert victim.read_text() == "safe"
