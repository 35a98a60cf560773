"""Parsing of ports, mounts and quantities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.cli.output import human
from netd.cli.parse import mount_flags, units
from netd.cli.parse.port_flags import expose, publish


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("80", [("80/tcp", "", "")]),
        (":80", [("80/tcp", "", "")]),
        ("0:80", [("80/tcp", "", "0")]),
        ("8080:80/udp", [("80/udp", "", "8080")]),
        ("8080:80/UDP", [("80/udp", "", "8080")]),
        ("127.0.0.1::80", [("80/tcp", "127.0.0.1", "")]),
        ("127.0.0.1:8080:80", [("80/tcp", "127.0.0.1", "8080")]),
        ("8000-8002:80-82", [("80/tcp", "", "8000"), ("81/tcp", "", "8001"), ("82/tcp", "", "8002")]),
        ("8000-8002:80", [("80/tcp", "", "8000-8002")]),
        ("80-82", [("80/tcp", "", ""), ("81/tcp", "", ""), ("82/tcp", "", "")]),
        ("[::1]:8080:80", [("80/tcp", "::1", "8080")]),
        ("::1:8080:80", [("80/tcp", "::1", "8080")]),
        ("80/sctp", [("80/sctp", "", "")]),
        ("target=80,published=8080,protocol=udp,mode=host", [("80/udp", "", "8080")]),
        ("target=80", [("80/tcp", "", "")]),
    ],
)
def test_published_ports_are_read_as_docker_reads_them(word, found):
    assert [(port, binding["HostIp"], binding["HostPort"]) for port, binding in publish(word)] == found


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("8000-8001:80-82", "invalid ranges specified for container and host Ports: 80-82 and 8000-8001"),
        ("80/foo", "invalid proto: foo"),
        ("8080:", "no port specified: 8080:<empty>"),
        ("localhost:8080:80", "invalid IP address: localhost"),
        ("a:80", "invalid hostPort: a"),
        ("80:b", "invalid containerPort: b"),
        ("80:82-80", "invalid containerPort: 82-80"),
        ("70000:80", "invalid hostPort: 70000"),
        ("80:65536", "invalid containerPort: 65536"),
        ("80:0", "invalid containerPort: 0"),
        ("80:٣", "invalid containerPort: ٣"),
        ("published=8080", "target is required, such as target=80,published=8080"),
        ("target=80,zork=1", "invalid field: zork=1"),
        ("", "no port specified: <empty>"),
    ],
)
def test_ports_that_make_no_sense_are_refused_in_dockers_words(word, reason):
    with pytest.raises(ValueError) as caught:
        publish(word)
    assert str(caught.value) == reason


def test_the_long_form_says_more_and_flags_speak_for_ports_that_do_not():
    [(key, binding)] = publish("target=80,published=8080,protocol=UDP,host_ip=::1,allow=10.0.0.0/8,allow=192.0.2.1")
    assert (key, binding) == (
        "80/udp",
        {"HostIp": "::1", "HostPort": "8080", "Allow": ["10.0.0.0/8", "192.0.2.1"]},
    )
    assert publish("80", ["192.0.2.0/24"]) == [("80/tcp", {"HostIp": "", "HostPort": "", "Allow": ["192.0.2.0/24"]})]
    assert publish("target=80,allow=10.0.0.0/8", ["192.0.2.0/24"])[0][1]["Allow"] == ["10.0.0.0/8"]


PORTS = st.integers(1, 65535)


@given(PORTS, PORTS, st.integers(0, 40), st.sampled_from(["tcp", "udp", "sctp"]), st.ip_addresses())
def test_a_range_pairs_every_port_with_its_own(host, target, more, protocol, address):
    if max(host, target) + more > 65535:
        more = 0
    given_address = f"[{address}]" if address.version == 6 else str(address)
    found = publish(f"{given_address}:{host}-{host + more}:{target}-{target + more}/{protocol}")
    assert found == [
        (f"{target + i}/{protocol}", {"HostIp": str(address), "HostPort": str(host + i)}) for i in range(more + 1)
    ]


def test_long_ranges_stay_ranges():
    assert publish("127.0.0.1:20000-36383:20000-36383/udp") == [
        ("20000-36383/udp", {"HostIp": "127.0.0.1", "HostPort": "20000-36383"})
    ]
    assert expose("1-65535") == ["1-65535/tcp"]


@given(st.text(alphabet="0123456789-:/.tcpud[]=,", max_size=20))
def test_any_word_gives_ports_or_a_reason(word):
    try:
        found = publish(word)
    except ValueError as error:
        assert str(error)
        return
    for port, _ in found:
        numbers, protocol = port.split("/")
        assert all(1 <= int(bound) <= 65535 for bound in numbers.split("-")) and protocol in ("tcp", "udp", "sctp")


def test_exposed_ports_are_spread_out():
    assert expose("80-82/udp") == ["80/udp", "81/udp", "82/udp"]
    assert expose("80") == ["80/tcp"]
    with pytest.raises(ValueError, match="invalid port: x"):
        expose("x")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("data:/d", ("data:/d", True)),
        ("/srv:/d:ro,z", ("/srv:/d:ro,z", True)),
        ("./x:/d", ("/here/x:/d", True)),
        ("../x:/d:ro", ("/x:/d:ro", True)),
        (".:/d", ("/here:/d", True)),
        ("/d", ("/d", False)),
        ("data:/d:nocopy", ("data:/d:nocopy", True)),
    ],
)
def test_a_volume_word_is_a_bind_a_volume_or_a_place(word, found):
    assert mount_flags.volume(word, "/here") == found


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("a:b:c:d", "use \\[SOURCE:\\]TARGET"),
        (":/d", "use \\[SOURCE:\\]TARGET"),
        ("data", "must be an absolute path, not 'data'"),
        ("/srv:d", "must be an absolute path, not 'd'"),
        ("data:/", "cannot be '/'"),
        ("data:/d:zork", "invalid mode: zork"),
        ("data:/d:ro,rw", "has conflicting modes"),
        ("/srv:/d:nocopy", "nocopy applies to volumes only"),
        ("data:/d:rshared", "applies to paths of the host"),
    ],
)
def test_a_volume_word_that_makes_no_sense_is_refused(word, reason):
    with pytest.raises(ValueError, match=reason):
        mount_flags.volume(word, "/here")


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("source=data,target=/d", {"Type": "volume", "Source": "data", "Target": "/d"}),
        ("type=bind,src=/srv,dst=/d,ro", {"Type": "bind", "Source": "/srv", "Target": "/d", "ReadOnly": True}),
        ("type=bind,src=./x,dst=/d", {"Type": "bind", "Source": "/here/x", "Target": "/d"}),
        ("target=/d,readonly=false", {"Type": "volume", "Target": "/d", "ReadOnly": False}),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700",
            {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700}},
        ),
        (
            "bind-propagation=rslave,type=bind,src=/s,dst=/d,bind-recursive=readonly",
            {
                "Type": "bind",
                "Source": "/s",
                "Target": "/d",
                "BindOptions": {"Propagation": "rslave", "ReadOnlyForceRecursive": True},
            },
        ),
        (
            'dst=/d,volume-nocopy,"volume-opt=o=a,b",volume-opt=x=y,volume-label=k=v,volume-driver=local',
            {
                "Type": "volume",
                "Target": "/d",
                "VolumeOptions": {
                    "NoCopy": True,
                    "DriverConfig": {"Name": "local", "Options": {"o": "a,b", "x": "y"}},
                    "Labels": {"k": "v"},
                },
            },
        ),
    ],
)
def test_mounts_are_read_as_docker_reads_them(word, found):
    assert mount_flags.mount(word, "/here") == found


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("type=foo,target=/d", "unknown mount type 'foo'"),
        ("type=bind,target=/d", "source is required"),
        ("type=bind,source=data,target=/d", "beginning with / or ./"),
        ("type=tmpfs,source=x,target=/d", "source cannot be given"),
        ("source=data", "target is required"),
        ("target=/d,zork=1", "unexpected key 'zork'"),
        ("target=/d,source", "use key=value"),
        ("target=/d,source=", "value is empty"),
        ("target=/d, source=x", "blanks"),
        ("type=bind,source=/s,target=/d,volume-nocopy", "cannot mix 'volume-nocopy' with mount type 'bind'"),
        ("target=/d,readonly=maybe", "neither true nor false"),
        ("type=tmpfs,target=/t,tmpfs-mode=9", "not an octal number"),
    ],
)
def test_mounts_that_make_no_sense_are_refused(word, reason):
    with pytest.raises(ValueError, match=reason):
        mount_flags.mount(word, "/here")


@given(st.text(alphabet='typebindvolumsrctg=,/." 0', max_size=30))
def test_any_mount_word_is_read_or_refused(word):
    try:
        assert mount_flags.mount(word, "/here")["Target"].startswith("/")
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512", 512),
        ("100m", 100 << 20),
        ("1g", 1 << 30),
        ("1.5g", 3 << 29),
        ("64KB", 64 << 10),
        ("1GiB", 1 << 30),
        ("7b", 7),
    ],
)
def test_memory_is_read_in_powers_of_1024(text, count):
    assert units.memory(text) == count


@pytest.mark.parametrize("text", ["", "m", "100x", "-1", "1..5g", "1e3", "bb", "1 2m", "٣"])
def test_memory_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="such as 100m"):
        units.memory(text)


@given(st.integers(0, 1 << 50), st.sampled_from("bkmgtp"))
def test_whole_amounts_of_memory_are_exact(count, unit):
    assert units.memory(f"{count}{unit}") == count * 1024 ** "bkmgtp".index(unit)


@given(st.integers(0, 10**12))
def test_processors_are_exact_to_the_billionth(nano):
    assert units.nano_cpus(f"{nano // 10**9}.{nano % 10**9:09d}") == nano


def test_processors_may_be_written_short_but_not_too_fine():
    assert units.nano_cpus(".5") == 500_000_000 and units.nano_cpus("2") == 2 * 10**9
    for text in ("", ".", "x", "-1", "1.0000000001"):
        with pytest.raises(ValueError):
            units.nano_cpus(text)


def test_no_limit_of_swap_is_minus_one():
    assert units.memory_or_none("-1") == -1 and units.memory_or_none("1m") == 1 << 20


def test_moments_are_spans_unix_seconds_or_dates():
    assert units.moment("1700000000.5", 0) == "1700000000.5"
    assert float(units.moment("1h30m", 10000.0)) == 10000 - 5400
    assert float(units.moment("250ms", 1.0)) == 0.75
    assert float(units.moment("2024-05-01T10:00:00.123456789Z", 0)) == pytest.approx(1714557600.123456)
    with pytest.raises(ValueError, match="such as 10m"):
        units.moment("yesterday", 0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (3599, "59 minutes"),
        (3600, "About an hour"), (5399, "About an hour"), (5400, "2 hours"),
        (47 * 3600, "47 hours"), (48 * 3600, "2 days"),
        (15 * 86400, "2 weeks"), (70 * 86400, "2 months"), (1000 * 86400, "2 years"),
    ],
)  # fmt: skip
def test_ages_are_told_as_docker_tells_them(seconds, words):
    assert human.duration(seconds) == words


def test_sizes_are_told_in_three_digits():
    assert [human.size(n) for n in (0, 999, 1000, 4421246, 999_999)] == ["0B", "999B", "1kB", "4.42MB", "1000kB"]
    assert human.binary_size(100 << 20) == "100MiB"
