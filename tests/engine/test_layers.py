"""Layers from archives: exact copies of valid ones; malicious ones are refused completely."""

import asyncio
import bz2
import contextlib
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netd.common.errors import BadRequest
from runtime.images.image_config import chain_ids
from runtime.images.layers import Layers
from runtime.images.tarstream import BadArchive, TarStream
from runtime.paths import Paths
from runtime.storage.deferred_delete import DeferredDelete


class Archive:
    """A tar archive built entry by entry, also with wrong headers."""

    def __init__(self, form: int = tarfile.PAX_FORMAT) -> None:
        self.out = io.BytesIO()
        self.tar = tarfile.TarFile(fileobj=self.out, mode="w", format=form)

    def add(self, name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields) -> "Archive":
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.size = (
            kind,
            fields.pop("mode", 0o755 if kind == tarfile.DIRTYPE else 0o644),
            len(data),
        )
        for key, value in fields.items():
            setattr(info, key, value)
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def directory(self, name: str, **fields) -> "Archive":
        return self.add(name, tarfile.DIRTYPE, **fields)

    def symlink(self, name: str, target: str) -> "Archive":
        return self.add(name, tarfile.SYMTYPE, linkname=target)

    def hardlink(self, name: str, target: str) -> "Archive":
        return self.add(name, tarfile.LNKTYPE, linkname=target)

    def bytes(self) -> bytes:
        self.tar.close()
        return self.out.getvalue()


class Place:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = Paths(root / "state", root / "run")
        self.trash = DeferredDelete(self.paths.scratch)
        self.paths.scratch.mkdir(parents=True)
        self.layers = Layers(self.paths, self.trash)
        self.layers.open()
        self.canary = root / "secret"
        self.canary.write_text("untouched")

    def unpack(self, data: bytes, below: list[str] | None = None) -> Path:
        layer = self.layers.unpack(io.BytesIO(data), below or [])
        self.layers.publish(layer)
        self.latest = layer
        return self.paths.layer(layer.chain)

    def is_clean(self) -> bool:
        """Assert that nothing is left of a refused archive and nothing outside was changed."""
        outside = sorted(path.name for path in self.root.iterdir()) == ["secret", "state"]
        empty = not any(
            content
            for folder in (self.paths.scratch, self.paths.layers, self.paths.recipes)
            for content in folder.iterdir()
        )
        return outside and empty and self.canary.read_text() == "untouched"


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_layer_is_an_exact_copy(place):
    data = (
        Archive()
        .directory("d", mode=0o1777, uid=5, gid=6, mtime=1000)
        .add("d/f", data=b"x" * 100_000, mode=0o4755, uid=7, gid=8, mtime=2000)
        .symlink("d/abs", "/etc/passwd")
        .symlink("d/rel", "../d/f")
        .hardlink("d/hard", "d/f")
        .add("fifo", tarfile.FIFOTYPE)
        .add("dev", tarfile.CHRTYPE, devmajor=1, devminor=3)
        .add("long/" + "n" * 200 + "/f", data=b"deep")
        .add("caps", data=b"", pax_headers={"SCHILY.xattr.user.note": "hello", "SCHILY.xattr.security.selinux": "x"})
        .bytes()
    )
    root = place.unpack(data)
    directory, file = (root / "d").stat(), (root / "d/f").stat()
    assert (stat.S_IMODE(directory.st_mode), directory.st_uid, directory.st_gid, directory.st_mtime) == (
        0o1777,
        5,
        6,
        1000,
    )
    assert (stat.S_IMODE(file.st_mode), file.st_uid, file.st_gid, file.st_mtime) == (0o4755, 7, 8, 2000)
    assert os.readlink(root / "d/abs") == "/etc/passwd" and os.readlink(root / "d/rel") == "../d/f"
    assert (root / "d/hard").samefile(root / "d/f") and file.st_nlink == 2
    assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
    assert (root / "dev").stat().st_rdev == os.makedev(1, 3)
    assert (root / "long" / ("n" * 200) / "f").read_bytes() == b"deep"
    assert os.listxattr(root / "caps") == ["user.note"]
    assert place.latest.size == 100_004


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_tar_format_is_read(place, form):
    name = "a" * 60 + "/" + "b" * 60
    root = place.unpack(Archive(form).add(name, data=b"x").symlink("l", "t" * 90).bytes())
    assert (root / name).read_bytes() == b"x" and os.readlink(root / "l") == "t" * 90


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress, lambda data: data])
def test_compression_is_told_from_the_bytes_and_the_digest_is_of_the_archive_inside(place, pack):
    data = Archive().add("f", data=os.urandom(300_000)).bytes()
    place.unpack(pack(data))
    packed, place2 = place.latest, Place(place.root / "again")
    place2.unpack(data)
    assert packed.diff == place2.latest.diff and packed.chain == packed.diff


def test_names_that_are_no_utf8_stay_as_they_are(place):
    archive = Archive(tarfile.GNU_FORMAT)
    archive.tar.encoding, archive.tar.errors = "utf-8", "surrogateescape"
    root = place.unpack(archive.add(os.fsdecode(b"f\xff\xfe"), data=b"x").bytes())
    assert os.listdir(os.fsencode(root)) == [b"f\xff\xfe"]


