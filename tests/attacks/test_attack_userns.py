"""Root of a container in a user namespace: an unprivileged user outside, without access to the host.

Where it is cheap, the same attempt is made with ``--userns host``, where it must succeed, as a check of the test.
"""

import os
import subprocess
from pathlib import Path

import pytest

from tests.installation import Installation, running_installation, wait_until

FIRST, PIECES = 1_000_000, 6
CONFIG = f'userns = "auto"\nuserns_range = "{FIRST}:{PIECES * 65536}"\n'


@pytest.fixture(scope="module")
def remapped():
    """An installation with ``userns = "auto"``."""
    with running_installation(CONFIG) as place:
        yield place


@pytest.fixture(autouse=True)
def emptied(request):
    yield
    if "remapped" in request.fixturenames:
        request.getfixturevalue("remapped").remove_all()


def run(place, *words, check=True):
    return place.netctl("run", "--rm", "--network", "none", *words, check=check)


def start(place, name, *words):
    """Start a container that keeps running, and return the pid of its first process on the host."""
    place.netctl("run", "-d", "--name", name, "--network", "none", *words, "busybox", "sleep", "1000")
    return place.inspect(name)["State"]["Pid"]


def owner(pid):
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    return int(line.split()[1])


def first_id(pid):
    inside, outside, count = Path(f"/proc/{pid}/uid_map").read_text().split()
    assert (inside, count) == ("0", "65536") and Path(f"/proc/{pid}/gid_map").read_text().split()[1] == outside
    return int(outside)


def refused(place, *words):
    done = run(place, *words, "busybox", "true", check=False)
    assert done.returncode == 125, done
    return done.stderr


# Identity


def test_root_inside_is_nobody_outside_and_each_container_another_nobody(remapped):
    assert owner(start(remapped, "naive", "--userns", "host")) == 0
    first, other = start(remapped, "one"), start(remapped, "other")
    assert owner(first) == first_id(first) >= FIRST and owner(other) == first_id(other) >= FIRST
    assert abs(first_id(first) - first_id(other)) >= 65536
    assert "uid=0(root)" in remapped.netctl("exec", "one", "id").stdout
    assert "name=userns" in remapped.docker.info()["SecurityOptions"]
    assert remapped.inspect("naive")["HostConfig"]["UsernsMode"] == "host"


def test_a_container_keeps_its_ids_until_it_is_removed(remapped):
    before = first_id(start(remapped, "kept"))
    remapped.kill("runtime")
    remapped.start("runtime")
    assert remapped.netctl("exec", "kept", "cat", "/proc/self/uid_map").stdout.split()[1] == str(before)
    start(remapped, "next")
    remapped.netctl("restart", "-t", "0", "kept")
    assert first_id(remapped.inspect("kept")["State"]["Pid"]) == before
    remapped.netctl("rm", "-f", "kept")
    assert first_id(start(remapped, "heir")) == before


def test_when_all_ids_are_taken_the_refusal_names_the_setting(remapped):
    for number in range(PIECES):
        remapped.netctl("create", "--name", f"c{number}", "--network", "none", "busybox", "true")
    assert "userns_range" in refused(remapped)
    assert run(remapped, "--userns", "host", "busybox", "true").returncode == 0
    remapped.netctl("rm", "c3")
    assert run(remapped, "busybox", "true").returncode == 0


# Restrictions


BREAKS = (
    "umount /proc/kcore",
    "umount /proc/sys",
    "mount -o remount,rw,bind /proc/sys",
    "mount -o remount,rw /sys",
    "umount /sys/firmware",
    "mount -t proc proc /tmp",
    "mount -t devtmpfs dev /tmp",
    "mknod /tmp/disk b 254 0",
    "echo 1 > /proc/sys/kernel/panic",
    "echo h > /proc/sysrq-trigger",
    "echo -1000 > /proc/self/oom_score_adj",
    "mkdir /sys/fs/cgroup/pids/x",
)


def test_all_capabilities_of_a_user_namespace_open_nothing_of_the_host(remapped):
    start(remapped, "caged")
    script = "; ".join(f"({step}) 2>/dev/null && echo 'did {step}'" for step in BREAKS)
    done = remapped.netctl("exec", "--privileged", "caged", "sh", "-c", f"{script}; echo end", check=False)
    assert done.stdout == "end\n"
    assert (
        "0000000000000000"
        not in remapped.netctl("exec", "--privileged", "caged", "grep", "CapEff", "/proc/self/status").stdout
    )


