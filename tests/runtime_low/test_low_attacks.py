"""Attacks known from other runtimes, each run in a real container."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from low_box import Box, needs_host_root, read_until

from runtime.kernel import linux
from runtime.shim_client.shim_pool import sealed_interpreter
from runtime.spec import ExitStatus, MountSpec, StartError


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def test_the_interpreter_in_memory_cannot_be_changed() -> None:
    copy = sealed_interpreter()
    assert digest(f"/proc/self/fd/{copy}") == digest("/proc/self/exe")
    with pytest.raises(PermissionError):
        os.write(copy, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(copy, 0)
    with pytest.raises(PermissionError):
        os.write(os.open(f"/proc/self/fd/{copy}", os.O_WRONLY), b"x")
    os.close(copy)


def test_what_enters_a_container_runs_from_that_copy_and_survives_attempts_to_write_it(box: Box) -> None:
    """CVE-2019-5736: every process that shows up is opened for writing, while execs come in."""
    before = digest("/proc/self/exe")
    script = (
        "echo up; while :; do for p in /proc/[0-9]*; do (echo evil > $p/exe) 2>/dev/null && echo wrote $p; done; done"
    )
    spec = box.spec("sh", "-c", script)

    async def scenario() -> tuple[list[int], str]:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=False)
        await box.launcher.release(running)
        await read_until(attachment, b"up\n")
        codes = []
        for _ in range(20):
            made = await box.launcher.exec(spec.id, running.pid, box.process("/proc/self/exe"), secrets.token_hex(32))
            try:
                await box.launcher.release(made)
            except StartError as refused:
                codes.append(refused.code)
                continue
            codes.append((await made.wait()).code)
        return codes, os.readlink(f"/proc/{zygote()}/exe")

    _codes, executable = box.run(scenario())
    assert executable.startswith("/memfd:netd")
    assert digest("/proc/self/exe") == before
    assert digest(f"/proc/{zygote()}/exe") == before


def zygote() -> int:
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return next(int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "netd-zygote\n")


def test_no_descriptor_of_the_host_can_be_the_working_directory(tmp_path: Path, image: Path, netns: str) -> None:
    """CVE-2024-21626, with descriptors of the host's root open in the daemon and meant to be inherited."""
    leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(5)]
    for descriptor in leaked:
        os.set_inheritable(descriptor, True)
    links = tmp_path / "links"
    links.mkdir()
    box = Box(tmp_path, image, netns)
    try:
        target = box.spec("sleep", "1000")
        pid = box.start(target).pid
        for number in range(3, 20):
            (links / f"x{number}").symlink_to(f"/proc/self/fd/{number}")
            for path in (f"/proc/self/fd/{number}", f"/proc/1/fd/{number}", f"/x{number}"):
                spec = box.spec("sh", "-c", "ls", process={"cwd": path}, lower=(str(links), str(image)))
                assert_inside(lambda spec=spec: box.complete(spec))
            process = box.process("sh", "-c", "ls", cwd=f"/proc/self/fd/{number}")
            assert_inside(lambda process=process: box.exec(target, pid, process))
    finally:
        box.close()
        for descriptor in leaked:
            os.close(descriptor)


def assert_inside(attempt: object) -> None:
    try:
        _code, out, _err = attempt()  # type: ignore[operator]
    except StartError:
        return
    assert "boot" not in out.split()
    assert "lost+found" not in out.split()


def test_no_link_in_proc_leads_out_of_the_container_during_execs(box: Box) -> None:
    """CVE-2016-9962: entering processes are watched for directories and files of the host."""
    script = (
        "echo up; while :; do for p in /proc/[0-9]*; do readlink $p/cwd $p/root $p/exe $p/fd/*; done 2>/dev/null; done"
    )
    spec = box.spec("sh", "-c", script)

    async def scenario() -> bytes:
        running = await box.launcher.prepare(spec)
        attachment = await running.attach(stdin=False)
        await box.launcher.release(running)
        await read_until(attachment, b"up\n")
        seen = bytearray()
        reading = asyncio.ensure_future(gather(attachment, seen))
        for _ in range(20):
            made = await box.launcher.exec(spec.id, running.pid, box.process("true"), secrets.token_hex(32))
            await box.launcher.release(made)
            await made.wait()
        await box.launcher.kill_all(spec.id)
        await reading
        return bytes(seen)

    links = set(box.run(scenario()).decode().split("\n"))
    allowed = re.compile(
        r"|/|/bin/busybox|/dev/null|(pipe|socket):\[\d+\]|/proc|/proc/\d+/\S*|/[0-9a-f]{64}/std(in|out|err)"
    )
    assert {link for link in links if not allowed.fullmatch(link)} == set()


