"""The pure parts: capabilities, users, limits, device rules, frames and log entries."""

from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import frames as framing
from runtime.init import users
from runtime.kernel import capabilities, devices, limits
from runtime.shim import jsonlog
from runtime.spec import ContainerSpec, Limits, MountSpec, Process

HOST = (1 << 41) - 1


@pytest.mark.parametrize(
    ("add", "drop", "privileged", "mask"),
    [
        ([], [], False, 0xA80425FB),
        (["chown"], ["ALL"], False, 1),
        (["CAP_NET_ADMIN"], [], False, 0xA80425FB | 1 << 12),
        (["ALL"], [], False, HOST),
        (["ALL"], ["sys_admin"], False, HOST & ~(1 << 21)),
        (["NET_ADMIN"], ["NET_ADMIN"], False, 0xA80425FB),
        ([], ["cap_mknod"], False, 0xA80425FB & ~(1 << 27)),
        ([], ["ALL"], True, HOST),
    ],
)
def test_capabilities_follow_the_options(add: list[str], drop: list[str], privileged: bool, mask: int) -> None:
    assert capabilities.resolve(add, drop, privileged, host=HOST) == mask


def test_capabilities_that_the_host_lacks_cannot_be_given() -> None:
    assert capabilities.resolve(["SYS_TIME"], host=capabilities.DEFAULT) == capabilities.DEFAULT


def test_an_unknown_capability_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match='"CAP_NET_ADMN"; did you mean NET_ADMIN'):
        capabilities.resolve(["NET_ADMN"])


PASSWD = users.parse_passwd(
    "root:x:0:0:root:/root:/bin/sh\nal:x:1000:1001::/home/al:\nbad:x:zero:0::/:\n# c\nshort:x:5:6\n"
    "big:x:4294967296:0::/:\n"
)
GROUPS = users.parse_group("root:x:0:\nal:x:1001:\nextra:x:2000:al,bo\nmore:x:2001\nbad:x:x:al\n")


@pytest.mark.parametrize(
    ("user", "add", "identity"),
    [
        ("", (), (0, 0, (0,), "/root")),
        ("al", (), (1000, 1001, (1001, 2000), "/home/al")),
        ("1000", (), (1000, 1001, (1001, 2000), "/home/al")),
        ("al:extra", (), (1000, 2000, (2000,), "/home/al")),
        ("al:7", ("more", "9"), (1000, 7, (7, 2001, 9), "/home/al")),
        ("4000", (), (4000, 0, (0,), "/")),
        ("4000:5", (), (4000, 5, (5,), "/")),
        ("short", (), (5, 6, (6,), "/")),
        ("al:", (), (1000, 1001, (1001, 2000), "/home/al")),
    ],
)
def test_users_are_looked_up_in_the_images_files(user: str, add: tuple[str, ...], identity: tuple[object, ...]) -> None:
    found = users.resolve(user, add, PASSWD, GROUPS)
    assert (found.uid, found.gid, found.groups, found.home) == identity


@pytest.mark.parametrize(
    "user", ["bad", "big", "ghost", "al:ghosts", "2147483648", "4294967296", "99999999999", "-1", "al:-1", "0x0", "٣"]
)
def test_no_slip_of_parsing_makes_anybody_root(user: str) -> None:
    with pytest.raises(users.UnknownUser):
        users.resolve(user, (), PASSWD, GROUPS)


@given(st.text(), st.text(), st.text(max_size=12))
def test_any_files_and_any_user_end_in_an_identity_or_a_refusal(passwd: str, groups: str, user: str) -> None:
    try:
        found = users.resolve(user, (), users.parse_passwd(passwd), users.parse_group(groups))
    except users.UnknownUser:
        return
    assert 0 <= found.uid <= users.LARGEST
    assert 0 <= found.gid <= users.LARGEST
    assert found.gid in found.groups


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(2, 1), (100, 17), (256, 35), (512, 59), (1024, 100), (2048, 174), (4096, 303), (262144, 10000)],
)
def test_shares_become_weights(shares: int, weight: int) -> None:
    assert limits.weight(shares) == weight


def test_limits_become_writes_of_either_version() -> None:
    wanted = Limits(cpu_quota=50000, cpu_period=100000, memory=100, memory_swap=150, memory_reservation=50, pids=-1)
    assert [(file, value) for _controller, file, value in limits.version1(wanted)] == [
        ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000"), ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "150"), ("memory.soft_limit_in_bytes", "50"), ("pids.max", "max"),
    ]  # fmt: skip
    assert [(file, value) for _controller, file, value in limits.version2(wanted)] == [
        ("cpu.max", "50000 100000"), ("memory.max", "100"), ("memory.swap.max", "50"), ("memory.low", "50"),
        ("pids.max", "max"),
    ]  # fmt: skip
    assert limits.version1(Limits()) == limits.version2(Limits()) == []