def test_its_other_namespaces_belong_to_it(remapped):
    """It can change its own host name, addresses and mounts."""
    start(remapped, "own")
    script = "hostname changed && ip link set lo down && ip link set lo up && mount -t tmpfs t /tmp && umount /tmp"
    remapped.netctl("exec", "--privileged", "own", "sh", "-c", script)
    run(remapped, "--cap-add", "NET_ADMIN", "busybox", "ip", "addr", "add", "192.0.2.1/32", "dev", "lo")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--privileged"], "privileged mode is incompatible with user namespaces"),
        (["--network", "host"], "cannot share the host's network namespace when user namespaces are enabled"),
        (["--pid", "host"], "cannot share the host PID namespace when user namespaces are enabled"),
        (["--ipc", "host"], "cannot share the host IPC namespace when user namespaces are enabled"),
        (["--userns", "remap"], "invalid USER mode: remap"),
        (["--userns", "container:x"], "invalid USER mode: container:x"),
    ],
)
def test_what_excludes_a_user_namespace_is_refused(remapped, words, message):
    done = remapped.netctl("run", "--rm", *words, "busybox", "true", check=False)
    assert done.returncode == 125 and message in done.stderr
    if "--userns" not in words:
        remapped.netctl("run", "--rm", "--userns", "host", *words, "busybox", "true")


# Files


def test_files_keep_the_containers_ids_on_the_disk(remapped):
    """Layers hold set-user-ID programs of the host's root; the closed state directory makes them inaccessible."""
    script = "cp /bin/busybox /v/su && chmod 4755 /v/su && touch /v/al && chown 1000:1000 /v/al && echo x > /new"
    remapped.netctl("run", "--name", "writer", "--network", "none", "-v", "files:/v", "busybox", "sh", "-c", script)
    volume = remapped.state / "volumes" / "files"
    program = (volume / "_data" / "su").stat()
    assert (program.st_uid, program.st_mode & 0o7777) == (0, 0o4755)
    assert (volume / "_data" / "al").stat().st_uid == 1000
    assert [path.stat().st_uid for path in remapped.state.glob("containers/*/diff/new")] == [0]
    assert any(folder.stat().st_mode & 0o001 == 0 for folder in volume.parents if folder.is_relative_to(remapped.state))
    shown = run(remapped, "-v", "files:/v", "busybox", "stat", "-c", "%u", "/v/su", "/v/al")
    assert shown.stdout.split() == ["0", "1000"]
    remapped.netctl("volume", "rm", "files", check=False)


def test_copies_have_the_ids_that_the_container_sees(remapped, tmp_path):
    start(remapped, "copied", "-v", "copied:/v", "--tmpfs", "/t")
    remapped.netctl("exec", "copied", "sh", "-c", "echo own > /f; chown 5:6 /f; cp -a /f /v/f; echo t > /t/f")
    for path in ("/f", "/v/f"):
        remapped.netctl("cp", "-a", f"copied:{path}", str(tmp_path / "out"))
        assert ((tmp_path / "out").stat().st_uid, (tmp_path / "out").stat().st_gid) == (5, 6)
    for path in ("/t/f", "/proc/version", "/dev/null", "/sys/kernel"):
        done = remapped.netctl("cp", f"copied:{path}", str(tmp_path / "no"), check=False)
        assert f"Could not find the file {path}" in done.stderr
    for folder in ("/", "/v"):
        remapped.netctl("cp", str(tmp_path / "out"), f"copied:{folder}")
        shown = remapped.netctl("exec", "copied", "sh", "-c", f"stat -c %u:%g {folder}/out; rm {folder}/out").stdout
        assert shown == "5:6\n"


def test_what_belongs_to_other_users_of_the_host_stays_closed(remapped, tmp_path):
    """Ids outside the range are mapped to nobody, and cannot be assumed or assigned."""
    tmp_path.chmod(0o755)
    secret = tmp_path / "secret"
    secret.write_text("x")
    os.chown(secret, 70000, 70000)
    secret.chmod(0o600)
    script = "cat /h/secret || chown 0 /h/secret || chown 70000 /h || rm -f /t; stat -c %u /h/secret"
    done = run(remapped, "-v", f"{tmp_path}:/h", "busybox", "sh", "-c", script)
    assert done.stdout == "65534\n" and secret.stat().st_uid == 70000


