"""Image archives: each becomes a layer or is refused in one sentence, and nothing else changes."""

import gzip
import io
import os
import resource
import stat
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from runtime.images.tarstream import BadArchive, TarStream
from runtime.kernel import tree
from tests.engine.test_layers import Archive, Place
from tests.installation import busybox_tar

BLOCK = 512


@pytest.fixture
def ground(tmp_path):
    """The folder of layers; emptied after the test, because pytest cannot delete deeply nested folders."""
    yield Place(tmp_path)
    for left in tmp_path.iterdir():
        tree.remove_path(left)


def sealed(header: bytes) -> bytes:
    """Return the header with its correct checksum."""
    block = bytearray(header)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def patched(data: bytes, at: int, value: bytes, header: int = 0) -> bytes:
    """Return the archive with changed bytes in one of its headers."""
    start = header * BLOCK
    block = data[start : start + BLOCK]
    block = block[:at] + value + block[at + len(value) :]
    return data[:start] + sealed(block) + data[start + BLOCK :]


def device(major: bytes, minor: bytes) -> bytes:
    data = Archive(tarfile.USTAR_FORMAT).add("dev", tarfile.CHRTYPE, devmajor=1, devminor=3).bytes()
    return patched(patched(data, 329, major), 337, minor)


def sealed_header(size: int) -> bytes:
    """Return an extended header with one record of *size* bytes."""
    record = b"%d comment=" % size
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf(tarfile.USTAR_FORMAT) + (record + b"x" * size)[: size - 1] + b"\n" + bytes(-size % BLOCK)


def with_pax(**records: str) -> bytes:
    return (
        Archive()
        .add("f", data=b"x", pax_headers={key.replace("__", "."): text for key, text in records.items()})
        .bytes()
    )


IMPOSSIBLE = {
    "huge major": device(b"\x80" + b"\xff" * 7, b"0000003\0"),
    "negative major": device(b"\xff" * 8, b"0000003\0"),
    "huge minor": device(b"0000001\0", b"\x80\0\0\0\0\x10\0\0"),
    "mtime nan": with_pax(mtime="nan"),
    "mtime inf": with_pax(mtime="inf"),
    "mtime exponent": with_pax(mtime="1e400"),
    "mtime with underscores": with_pax(mtime="1_000"),
    "mtime of many digits": with_pax(mtime="9" * 400),
    "uid of many digits": with_pax(uid="9" * 400),
    "uid negative": with_pax(uid="-5"),
    "size in other digits": with_pax(size="٣"),
    "attribute without a name": with_pax(SCHILY__xattr__user__=""),
    "long attribute name": with_pax(**{"SCHILY__xattr__user__" + "n" * 300: "x"}),
    "large attribute": with_pax(SCHILY__xattr__user__big="x" * 70_000),
    "attribute with a zero byte": with_pax(**{"SCHILY__xattr__user__a\0b": "x"}),
    "broken capability": with_pax(SCHILY__xattr__security__capability="nonsense"),
    "link of 5,000 bytes": Archive().symlink("l", "t" * 5000).bytes(),
    "link of 4,096 bytes": Archive().symlink("l", "t" * 4096).bytes(),
    "hard link name of 5,000 bytes": Archive().hardlink("h", "t/" * 2500).bytes(),
    "hard link to a folder": Archive().directory("d").hardlink("h", "d").bytes(),
    "hard link below a file": Archive().add("f").hardlink("h", "f/x").bytes(),
    "many extended headers": sealed_header(600 << 10) * 2 + Archive().add("f").bytes(),
}  # fmt: skip


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible_entries_are_the_archives_fault_and_nothing_is_left(ground, name):
    with pytest.raises(BadArchive) as raised:
        ground.unpack(IMPOSSIBLE[name])
    assert ground.is_clean()
    assert raised.value.message.isprintable() and len(raised.value.message) < 400


def test_the_daemon_answers_400_in_one_sentence(api, raw):
    for name in ("huge major", "mtime nan", "link of 5,000 bytes", "large attribute"):
        status, _, body = raw.ask(
            "POST", "/images/create?fromSrc=-&repo=bad", IMPOSSIBLE[name], {"Content-Type": "application/x-tar"}
        )
        assert status == 400 and body["message"].count("\n") == 0, name
    assert api.ping()


def test_times_before_1970_and_fractions_are_kept(ground):
    root = ground.unpack(
        Archive().add("old", pax_headers={"mtime": "-1.5"}).add("new", pax_headers={"mtime": "2.25"}).bytes()
    )
    assert (root / "old").stat().st_mtime_ns == -1_500_000_000 and (root / "new").stat().st_mtime_ns == 2_250_000_000