async def gather(attachment: object, into: bytearray) -> None:
    async for _stream, data in attachment:  # type: ignore[attr-defined]
        into += data


@pytest.mark.parametrize(
    "target", ["/proc", "/proc/self/attr", "/proc/sys", "/proc/sys/kernel", "/sys", "/sys/kernel", "/link/sys"]
)
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_nothing_covers_what_protects_the_host(box: Box, tmp_path: Path, target: str, kind: str) -> None:
    """CVE-2019-16884, CVE-2019-19921: volumes over /proc and /sys, also through a link."""
    image, source = tmp_path / "image", tmp_path / "volume"
    image.mkdir()
    source.mkdir()
    (image / "link").symlink_to("/proc")
    mount = MountSpec(kind=kind, target=target, source=str(source) if kind == "bind" else "")  # type: ignore[arg-type]
    with pytest.raises(StartError, match="cannot mount"):
        box.start(box.spec("true", mounts=(mount,), lower=(str(image), str(box.image))))


@needs_host_root
def test_a_volume_may_show_the_hosts_own_sys_and_single_files_of_proc(box: Box, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("1.00 1.00\n")
    mounts = (
        MountSpec(kind="bind", target="/sys", source="/sys", read_only=True),
        MountSpec(kind="bind", target="/proc/uptime", source=str(tmp_path / "uptime")),
    )
    assert box.shell("cat /proc/uptime; ls /sys/kernel | head -1", mounts=mounts).startswith("1.00 1.00\n")


def test_directories_swapped_for_links_while_we_mount_lead_nowhere(box: Box, tmp_path: Path) -> None:
    """CVE-2021-30465: a thread exchanges a directory of a shared volume and a link to a place outside."""
    volume, other, outside = tmp_path / "volume", tmp_path / "other", tmp_path / "outside"
    for folder in (volume / "dir", other, outside):
        folder.mkdir(parents=True)
    (other / "marker").write_text("other")
    (volume / "link").symlink_to("../../../../../../../../../.." + str(outside))
    directory = os.open(volume, os.O_RDONLY)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            linux._syscall("renameat2", 316, directory, b"dir", directory, b"link", 2)

    thread = threading.Thread(target=swap)
    thread.start()
    mounts = (
        MountSpec(kind="bind", target="/data", source=str(volume)),
        MountSpec(kind="bind", target="/data/dir/mp", source=str(other)),
    )
    mounted = 0
    try:
        for _ in range(40):
            try:
                _code, out, _err = box.complete(box.spec("cat", "/proc/self/mountinfo", mounts=mounts))
            except StartError:
                continue
            mounted += 1
            assert all(line.split()[4].startswith("/") for line in out.splitlines())
    finally:
        stop.set()
        thread.join()
        os.close(directory)
    assert mounted
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("up", ["", "../../../../../../../.."])
def test_images_whose_system_directories_are_links_change_nothing_outside(box: Box, tmp_path: Path, up: str) -> None:
    """CVE-2026-41579: /dev, /proc, /sys and /etc of the image point at the host."""
    outside, image = tmp_path / "outside", tmp_path / "image"
    outside.mkdir()
    image.mkdir()
    for name in ("dev", "proc", "sys", "etc"):
        (image / name).symlink_to(up + str(outside))
    subprocess.run(["cp", "-a", box.image / "bin", image / "bin"], check=True)
    hosts = tmp_path / "hosts"
    hosts.write_text("hosts\n")
    spec = box.spec(
        "sh",
        "-c",
        "cat /etc/hosts; ls -d /dev/null /proc/self/fd /sys/class",
        lower=(str(image),),
        mounts=(MountSpec(kind="bind", target="/etc/hosts", source=str(hosts)),),
    )
    code, out, _err = box.complete(spec)
    assert (code, out.split()) == (0, ["hosts", "/dev/null", "/proc/self/fd", "/sys/class"])
    assert list(outside.iterdir()) == []


def test_modules_and_libraries_of_the_image_are_never_loaded(box: Box, tmp_path: Path) -> None:
    """CVE-2019-14271: the image shadows every module of the standard library where the host has it."""
    image = tmp_path / "image"
    shadows = {Path(entry) for entry in sys.path if entry and Path(entry).is_dir()} | {Path(os.__file__).parent}
    evil = "import posix\nposix.close(posix.open('/marker', 0o101))\n"
    for folder in shadows:
        inside = image / str(folder).lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        for name in sys.stdlib_module_names:
            (inside / f"{name}.py").write_text(evil)
        for package in ("encodings", "runtime"):
            (inside / package).mkdir(exist_ok=True)
            (inside / package / "__init__.py").write_text(evil)
    lower = (str(image), str(box.image))
    spec = box.spec("sleep", "1000", lower=lower, process={"user": "al", "cwd": "/new"})
    running = box.start(spec)
    box.exec(spec, running.pid, box.process("true", user="al"))
    for broken in (box.process("nothing"), box.process("true", user="ghost"), box.process("true", cwd="/none")):
        with pytest.raises(StartError):
            box.exec(spec, running.pid, broken)
    with pytest.raises(StartError):
        box.start(box.spec("nothing", lower=lower))
    assert not [path for path in box.folder.glob("containers/*/diff/marker")]


def test_nothing_can_be_imported_once_the_zygote_is_up() -> None:
    script = "from runtime.shim import zygote; zygote._forbid_imports(); import antigravity"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "ModuleNotFoundError" in done.stderr


def test_the_shadowing_image_would_catch_a_python_that_imports() -> None:
    """The control of the test above: an ordinary interpreter does look for modules below the root it is in."""
    script = "import os, sys; os.chroot(sys.argv[1]); sys.path[:] = ['/lib']; import antigravity_of_the_image"
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"shadow-{secrets.token_hex(4)}"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib/antigravity_of_the_image.py").write_text("open('/marker', 'w').close()")
    subprocess.run([sys.executable, "-c", script, folder], check=True)
    assert (folder / "marker").exists()
    subprocess.run(["rm", "-r", folder], check=True)


def test_no_socket_of_ours_is_in_the_hosts_network_for_containers_to_find(box: Box) -> None:
    """CVE-2020-15257: abstract sockets belong to a network namespace, and a container may share the host's."""
    before = set(box.shell("grep -o '@.*' /proc/net/unix; true", netns=None).split())
    assert not [name for name in before if "netd" in name or "shim" in name]
    assert (box.folder / "run/shims").stat().st_mode & 0o777 == 0o700


def test_terminals_come_from_the_containers_own_devpts(box: Box, tmp_path: Path) -> None:
    """CVE-2025-52565: a volume on /dev/pts cannot stand in for the terminals of an exec."""
    fake = tmp_path / "pts"
    fake.mkdir()
    for name in ("0", "ptmx"):
        (fake / name).symlink_to("/proc/sysrq-trigger")
    spec = box.spec("sleep", "1000", mounts=(MountSpec(kind="bind", target="/dev/pts", source=str(fake)),))
    pid = box.start(spec).pid
    with pytest.raises(StartError, match="no terminals"):
        box.exec(spec, pid, box.process("true", tty=True))

    async def scenario() -> ExitStatus:
        terminal = box.spec("tty", process={"tty": True}, mounts=spec.mounts)
        running = await box.launcher.prepare(terminal)
        await box.launcher.release(running)
        return await running.wait()

    assert box.run(scenario()).code in (0, 1)


def test_a_volume_over_dev_cannot_redirect_what_masks_use(box: Box, tmp_path: Path) -> None:
    """CVE-2025-31133: /dev/null of a volume points at a file of the host."""
    victim, fake = tmp_path / "victim", tmp_path / "dev"
    victim.write_text("safe")
    fake.mkdir()
    (fake / "null").symlink_to(victim)
    out = box.shell(
        "wc -c < /proc/keys; echo x > /proc/keys; cat /proc/keys",
        mounts=(MountSpec(kind="bind", target="/dev", source=str(fake)),),
    )
    assert out == "0\n"
    assert victim.read_text() == "safe"