def test_later_entries_replace_earlier_ones_and_folders_merge(place):
    data = (
        Archive()
        .add("a", data=b"1").add("a", data=b"2")
        .symlink("l", "/etc").add("l", data=b"no link any more")
        .directory("d").add("d/kept").directory("d", mode=0o700)
        .directory("gone").add("gone/f").add("gone", data=b"file now")
        .bytes()
    )  # fmt: skip
    root = place.unpack(data)
    assert (root / "a").read_bytes() == b"2"
    assert (root / "l").read_bytes() == b"no link any more" and not (root / "l").is_symlink()
    assert (root / "d/kept").exists() and stat.S_IMODE((root / "d").stat().st_mode) == 0o700
    assert (root / "gone").read_bytes() == b"file now"


def test_links_inside_the_layer_are_followed_inside_it(place):
    data = (
        Archive()
        .directory("usr/lib")
        .symlink("lib", "usr/lib")
        .symlink("abs", "/usr")
        .add("lib/x")
        .add("abs/y")
        .bytes()
    )
    root = place.unpack(data)
    assert (root / "usr/lib/x").exists() and (root / "usr/y").exists()


HOSTILE = {
    "parent": lambda a: a.add("../secret", data=b"!"),
    "parent in the middle": lambda a: a.add("a/../../secret", data=b"!"),
    "hard link to a parent": lambda a: a.hardlink("h", "../secret").add("h", data=b"!"),
    "hard link to nothing": lambda a: a.hardlink("h", "nothing"),
    "hard link to the root": lambda a: a.hardlink("h", "/"),
    "forged whiteout": lambda a: a.add("w", tarfile.CHRTYPE, devmajor=0, devminor=0),
    "whiteout of nothing": lambda a: a.add(".wh."),
    "whiteout of the folder": lambda a: a.add(".wh.."),
    "unknown mark": lambda a: a.add(".wh..wh.plnk"),
    "overlay attribute": lambda a: a.add("f", pax_headers={"SCHILY.xattr.trusted.overlay.redirect": "/"}),
    "user overlay attribute": lambda a: a.add("f", pax_headers={"SCHILY.xattr.user.overlay.opaque": "y"}),
    "huge extended header": lambda a: a.add("f", pax_headers={"comment": "x" * (2 << 20)}),
    "too deep": lambda a: a.add("/".join("d" * 129)),
    "unknown type": lambda a: a.add("f", b"Z"),
    "file as a folder": lambda a: a.add("f").add("f/x"),
    "link to nowhere as a folder": lambda a: a.symlink("l", "nowhere").add("l/x"),
    "looping link as a folder": lambda a: a.symlink("l", "l").add("l/x"),
    "sparse with less data than its map": lambda a: a.add(
        "f", pax_headers={"GNU.sparse.map": "0,5", "GNU.sparse.size": "10"}
    ),
    "sparse map that overlaps": lambda a: a.add(
        "f", data=b"xxxx", pax_headers={"GNU.sparse.map": "0,2,1,2", "GNU.sparse.size": "10"}
    ),
    "sparse map beyond the file": lambda a: a.add(
        "f", data=b"xx", pax_headers={"GNU.sparse.map": "9,2", "GNU.sparse.size": "10"}
    ),
    "sparse file of negative size": lambda a: a.add("f", pax_headers={"GNU.sparse.size": "-10"}),
    "sparse file larger than files can be": lambda a: a.add("f", pax_headers={"GNU.sparse.size": str((1 << 63) - 1)}),
    "endless sparse map": lambda a: a.add(
        "f", data=b"1" * 4096, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "10"}
    ),
    "sparse map of many regions": lambda a: a.add(
        "f", data=b"99999999\n" * 200, pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "10"}
    ),
    "impossible owner": lambda a: a.add("f", uid=2**32 - 1),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_entries_are_refused_and_nothing_is_left(place, name):
    data = HOSTILE[name](Archive().add("innocent", data=b"x")).bytes()
    with pytest.raises(BadArchive):
        place.unpack(data)
    assert place.is_clean()


@pytest.mark.parametrize("link", ["..", "../..", "/", "../../..", "/../../.."])
def test_symbolic_links_never_lead_out(place, link):
    with contextlib.suppress(BadArchive):
        place.unpack(Archive().symlink("out", link).add("out/secret", data=b"!").add("out/x/y", data=b"!").bytes())
    assert place.canary.read_text() == "untouched"
    assert sorted(path.name for path in place.root.iterdir()) == ["secret", "state"]


def test_a_long_chain_of_links_does_not_lead_out(place):
    """CVE-2025-4517: a path that becomes too long for a textual check."""
    archive, path = Archive(), ""
    part = "d" * 247
    for step in "abcdefghijklmnop":
        archive.directory(os.path.join(path, part)).symlink(os.path.join(path, step), part)
        path = os.path.join(path, part)
    deep = "/".join("abcdefghijklmnop") + "/" + "l" * 254
    archive.symlink(deep, "../" * 16).symlink("escape", deep + "/../../../../secret").add("escape", data=b"!")
    archive.symlink("out", deep + "/..").add("out/secret", data=b"!")
    with contextlib.suppress(BadArchive):
        place.unpack(archive.bytes())
    assert place.canary.read_text() == "untouched"
    assert sorted(path.name for path in place.root.iterdir()) == ["secret", "state"]