# The cost of small archives


def test_headers_of_a_megabyte_of_tiny_records_are_read_in_no_time(ground):
    """An earlier version copied the rest of the header for each record: 100 GB of copying for one megabyte."""
    records = b"6 a=b\n" * ((1 << 20) // 6 - 1)
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, len(records)
    data = info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % BLOCK) + Archive().add("f").bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    assert (ground.unpack(data) / "f").exists()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 3


def test_an_archive_of_tiny_compressed_members_is_read_in_little_time(ground):
    """An earlier version copied the read-ahead buffer at the end of each member."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 200_000
    data = gzip.compress(info.tobuf(tarfile.USTAR_FORMAT)) + gzip.compress(b"x", mtime=0) * 200_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    with pytest.raises(BadArchive):
        ground.unpack(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 4


def test_global_headers_are_not_collected_without_end():
    def header(number):
        record = b"SCHILY.xattr.user.%d=" % number + b"x" * 60_000 + b"\n"
        text = b"%d " % (len(record) + 6) + record
        info = tarfile.TarInfo("g")
        info.type, info.size = tarfile.XGLTYPE, len(text)
        return info.tobuf(tarfile.USTAR_FORMAT) + text + bytes(-len(text) % BLOCK)

    data = b"".join(header(number) + Archive().add("f").bytes()[:BLOCK] for number in range(4))
    with pytest.raises(BadArchive, match="global extended headers"):
        list(TarStream(io.BytesIO(data)))


def test_folder_names_are_not_kept_without_end(ground, monkeypatch):
    monkeypatch.setattr("runtime.images.unpack._NAMES_KEPT", 1000)
    archive = Archive()
    for number in range(30):
        archive.directory(f"{'n' * 50}{number}")
    with pytest.raises(BadArchive, match="names of all folders"):
        ground.unpack(archive.bytes())
    assert ground.is_clean()


def test_a_small_archive_does_not_ask_for_folders_without_end(ground, monkeypatch):
    monkeypatch.setattr("runtime.images.unpack._MOST_MISSING", 1000)
    archive = Archive()
    for number in range(20):
        archive.add("/".join([str(number)] * 100))
    with pytest.raises(BadArchive, match="leaves out more than"):
        ground.unpack(archive.bytes())
    assert ground.is_clean()


def test_a_folder_of_any_depth_is_replaced(ground):
    """Each link points to the deepest folder so far, so that short names create a tree deeper than PATH_MAX."""
    archive = Archive()
    deep = "/".join(["d" * 10] * 100)
    archive.directory(f"x/{deep}").symlink("l0", f"x/{deep}")
    for number in range(1, 12):
        archive.directory(f"l{number - 1}/{deep}").symlink(f"l{number}", f"l{number - 1}/{deep}")
    root = ground.unpack(archive.add("x", data=b"file now").bytes())
    assert (root / "x").read_bytes() == b"file now"


# The root folder


@pytest.mark.parametrize(
    ("mode", "uid", "expected"),
    [(0o700, 1000, (0o755, 0)), (0o711, 5, (0o755, 0)), (0o555, 0, (0o555, 0)), (0o1777, 7, (0o1777, 7))],
)
def test_every_user_may_enter_the_root_of_an_import(ground, mode, uid, expected):
    data = Archive().directory(".", mode=mode, uid=uid).add("./f").bytes()
    layer = ground.layers.unpack(io.BytesIO(data), private_root=False)
    status = layer.folder.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == expected
    kept = ground.layers.unpack(io.BytesIO(data))
    status = kept.folder.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (mode, uid), "a layer of an image says what it says"


def test_a_user_runs_in_an_image_made_from_a_temporary_folder(api, output):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive, tarfile.open(fileobj=io.BytesIO(busybox_tar())) as files:
        root = tarfile.TarInfo("./")
        root.type, root.mode, root.uid = tarfile.DIRTYPE, 0o700, 1234
        archive.addfile(root)
        for member in files:
            archive.addfile(member, files.extractfile(member) if member.isreg() else None)
    api.import_image_from_data(data.getvalue(), repository="private", tag="latest")
    assert output("stat", "-c", "%a %u", "/", Image="private", User="user") == (0, "755 0\n")


# Arbitrary input


def sample() -> bytes:
    return (
        Archive()
        .directory("d", mode=0o1777, mtime=5)
        .add("d/f", data=b"x" * 700, pax_headers={"SCHILY.xattr.user.a": "b", "mtime": "1.5"})
        .hardlink("d/h", "d/f")
        .symlink("l", "d")
        .add("l/inner", data=b"y")
        .add("p", tarfile.FIFOTYPE)
        .add("c", tarfile.CHRTYPE, devmajor=1, devminor=3)
        .add("d/.wh.gone")
        .add("n" * 200, data=b"z")
        .bytes()
    )


SAMPLE = sample()
HEADERS = [
    place // BLOCK for place in range(0, len(SAMPLE), BLOCK) if SAMPLE[place + 257 : place + 262] == b"ustar"
]  # fmt: skip
FIELDS = (0, 100, 108, 116, 124, 136, 156, 157, 257, 329, 337, 345)

header_edits = st.tuples(
    st.sampled_from(HEADERS), st.sampled_from(FIELDS), st.binary(min_size=1, max_size=12).filter(lambda b: len(b) < 13)
)
byte_edits = st.tuples(st.integers(0, len(SAMPLE) - 1), st.binary(min_size=1, max_size=8))
KEYS = ("mtime", "uid", "gid", "size", "path", "linkpath", "SCHILY.xattr.user.a", "SCHILY.xattr.security.capability")
VALUES = ("../" * 9, "/", ".", "9" * 300, "a/" * 200, "-1", "nan")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.sampled_from(VALUES)
pax_edits = st.tuples(st.sampled_from(KEYS), texts)


def nothing_but_a_layer_or_bad_request(data: bytes, tmp_path_factory) -> None:
    ground = Place(tmp_path_factory.mktemp("fuzz", numbered=True))
    try:
        ground.unpack(data)
    except BadRequest as refused:
        assert refused.message.isprintable()
        assert ground.is_clean()
    outside = sorted(path.name for path in ground.root.iterdir())
    assert outside == ["secret", "state"] and ground.canary.read_text() == "untouched"
    assert ground.canary.stat().st_nlink == 1 and not any(ground.paths.scratch.iterdir())


@given(edits=st.lists(header_edits, min_size=1, max_size=3))
@settings(max_examples=250, deadline=None)
def test_any_header_is_a_layer_or_bad(edits, tmp_path_factory):
    data = SAMPLE
    for header, field, value in edits:
        data = patched(data, field, value, header)
    nothing_but_a_layer_or_bad_request(data, tmp_path_factory)


@given(
    edits=st.lists(byte_edits, min_size=1, max_size=4), cut=st.integers(0, len(SAMPLE)) | st.none(), pack=st.booleans()
)
@settings(max_examples=100, deadline=None)
def test_any_damage_is_a_layer_or_bad(edits, cut, pack, tmp_path_factory):
    data = bytearray(gzip.compress(SAMPLE, mtime=0) if pack else SAMPLE)
    for place, value in edits:
        start = place % len(data)
        data[start : start + len(value)] = value
    nothing_but_a_layer_or_bad_request(bytes(data[:cut]), tmp_path_factory)


@given(records=st.lists(pax_edits, min_size=1, max_size=3), kind=st.sampled_from([b"0", b"1", b"2", b"3", b"5", b"6"]))
@settings(max_examples=150, deadline=None)
def test_any_extended_header_is_a_layer_or_bad(records, kind, tmp_path_factory):
    data = Archive().symlink("out", "/").directory("d").add("d/f", data=b"x").add(
        "e", kind, linkname="d/f", devmajor=1, devminor=3, pax_headers=dict(records)
    )  # fmt: skip
    nothing_but_a_layer_or_bad_request(data.bytes(), tmp_path_factory)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b]0;title\x07", "n" * 240 + "/" + "n" * 240, "\u202etxt"])
def test_names_in_messages_are_one_line_that_no_terminal_acts_on(ground, name):
    for damage in ({"devmajor": 0}, {"devmajor": 1, "uid": 2**32 - 1}):
        with pytest.raises(BadArchive) as raised:
            ground.unpack(Archive().add(name, tarfile.CHRTYPE, **damage).bytes())
        assert raised.value.message.isprintable() and len(raised.value.message) < 300


def test_names_of_any_bytes_are_kept_and_shown_in_errors(ground):
    archive = Archive(tarfile.GNU_FORMAT)
    archive.tar.encoding, archive.tar.errors = "utf-8", "surrogateescape"
    name = os.fsdecode(b"bad\xff\xfename")
    with pytest.raises(BadArchive) as raised:
        ground.unpack(archive.add(name, tarfile.CHRTYPE, devmajor=0, devminor=0).bytes())
    raised.value.message.encode()
