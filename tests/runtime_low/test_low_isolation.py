"""The environment of a container's process: privileges, mounts, devices, identity."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from low_box import Box, needs_host_root

from runtime.init import mounts
from runtime.kernel import capabilities
from runtime.spec import Device, Limits, MountSpec, StartError

STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp|SigIgn|SigBlk|Groups|Uid|Gid)' /proc/self/status"


def status_of(text: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_root_holds_the_default_capabilities_under_a_filter(box: Box) -> None:
    found = status_of(box.complete(box.spec("cat", "/proc/self/status"))[1])
    assert {found[n] for n in ("CapPrm", "CapEff", "CapBnd")} == {"00000000a80425fb"}
    assert {found[n] for n in ("CapInh", "CapAmb")} == {"0000000000000000"}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("0", "2")
    assert found["SigIgn"] == found["SigBlk"] == "0000000000000000"


def test_another_user_holds_none_and_may_gain_none_with_no_new_privileges(box: Box) -> None:
    process = {"user": "al", "no_new_privileges": True}
    found = status_of(box.shell(STATUS, process=process))
    assert {found[n] for n in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0000000000000000"}
    assert found["CapBnd"] == "00000000a80425fb"
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    assert found["Groups"].split() == ["1000", "2000"]


def test_dropped_capabilities_are_gone_from_all_sets(box: Box) -> None:
    mask = capabilities.resolve(["chown"], ["ALL"])
    found = status_of(box.shell(STATUS, process={"capabilities": mask, "seccomp": b""}))
    assert {found[n] for n in ("CapPrm", "CapEff", "CapBnd")} == {"0000000000000001"}
    assert found["Seccomp"] == "0"


def test_the_first_process_has_three_descriptors_and_is_number_one(box: Box) -> None:
    out = box.shell("echo $$; ls /proc/1/fd; cat /proc/1/oom_score_adj; umask; pwd")
    assert out.split() == ["1", "0", "1", "2", "0", "0022", "/"]


def test_mounts_have_the_flags_that_keep_the_host_safe(box: Box) -> None:
    lines = box.shell("cat /proc/self/mountinfo").splitlines()
    found = {line.split()[4]: (line.split()[5].split(","), line.split(" - ")[1].split()[0]) for line in lines}
    assert found["/"][1] == "overlay"
    assert found["/proc"] == (["rw", "nosuid", "nodev", "noexec", "relatime"], "proc")
    assert found["/sys"] == (["ro", "nosuid", "nodev", "noexec", "relatime"], "sysfs")
    assert found["/dev"] == (["rw", "nosuid"], "tmpfs")
    assert found["/dev/pts"][0] == ["rw", "nosuid", "noexec", "relatime"]
    for place in ("/dev/shm", "/dev/mqueue"):
        assert found[place][0] == ["rw", "nosuid", "nodev", "noexec", "relatime"]
    for place in ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"):
        assert "ro" in found[place][0]
    assert "ro" in found["/sys/fs/cgroup"][0]
    assert "ro" in found["/sys/firmware"][0]
    assert not [line for line in lines if " shared:" in line or " master:" in line]


def test_what_tells_of_the_host_is_hidden(box: Box) -> None:
    out = box.shell("for f in keys timer_list interrupts; do wc -c < /proc/$f; done; ls /sys/firmware | wc -l")
    assert out.split() == ["0", "0", "0", "0"]
    code, _out, err = box.try_shell("echo x > /proc/sys/kernel/core_pattern")
    assert code != 0
    assert "Read-only" in err
    for path in ("/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/proc/sys/vm/drop_caches"):
        assert box.try_shell(f"echo 1 > {path}")[0] != 0


def test_devices_are_the_usual_ones_and_no_others_open(box: Box) -> None:
    names = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert box.shell("ls /dev | sort | xargs").split() == names.split()
    assert box.shell("ls -l /dev/null /dev/tty | awk '{print $1, $5, $6}'").split() == [
        "crw-rw-rw-", "1,", "3", "crw-rw-rw-", "5,", "0",
    ]  # fmt: skip
    code, _out, err = box.try_shell("mknod /tmp/b b 254 0 && echo made && cat /tmp/b")
    assert code != 0
    assert "not permitted" in err


@needs_host_root
def test_a_device_that_was_asked_for_opens_and_keeps_its_access(box: Box, tmp_path: Path) -> None:
    os.mknod(tmp_path / "loop", 0o600 | stat.S_IFBLK, os.makedev(7, 0))
    read = "dd if=/dev/some/loop of=/dev/null bs=512 count=1"
    device = Device(source=str(tmp_path / "loop"), target="/dev/some/loop", access="r")
    assert box.shell(f"ls -l /dev/some/loop | cut -c1-10; {read}", devices=(device,)) == "brw-rw-rw-\n"
    code, _out, err = box.try_shell("true >> /dev/some/loop", devices=(device,))
    assert code != 0
    assert "not permitted" in err
    none = Device(source=str(tmp_path / "loop"), target="/dev/some/loop", access="m")
    assert box.try_shell(read, devices=(none,))[0] != 0
    limits = Limits(device_rules=("b 7:0 rm",))
    assert box.try_shell("mknod /tmp/d b 7 0; dd if=/tmp/d of=/dev/null bs=512 count=1", limits=limits)[0] == 0


def test_a_device_that_does_not_exist_is_refused(box: Box) -> None:
    with pytest.raises(StartError, match="/dev/nothing"):
        box.start(box.spec("true", devices=(Device(source="/dev/nothing", target="/dev/nothing"),)))


def test_host_and_domain_names_are_the_containers_own(box: Box) -> None:
    host = os.uname().nodename
    assert box.shell("hostname; cat /proc/sys/kernel/domainname", hostname="a.b.c", domainname="d").split() == [
        "a.b.c",
        "d",
    ]
    assert os.uname().nodename == host


def test_networks_are_those_of_the_namespace(box: Box) -> None:
    assert box.shell("ls /sys/class/net; ip -o link | wc -l").split() == ["lo", "1"]


def test_the_host_network_is_shared_when_no_namespace_is_named(box: Box) -> None:
    inode = os.stat("/proc/self/ns/net").st_ino
    assert f"net:[{inode}]" in box.shell("readlink /proc/self/ns/net", netns=None)


def test_namespaces_are_new(box: Box) -> None:
    kinds = ("mnt", "pid", "uts", "ipc", "time", "net")
    found = box.shell("cd /proc/self/ns; for n in mnt pid uts ipc time net; do readlink $n; done").split()
    assert not set(found) & {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def test_host_modes_share_namespaces(box: Box) -> None:
    out = box.shell(
        "cd /proc/self/ns; readlink pid; readlink ipc; readlink uts; test -e /proc/2 && echo many",
        pid_mode="host", ipc_mode="host", uts_mode="host",
    )  # fmt: skip
    assert out.split() == [*(os.readlink(f"/proc/self/ns/{n}") for n in ("pid", "ipc", "uts")), "many"]


def test_another_containers_processes_and_memory_can_be_joined(box: Box) -> None:
    first = box.spec("sh", "-c", "echo there > /dev/shm/word; exec sleep 1000")
    pid = box.start(first).pid
    box.shell("until test -e /proc/1/root; do :; done; echo", netns=box.netns)
    out = box.shell(
        "until cat /dev/shm/word; do :; done; cat /proc/1/comm",
        pid_mode=f"/proc/{pid}/ns/pid", ipc_mode=f"/proc/{pid}/ns/ipc",
    )  # fmt: skip
    assert out.split() == ["there", "sleep"]


def test_privileged_containers_have_everything(box: Box) -> None:
    every = capabilities.all_of_host()
    process = {"capabilities": every, "seccomp": b""}
    out = box.shell(
        f"{STATUS}; touch /proc/sys/kernel/hostname && echo writable; mkdir /mnt;"
        " mount -t tmpfs x /mnt && echo mounted; ls /dev/vda /dev/kmsg; wc -l < /proc/interrupts",
        process=process, privileged=True,
    )  # fmt: skip
    assert f"{every:016x}" in out
    assert "writable" in out
    assert "mounted" in out
    assert "/dev/kmsg" in out
    assert out.split()[-1] != "0"


def test_read_only_roots_keep_only_their_temporary_places_writable(box: Box, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    out = box.shell(
        "touch /x 2>/dev/null || echo root; echo y >> /etc/hosts 2>/dev/null || echo hosts;"
        " touch /dev/shm/x && echo shm; cat /etc/hosts",
        read_only=True, mounts=(MountSpec(kind="bind", target="/etc/hosts", source=str(hosts), read_only=True),),
    )  # fmt: skip
    assert out.split("\n")[:4] == ["root", "hosts", "shm", "127.0.0.1 localhost"]
    assert hosts.read_text() == "127.0.0.1 localhost\n"


def test_files_of_netd_are_shown_even_over_links_of_the_image(box: Box, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    (image / "etc/resolv.conf").symlink_to("../../../../" + str(outside))
    source = tmp_path / "resolv.conf"
    source.write_text("nameserver 127.0.0.11\n")
    out = box.shell(
        "cat /etc/resolv.conf; echo more >> /etc/resolv.conf",
        lower=(str(image), str(box.image)),
        mounts=(MountSpec(kind="bind", target="/etc/resolv.conf", source=str(source)),),
    )  # fmt: skip
    assert out == "nameserver 127.0.0.11\n"
    assert source.read_text().endswith("more\n")
    assert not outside.exists()


def test_binds_volumes_and_tmpfs_appear_as_described(box: Box, tmp_path: Path) -> None:
    volume, single = tmp_path / "volume", tmp_path / "single"
    volume.mkdir()
    single.write_text("one")
    mounts = (
        MountSpec(kind="bind", target="/data", source=str(volume)),
        MountSpec(kind="bind", target="/ro", source=str(volume), read_only=True),
        MountSpec(kind="bind", target="/srv/deep/file", source=str(single)),
        MountSpec(kind="tmpfs", target="/tmp", options="size=65536k,exec"),
        MountSpec(kind="tmpfs", target="/fresh", options="mode=700"),
    )
    out = box.shell(
        "echo hi > /data/x; touch /ro/y 2>/dev/null || echo ro; cat /ro/x /srv/deep/file; echo;"
        " stat -c %a /tmp /fresh; grep -E ' /(tmp|fresh) ' /proc/mounts",
        mounts=mounts,
    )
    assert out.split()[:5] == ["ro", "hi", "one", "1777", "700"]
    assert "/tmp tmpfs rw,nosuid,nodev,relatime,size=65536k" in out
    assert "/fresh tmpfs rw,nosuid,nodev,noexec,relatime" in out
    assert (volume / "x").read_text() == "hi\n"


def test_a_directory_does_not_go_onto_a_file(box: Box, tmp_path: Path) -> None:
    mount = MountSpec(kind="bind", target="/etc/passwd", source=str(tmp_path))
    with pytest.raises(StartError, match="directory onto a file"):
        box.start(box.spec("true", mounts=(mount,)))


def test_a_missing_source_is_named(box: Box, tmp_path: Path) -> None:
    mount = MountSpec(kind="bind", target="/x", source=str(tmp_path / "missing"))
    with pytest.raises(StartError, match="missing: no such file or directory"):
        box.start(box.spec("true", mounts=(mount,)))


def test_the_image_stays_as_it_is(box: Box) -> None:
    before = sorted(p.name for p in (box.image / "etc").iterdir())
    box.shell("rm /etc/passwd; echo x > /etc/new; echo y > /bin/busybox2")
    assert sorted(p.name for p in (box.image / "etc").iterdir()) == before


def test_shared_memory_takes_its_size(box: Box) -> None:
    assert "size=16384k" in box.shell("grep /dev/shm /proc/mounts", shm_size=16 << 20)


def test_sysctls_of_the_containers_own_namespaces_are_set(box: Box) -> None:
    out = box.shell(
        "cat /proc/sys/kernel/shmmax /proc/sys/fs/mqueue/msg_max",
        sysctls=(("kernel.shmmax", "123456"), ("fs.mqueue.msg_max", "20")),
    )
    assert out.split() == ["123456", "20"]
    with pytest.raises(StartError, match=r"kernel\.nothing"):
        box.start(box.spec("true", sysctls=(("kernel.nothing", "1"),)))


def test_the_environment_and_directory_are_the_containers(box: Box) -> None:
    process = {"cwd": "/made/for/it", "user": "al", "env": ("PATH=/bin", "A=1", "A=2", "B=x=y"), "argv": ("env",)}
    spec = box.spec("env", process=process)
    code, out, _err = box.complete(spec)
    assert code == 0
    assert sorted(out.split()) == ["A=2", "B=x=y", "HOME=/home/al", "PATH=/bin"]
    assert (Path(spec.upper) / "made/for/it").stat().st_uid == 0


def test_limits_of_resources_are_the_programs(box: Box) -> None:
    import resource

    process = {"rlimits": ((resource.RLIMIT_NOFILE, 512, 1024), (resource.RLIMIT_CORE, 0, 0))}
    assert box.shell("ulimit -Sn; ulimit -Hn; ulimit -c", process=process).split() == ["512", "1024", "0"]


@pytest.mark.parametrize("user", ["ghost", "al:ghosts", "4294967296", "-1"])
def test_users_that_the_image_does_not_know_are_refused(box: Box, user: str) -> None:
    with pytest.raises(StartError) as caught:
        box.start(box.spec("true", process={"user": user}))
    assert caught.value.code == 125


def test_no_time_is_lost_on_a_passwd_file_that_is_a_pipe(box: Box, tmp_path: Path) -> None:
    image = tmp_path / "image"
    (image / "etc").mkdir(parents=True)
    os.mkfifo(image / "etc/passwd")
    with pytest.raises(StartError, match="not a regular file"):
        box.start(box.spec("true", lower=(str(image), str(box.image)), process={"user": "al"}))


def test_streams_belong_to_the_user_who_can_reopen_them(box: Box) -> None:
    assert box.shell("echo again > /proc/self/fd/1", process={"user": "al"}) == "again\n"


def test_more_layers_than_one_page_of_names_are_stacked(box: Box, tmp_path: Path) -> None:
    layers = []
    for number in range(60):
        layer = tmp_path / f"layer-{number:03d}-{'x' * 100}"
        layer.mkdir()
        (layer / f"file{number}").write_text("")
        layers.append(str(layer))
    spec = box.spec("sh", "-c", "ls -d /file* | wc -l")
    assert box.complete(replace(spec, lower=(*layers, *spec.lower)))[1].strip() == "60"


def test_layers_are_stacked_by_an_ordinary_mount_on_kernels_without_the_new_way(box: Box) -> None:
    spec = box.spec("true")
    (Path(spec.upper).parent / "a:b,c").mkdir()
    before = Path("/proc/self/mountinfo").read_text()
    tree = mounts.overlay_by_mount([str(Path(spec.upper).parent / "a:b,c"), *spec.lower], spec.upper, spec.work)
    try:
        assert "busybox" in os.listdir(f"/proc/self/fd/{tree}/bin")
        assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        os.close(tree)
    with pytest.raises(FileNotFoundError):
        mounts.overlay_by_mount(["/does/not/exist"], spec.upper, spec.work)


@needs_host_root
def test_mounts_made_inside_reach_the_host_only_through_shared_ones(box: Box, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "source", source], check=True)
    subprocess.run(["mount", "--make-shared", source], check=True)
    try:
        for propagation, seen in (("rprivate", False), ("rslave", False), ("rshared", True)):
            mount = MountSpec(kind="bind", target="/m", source=str(source), propagation=propagation)
            place = f"/m/{propagation}"
            every = {"capabilities": capabilities.all_of_host(), "seccomp": b""}
            box.shell(f"mkdir {place}; mount -t tmpfs inner {place}", mounts=(mount,), process=every)
            assert os.path.ismount(source / propagation) is seen
    finally:
        subprocess.run(["umount", "-R", source], check=True)