def test_a_hard_link_to_a_symbolic_link_is_not_followed(place):
    root = place.unpack(Archive().symlink("l", str(place.canary)).hardlink("h", "l").bytes())
    assert (root / "h").is_symlink() and place.canary.stat().st_nlink == 1


def with_size(data: bytes, size: bytes) -> bytes:
    """Return the archive with another size in its first header."""
    block = bytearray(data[:512])
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:700],
        lambda data: data[:100],
        lambda data: b"",
        lambda data: b"not an archive" * 100,
        lambda data: with_size(data, b"\xff" * 12),
        lambda data: with_size(data, struct.pack(">BxxxQ", 0x80, 1 << 62)),
        lambda data: gzip.compress(data)[:-20],
        lambda data: gzip.compress(data)[:200] + b"\0" * 50 + gzip.compress(data)[250:],
        lambda data: b"\x28\xb5\x2f\xfd" + data,
        lambda data: gzip.compress(Archive().add("f", data=bytes(64 << 20)).bytes()),
    ],
    ids=["cut", "stub", "empty", "text", "negative", "huge", "cut gzip", "broken gzip", "zstd", "bomb"],
)
def test_damaged_archives_are_refused_and_nothing_is_left(place, damage):
    data = Archive(tarfile.GNU_FORMAT).add("f", data=os.urandom(4000)).bytes()
    with pytest.raises(BadRequest):
        place.unpack(damage(data))
    assert place.is_clean()


def test_whiteouts_become_what_overlayfs_knows(place):
    data = Archive().add("d/.wh.f").add("e/.wh..wh..opq").add("e/new").add("own").add(".wh.own").bytes()
    root = place.unpack(data)
    mark = (root / "d/f").lstat()
    assert stat.S_ISCHR(mark.st_mode) and mark.st_rdev == 0
    assert os.getxattr(root / "e", "trusted.overlay.opaque") == b"y" and (root / "e/new").exists()
    assert (root / "own").is_file()


@pytest.mark.parametrize("order", [(".wh.d", "d/x"), ("d/x", ".wh.d")])
def test_a_folder_that_replaces_one_of_below_hides_it_whole(place, order):
    root = place.unpack(Archive().add(order[0]).add(order[1]).bytes())
    assert (root / "d/x").is_file() and os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"


def test_folders_only_passed_through_look_like_those_below(place):
    place.unpack(Archive().directory("tmp", mode=0o1777, uid=3, gid=4).bytes())
    below = place.latest.diff
    root = place.unpack(Archive().add("tmp/f").bytes(), [below])
    status = (root / "tmp").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o1777, 3, 4)
    assert place.latest.chain == chain_ids([below, place.latest.diff])[1] != place.latest.diff


def test_one_content_is_one_layer(place):
    data = Archive().add("f", data=b"x").bytes()
    first, second = place.unpack(data), place.unpack(data)
    assert first == second and len(list(place.paths.layers.iterdir())) == 1
    assert not any(place.paths.scratch.iterdir())


def test_what_no_image_names_is_swept_away(place):
    kept = place.unpack(Archive().add("a").bytes())
    chain = place.latest.chain
    place.unpack(Archive().add("b").bytes())

    async def sweep():
        place.trash.open()
        place.layers.sweep([chain])
        await place.trash.wait()

    asyncio.run(sweep())
    assert list(place.paths.layers.iterdir()) == [kept]


names = st.text(
    st.characters(min_codepoint=33, exclude_characters="/\x7f", exclude_categories=["Cs"]), min_size=1, max_size=80
)
contents = st.dictionaries(names.filter(lambda n: n not in (".", "..")), st.binary(max_size=2000), max_size=6)


@given(files=contents, form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
@settings(max_examples=60, deadline=None)
def test_what_tarfile_writes_is_read_back(files, form):
    archive = Archive(form)
    for name, data in files.items():
        archive.add(name, data=data, mtime=1.5 if form == tarfile.PAX_FORMAT else 1)
    stream = TarStream(io.BytesIO(archive.bytes()))
    assert {os.fsdecode(b"/".join(e.parts)): b"".join(stream.content()) for e in stream} == files


@given(data=st.binary(max_size=3000), cut=st.integers(0, 10_000), at=st.integers(0, 10_000))
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_is_refused_or_harmless(data, cut, at):
    whole = bytearray(Archive().add("some/file", data=data, pax_headers={"comment": "é"}).symlink("l", "t").bytes())
    whole[at % len(whole)] ^= 0xFF
    stream = TarStream(io.BytesIO(bytes(whole[: cut % len(whole)])))
    with contextlib.suppress(BadArchive):
        for _ in stream:
            assert sum(map(len, stream.content())) <= len(whole)