def test_limits_of_block_devices_name_file_device_and_value() -> None:
    wanted = Limits(blkio_devices=(("rbps", "/dev/a", 10), ("wiops", "/dev/b", 20)))
    assert limits.devices(wanted, 1) == [
        ("blkio", "blkio.throttle.read_bps_device", "/dev/a", "10"),
        ("blkio", "blkio.throttle.write_iops_device", "/dev/b", "20"),
    ]
    assert limits.devices(wanted, 2) == [("io", "io.max", "/dev/a", "rbps=10"), ("io", "io.max", "/dev/b", "wiops=20")]


@given(st.integers(2, 262144), st.integers(2, 262144))
def test_more_shares_never_weigh_less(left: int, right: int) -> None:
    assert limits.weight(min(left, right)) <= limits.weight(max(left, right))
    assert 1 <= limits.weight(left) <= 10000
    assert math.isfinite(limits.weight(left))


def run_filter(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """Interpret the few instructions that device filters are made of."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    registers, place = [0] * 6, 0
    while True:
        code, operands, offset, value = struct.unpack_from("<BBhi", program, place * 8)
        target, source, place = operands & 15, operands >> 4, place + 1
        if code == 0x61:
            registers[target] = struct.unpack_from("<I", context, offset)[0]
        elif code == 0x54:
            registers[target] &= value
        elif code == 0x74:
            registers[target] >>= value
        elif code == 0xBC:
            registers[target] = registers[source]
        elif code == 0xB4:
            registers[target] = value
        elif code == 0x55:
            place += offset if registers[target] != value else 0
        else:
            return registers[0]


@given(
    st.sampled_from([1, 2]),
    st.integers(1, 7),
    st.integers(0, 300),
    st.integers(0, 300),
    st.lists(
        st.builds(
            "{} {}:{} {}".format,
            st.sampled_from("bc"),
            st.sampled_from(["*", "1", "5", "136"]),
            st.sampled_from(["*", "3", "5", "200"]),
            st.sampled_from(["m", "rw", "rwm", "r"]),
        ),
        max_size=6,
    ),
)
def test_a_device_filter_allows_what_its_rules_say(
    kind: int, access: int, major: int, minor: int, rules: list[str]
) -> None:
    def holds(rule: str) -> bool:
        letter, numbers, letters = rule.split()
        first, second = numbers.split(":")
        bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in letters)
        same = letter == ("b" if kind == 1 else "c")
        return same and first in ("*", str(major)) and second in ("*", str(minor)) and not access & ~bits

    assert run_filter(devices.filter_program(rules), kind, access, major, minor) == int(any(map(holds, rules)))


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300))), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_they_were_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    stream = b"".join(framing.frame(kind, payload) for kind, payload in frames)
    cutter = framing.Frames()
    assert [f for start in range(0, len(stream), size) for f in cutter.feed(stream[start : start + size])] == frames


def test_a_description_survives_the_wire() -> None:
    spec = ContainerSpec(
        id="a" * 64, hostname="h", lower=("/l",), mounts=(MountSpec(kind="tmpfs", target="/t"),), limits=Limits(pids=3),
        process=Process(argv=("true", "\udcff"), seccomp=b"\0\1", rlimits=((7, 1, 2),), console_size=(3, 4)),
    )  # fmt: skip
    found = framing.unpack_container(framing.pack_spec(spec))
    assert framing.pack(framing.plain(spec)) == framing.pack_spec(spec)
    assert (found.process.argv, found.process.seccomp, found.limits.pids) == (("true", "\udcff"), b"\0\1", 3)
    assert (found.mounts[0].target, found.process.console_size, found.netns) == ("/t", (3, 4), None)


@given(st.lists(st.binary(max_size=60)), st.booleans())
def test_the_log_holds_all_output_in_lines(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], long: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    log = jsonlog.JsonLog(str(path))
    data = [chunk * 700 for chunk in chunks] if long else chunks
    for chunk in data:
        log.write(1, chunk)
    log.close()
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert "".join(entry["log"] for entry in entries).count("\n") == b"".join(data).count(b"\n")
    assert all(len(entry["log"].encode()) <= 3 * jsonlog.LONGEST for entry in entries)
    assert all("\n" not in entry["log"][:-1] for entry in entries)


@given(st.text(max_size=100000))
def test_long_lines_are_cut_between_characters(text: str) -> None:
    line = text.encode(errors="ignore")
    pieces = jsonlog.split_long(line)
    assert b"".join(pieces) == line
    assert all(len(piece) <= jsonlog.LONGEST for piece in pieces)
    assert "".join(piece.decode() for piece in pieces) == line.decode()


def test_a_full_disk_stops_nobody() -> None:
    log = jsonlog.JsonLog("/dev/full")
    log.write(1, b"lost\n")
    log.close()