def test_a_bind_whose_owners_cannot_be_shifted_is_refused_with_its_path_and_file_system(remapped):
    message = refused(remapped, "-v", "/proc/self:/x")
    assert "/proc/self" in message and "(proc)" in message and "--userns host" in message
    assert run(remapped, "--userns", "host", "-v", "/proc/self:/x", "busybox", "true").returncode == 0


def test_its_files_and_streams_are_its_own(remapped):
    script = "echo a > /etc/hosts && echo b > /dev/shm/x && echo c > /dev/null && echo out > /dev/stdout"
    done = run(remapped, "--tmpfs", "/t", "busybox", "sh", "-c", f"{script} && touch /t/x && stat -c %u /t/x /dev/tty")
    assert done.stdout.split() == ["out", "0", "0"]
    done = run(remapped, "-u", "user", "busybox", "sh", "-c", "echo out > /dev/stdout; id -u")
    assert done.stdout.split() == ["out", "1000"]
    client = remapped.docker.api
    made = client.create_container("busybox", ["stat", "-Lc", "%u %g", "/proc/self/fd/0"], tty=True, stdin_open=True)
    client.start(made)
    assert client.wait(made)["StatusCode"] == 0 and client.logs(made).split() == [b"0", b"5"]


# Shared and separate namespaces


def test_containers_that_share_a_namespace_share_the_user_namespace(remapped):
    pid = start(remapped, "donor", "--ipc", "shareable")
    theirs = os.readlink(f"/proc/{pid}/ns/user")
    for kind in ("network", "pid", "ipc"):
        joined = remapped.netctl(
            "run", "--rm", f"--{kind}", "container:donor", "busybox", "readlink", "/proc/self/ns/user"
        )
        assert joined.stdout.strip() == theirs
        done = remapped.netctl(
            "run", "--rm", "--userns", "host", f"--{kind}", "container:donor", "busybox", "true", check=False
        )
        assert done.returncode == 125 and "donor" in done.stderr
    start(remapped, "plain", "--userns", "host")
    done = remapped.netctl("run", "--rm", "--network", "container:plain", "busybox", "true", check=False)
    assert done.returncode == 125 and "use --userns host" in done.stderr


def test_only_the_shim_stays_beside_a_container(remapped):
    pid = start(remapped, "alone")
    shim = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    def beside():
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(shim)], capture_output=True, text=True).stdout
        return [int(word) for word in listed.split()]

    wait_until(lambda: beside() == [pid])


def test_the_network_is_netds_and_the_containers(remapped):
    """Any user can bind ports below 1024, and name resolution works."""
    listen = "nc -l -p 80 & until netstat -ltn | grep -q ':80 '; do :; done"
    script = f"nslookup box 127.0.0.11 | grep -c 'Name:.*box'; {listen}"
    done = remapped.netctl("run", "--rm", "-u", "user", "--name", "box", "busybox", "timeout", "9", "sh", "-c", script)
    assert done.stdout.split() == ["1"]


# Settings


@pytest.mark.parametrize("text", ["0:65536", "100000:10", "many"])
def test_a_range_that_cannot_serve_stops_the_daemon_with_the_settings_name(text):
    place = Installation(config=f'userns = "remap"\nuserns_range = "{text}"\n')
    try:
        with pytest.raises(AssertionError, match="userns_range"):
            place.start("runtime")
    finally:
        place.processes.clear()
        place.destroy()


def test_with_remap_all_containers_share_a_range_and_auto_is_still_to_be_had():
    place = Installation(config=f'userns = "remap"\nuserns_range = "{FIRST}:{2 * 65536}"\n')
    try:
        place.start()
        place.load_busybox()
        first, other = start(place, "one"), start(place, "other")
        assert first_id(first) == first_id(other) == FIRST
        assert os.readlink(f"/proc/{first}/ns/user") != os.readlink(f"/proc/{other}/ns/user")
        assert first_id(start(place, "alone", "--userns", "auto")) == FIRST + 65536
        assert "userns_range" in refused(place, "--userns", "auto")
        done = run(place, "--pid", "container:one", "--ipc", "private", "busybox", "cat", "/proc/1/uid_map")
        assert done.stdout.split()[1] == str(FIRST)
    finally:
        place.destroy()
