"""Files written by containers are read within limits: they cost the daemon neither memory nor time."""

import os
import time
from types import SimpleNamespace

import pytest

from runtime.engine.containers.etc_files import rewrite_hosts, with_line_changes
from runtime.kernel import openat
from runtime.log_reader import Reader
from tests.engine.test_logs import everything, write

BEFORE, AFTER = "127.0.0.1\tlocalhost\n", "127.0.0.1\tlocalhost\n10.0.0.2\tbox\n"
MEGABYTE = 1 << 20


def peak_memory(place) -> int:
    """Return the daemon's peak memory in bytes."""
    with open(f"/proc/{place.processes['runtime'].pid}/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def inside(api, made, script):
    return api.exec_start(api.exec_create(made, ["sh", "-c", script])["Id"]).decode()


@pytest.fixture
def networks(api):
    names = ["large-one", "large-two", "large-three"]
    for name in names:
        api.create_network(name)
    yield names
    for container in api.containers(all=True):
        api.remove_container(container["Id"], force=True)
    for name in names:
        api.remove_network(name)


def test_a_huge_hosts_file_costs_nothing_and_is_left_as_it_is(api, run, place, networks):
    first, second, third = networks
    made = run("sleep", "1000", host={"NetworkMode": first})
    assert inside(api, made, "cp /etc/hosts /kept; truncate -s 2G /etc/hosts && echo grown") == "grown\n"
    memory, began = peak_memory(place), time.monotonic()
    api.connect_container_to_network(made, second)
    assert time.monotonic() - began < 10 and peak_memory(place) - memory < 64 * MEGABYTE
    assert inside(api, made, "stat -c %s /etc/hosts") == f"{2 << 30}\n"
    assert "hosts file not updated" in place.log("runtime")
    inside(api, made, "cat /kept > /etc/hosts")
    api.connect_container_to_network(made, third)
    shown = api.inspect_container(made)["NetworkSettings"]["Networks"]
    text = inside(api, made, "cat /etc/hosts")
    assert all(shown[name]["IPAddress"] in text for name in networks), (
        "the lines that could not be added before are added now"
    )


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "missing"])
def test_a_hosts_file_that_is_none_is_told_and_nobody_waits_for_it(tmp_path, kind):
    own = SimpleNamespace(hosts=tmp_path / "hosts", folder=tmp_path)
    target = tmp_path / "target"
    target.write_text("secret")
    makers = {"fifo": os.mkfifo, "link": lambda path: path.symlink_to(target), "folder": os.mkdir, "missing": str}
    makers[kind](own.hosts)
    assert not rewrite_hosts(own, BEFORE, AFTER)
    assert target.read_text() == "secret"
    if kind in ("fifo", "link"):
        with pytest.raises(OSError):
            openat.overwrite_path(own.hosts, b"x")


def test_a_hosts_file_is_rewritten_up_to_a_megabyte(tmp_path):
    own = SimpleNamespace(hosts=tmp_path / "hosts", folder=tmp_path)
    for size, done in ((MEGABYTE, True), (MEGABYTE + 1, False)):
        text = BEFORE + "#" * (size - len(BEFORE) - 1) + "\n"
        own.hosts.write_text(text)
        assert rewrite_hosts(own, BEFORE, AFTER) is done
        assert own.hosts.read_text() == (with_line_changes(text, BEFORE, AFTER) if done else text)


def test_lines_of_users_keep_characters_that_python_takes_for_line_ends():
    mine = "# a\x0cb\x1cc\u2028d\r\n"
    assert with_line_changes(BEFORE + mine, BEFORE, AFTER) == BEFORE + mine + "10.0.0.2\tbox\n"


def test_a_file_that_grows_while_it_is_read_is_bounded(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"x" * 100)
    assert openat.read_path(file, 100) == b"x" * 100
    with pytest.raises(openat.TooLarge):
        openat.read_path(file, 99)
    with open("/proc/self/status") as status, pytest.raises(openat.TooLarge):
        openat.read(status.fileno(), 10)


def test_a_log_without_line_ends_is_passed_over_in_little_memory(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b'{"log":"' + b"x" * (4 * MEGABYTE) + b'"log":"damage"}\n')
    lines = write(log, 3)
    reader, most = Reader(log, None), 0
    while reader.batch():
        most = max(most, len(reader._rest))
    reader.close()
    assert everything(log) == lines
    reader = Reader(log, None)
    for _ in range(40):
        reader._lines(b"y" * 65536)
        most = max(most, len(reader._rest))
    reader.close()
    assert most <= MEGABYTE + 65536


def test_arguments_of_a_megabyte_are_shown_shortened(api, run):
    made = run("sh", "-c", "sleep 1000; :", *["x" * 100_000] * 10)
    shown = api.top(made)["Processes"]
    assert any("sleep 1000" in words[-1] for words in shown) and all(len(words[-1]) <= 4096 for words in shown)


def test_a_hosts_file_that_chattr_protects_does_not_keep_a_container_from_starting(api, run, place):
    made = run("sleep", "1000")
    api.stop(made, timeout=0)
    hosts = place.state / "containers" / made / "hosts"
    os.system(f"chattr +i {hosts} 2>/dev/null")
    api.start(made)
    assert api.inspect_container(made)["State"]["Running"]
