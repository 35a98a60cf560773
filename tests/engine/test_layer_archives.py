"""Layers give back the exact archive that they were made from, and folders of containers become layers."""

import asyncio
import hashlib
import io
import itertools
import os
import socket
import stat
import struct
import subprocess
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from netd.common.errors import BadRequest
from netd.common.store.store import Store
from netd.common.tasks import Tasks
from runtime.images import reference
from runtime.images.image_config import parse_document
from runtime.images.image_store import Images
from runtime.images.layers import Layer
from runtime.images.recipe import DamagedLayer
from runtime.images.tarstream import BadArchive, TarStream
from tests.engine.test_layers import Archive, Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def given_back(place: Place, data: bytes, below: tuple[str, ...] = ()) -> bytes:
    layer = place.layers.unpack(io.BytesIO(data), below)
    place.layers.publish(layer)
    back = b"".join(place.layers.archive(layer.chain, layer.diff))
    assert len(back) == place.layers.summary(layer.chain, layer.diff).tar_size
    return back


def members(place: Place, layer: Layer) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(place.layers.archive(layer.chain, layer.diff)))) as archive:
        return archive.getnames()


def plain() -> Archive:
    return Archive().directory("d").add("d/a", data=b"first" * 1000, mtime=7).add("d/b", data=b"x" * 300_000)


ARCHIVES = {
    "plain": plain().bytes(),
    "gnu names": Archive(tarfile.GNU_FORMAT).add("n" * 180 + "/" + "m" * 200, data=b"1").bytes(),
    "bytes after the end": plain().bytes() + b"\0" * 4096 + b"rest that tar ignores",
    "a duplicate": plain().add("d/a", data=b"second").bytes(),
    "a duplicate that is equal": plain().add("d/a", data=b"first" * 1000).bytes(),
    "a file replaced by a folder": plain().directory("d/a").add("d/a/x", data=b"in it").bytes(),
    "a folder replaced by a file": plain().add("d", data=b"a file now").bytes(),
    "a folder replaced by a link": plain().directory("e").symlink("d", "e").add("d/a", data=b"in e").bytes(),
    "hard links": plain().hardlink("d/c", "d/a").add("d/a", data=b"other").add("d/c", data=b"third").bytes(),
    "a replaced link to a folder": (
        plain().symlink("l", "d").add("l/via", data=b"via the link").symlink("l", "nowhere").bytes()
    ),
    "a whiteout with content": plain().add(".wh.d", data=b"content").bytes(),
    "links to the root": plain().symlink("r", "/").add("r/d/r/abs", data=b"round").bytes(),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_exact_archive_is_given_back(place, name):
    assert given_back(place, ARCHIVES[name]) == ARCHIVES[name]


CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)


def test_set_ids_devices_and_capabilities_of_an_archive_are_kept(place):
    text = CAPABILITY.decode("utf-8", "surrogateescape")
    data = (
        Archive()
        .add("ping", data=b"x", mode=0o755, uid=3, pax_headers={"SCHILY.xattr.security.capability": text})
        .add("su", data=b"x", mode=0o4755, uid=0)
        .add("mail", data=b"x", mode=0o2755, uid=7, gid=8)
        .directory("shared", mode=0o3777, uid=7, gid=8)
        .add("disk", tarfile.BLKTYPE, devmajor=259, devminor=70_000, mode=0o660)
        .bytes()
    )
    root = place.unpack(data)
    assert os.getxattr(root / "ping", "security.capability") == CAPABILITY and (root / "ping").stat().st_uid == 3
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in ("su", "mail", "shared", "disk")}
    assert modes == {"su": 0o4755, "mail": 0o2755, "shared": 0o3777, "disk": 0o660}
    assert (root / "disk").stat().st_rdev == os.makedev(259, 70_000)
    assert b"".join(place.layers.archive(place.latest.chain, place.latest.diff)) == data


WHITEOUTS = {
    "d": lambda archive: archive.directory("d", mode=0o700),
    "d/.wh..wh..opq": lambda archive: archive.add("d/.wh..wh..opq"),
    "d/x": lambda archive: archive.add("d/x", data=b"x"),
    "d/.wh.y": lambda archive: archive.add("d/.wh.y"),
}


@pytest.mark.parametrize("order", list(itertools.permutations(WHITEOUTS)), ids=" ".join)
def test_whiteouts_and_opaque_marks_work_in_every_order(place, order):
    archive = Archive()
    for name in order:
        WHITEOUTS[name](archive)
    root = place.unpack(data := archive.bytes())
    assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y" and (root / "d/x").read_bytes() == b"x"
    assert stat.S_ISCHR((root / "d/y").lstat().st_mode) and stat.S_IMODE((root / "d").stat().st_mode) == 0o700
    assert sorted(path.name for path in (root / "d").iterdir()) == ["x", "y"]
    assert b"".join(place.layers.archive(place.latest.chain, place.latest.diff)) == data


def test_links_that_lead_out_by_several_hops_stay_inside(place):
    archive = Archive().symlink("a", "..").symlink("b", "a/..").symlink("c", "b/../..").symlink("d", "/c/../../..")
    root = place.unpack(archive.add("d/tmp/escaped", data=b"inside").add("c/secret", data=b"inside").bytes())
    assert (root / "tmp/escaped").read_bytes() == b"inside" and (root / "secret").read_bytes() == b"inside"
    assert place.canary.read_text() == "untouched" and not Path("/tmp/escaped").exists()


@pytest.mark.parametrize(
    "form",
    [["--format=gnu"], *(["--format=posix", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))],
)
def test_sparse_files_stay_sparse_and_their_archive_is_given_back(place, form):
    file = place.root / "state/sparse"
    with file.open("wb") as out:
        out.truncate(64 << 20)
        for position in range(0, 1 << 20, 1 << 14):  # more regions than the first header holds
            out.seek(position * 40)
            out.write(b"%08d" % position * 10)
    command = ["tar", "--create", "--sparse", *form, "--directory", file.parent, "--file=-", "sparse"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(data) < 2 << 20
    root = place.unpack(data)
    assert (root / "sparse").read_bytes() == file.read_bytes()
    assert (root / "sparse").stat().st_blocks * 512 < 2 << 20
    assert b"".join(place.layers.archive(place.latest.chain, place.latest.diff)) == data


def test_the_content_of_a_sparse_entry_has_its_zeros():
    data = Archive().add("f", data=b"abcd", pax_headers={"GNU.sparse.map": "2,3,9,1", "GNU.sparse.size": "12"}).bytes()
    stream = TarStream(io.BytesIO(data))
    assert [(entry.size, b"".join(stream.content())) for entry in stream] == [(12, b"\0\0abc\0\0\0\0d\0\0")]


def test_a_recipe_holds_no_second_copy_of_the_files(place):
    data = Archive().add("f", data=os.urandom(1 << 20)).bytes()
    assert given_back(place, data) == data
    assert sum(path.stat().st_size for path in place.paths.recipes.iterdir()) < 2000


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b"longer" * 2000),
        lambda path: path.write_bytes(b"FIRST" * 1000),
        lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
    ],
)
def test_damage_of_a_layer_is_named(place, damage):
    damage(place.unpack(plain().bytes()) / "d/a")
    with pytest.raises(DamagedLayer, match="d/a"):
        b"".join(place.layers.archive(place.latest.chain, place.latest.diff))


def test_a_damaged_recipe_is_an_error(place):
    place.unpack(plain().bytes())
    recipe = place.paths.recipe(place.latest.chain)
    content = recipe.read_bytes()
    for damaged in (content[:20], content[:-3], content[:60] + b"\xff" * 30 + content[90:]):
        recipe.write_bytes(damaged)
        with pytest.raises(DamagedLayer):
            b"".join(place.layers.archive(place.latest.chain, place.latest.diff))


def test_a_layer_without_a_recipe_is_given_back_only_if_its_digest_is_right(place):
    place.unpack(plain().bytes())
    place.paths.recipe(place.latest.chain).unlink()
    with pytest.raises(DamagedLayer, match="import the image again"):
        place.layers.summary(place.latest.chain, place.latest.diff)
    upper = place.root / "state/upper"
    upper.mkdir()
    (upper / "f").write_text("deterministic")
    place.layers.publish(layer := place.layers.from_folder(upper, move=False))
    expected = b"".join(place.layers.archive(layer.chain, layer.diff))
    place.paths.recipe(layer.chain).unlink()
    assert b"".join(place.layers.archive(layer.chain, layer.diff)) == expected


def test_a_layer_with_another_digest_than_expected_is_refused(place):
    with pytest.raises(BadArchive, match="but the image names sha256:00"):
        place.layers.unpack(io.BytesIO(plain().bytes()), expected="sha256:" + "0" * 64)
    assert place.is_clean()


def test_metadata_of_the_root_comes_from_the_layer_below(place):
    place.unpack(Archive().directory(".", mode=0o711, uid=3).bytes())
    above = place.unpack(plain().bytes(), [place.latest.diff])
    assert (stat.S_IMODE(above.stat().st_mode), above.stat().st_uid) == (0o711, 3)


def upper_folder(root: Path) -> Path:
    upper = root / "state/upper"
    (upper / "dir" / ("n" * 120)).mkdir(parents=True)
    (upper / "opaque").mkdir()
    (upper / "opaque").chmod(0o1777)
    os.setxattr(upper / "opaque", "trusted.overlay.opaque", b"y")
    os.mknod(upper / "dir/gone", stat.S_IFCHR, os.makedev(0, 0))
    os.mknod(upper / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(upper / "fifo")
    (upper / "file").write_bytes(b"data" * 1000)
    os.chown(upper / "file", 70_000, 5_000_000)
    (upper / "file").chmod(0o6755)
    os.setxattr(upper / "file", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    os.setxattr(upper / "file", "user.note", b"\xff\n=")
    os.setxattr(upper / "file", "trusted.overlay.origin", b"x")
    os.utime(upper / "file", ns=(0, 1_234_567_890_123_456_789))
    os.link(upper / "file", upper / "dir/hard")
    os.symlink(b"\xe9\xff" * 60, os.fsencode(upper) + b"/\xff\xfe-link")
    Path(os.fsdecode(os.fsencode(upper) + b"/dir/\xff\xfe")).write_text("not UTF-8")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(upper / "socket"))
    return upper


def test_the_upper_folder_of_a_container_becomes_a_layer(place):
    upper = upper_folder(place.root)
    layer = place.layers.from_folder(upper, move=False)
    place.layers.publish(layer)
    root = place.paths.layer(layer.chain)
    status = (root / "file").stat()
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (70_000, 5_000_000, 0o6755)
    assert status.st_mtime == 1_234_567_890 and (root / "dir/hard").samefile(root / "file")
    assert sorted(os.listxattr(root / "file")) == ["security.capability", "user.note"]
    assert os.getxattr(root / "file", "user.note") == b"\xff\n="
    assert os.getxattr(root / "opaque", "trusted.overlay.opaque") == b"y"
    assert stat.S_IMODE((root / "opaque").stat().st_mode) == 0o1777
    assert (root / "dir/gone").lstat().st_rdev == 0 and stat.S_ISCHR((root / "dir/gone").lstat().st_mode)
    assert (root / "null").stat().st_rdev == os.makedev(1, 3) and stat.S_ISFIFO((root / "fifo").stat().st_mode)
    assert os.readlink(os.fsencode(root) + b"/\xff\xfe-link") == b"\xe9\xff" * 60
    assert Path(os.fsdecode(os.fsencode(root) + b"/dir/\xff\xfe")).read_text() == "not UTF-8"
    assert not (root / "socket").exists() and (upper / "file").exists()
    assert {"dir/.wh.gone", "opaque/.wh..wh..opq"} <= set(members(place, layer))


def test_a_moved_folder_is_the_same_layer_as_a_copied_one(place):
    upper = upper_folder(place.root)
    copied = place.layers.from_folder(upper, move=False)
    moved = place.layers.from_folder(upper, move=True)
    assert copied.diff == moved.diff and copied.size == moved.size and not upper.exists()
    place.layers.publish(moved)
    data = b"".join(place.layers.archive(moved.chain, moved.diff))
    assert digest(data) == moved.diff
    place.layers.publish(copied)  # the same layer twice
    assert b"".join(place.layers.archive(moved.chain, moved.diff)) == data


@pytest.mark.parametrize("mark", ["trusted.overlay.redirect", "trusted.overlay.metacopy"])
def test_a_folder_that_refers_to_lower_layers_is_refused(place, mark):
    upper = place.root / "state/upper"
    (upper / "d").mkdir(parents=True)
    (upper / "f").write_text("x")
    os.setxattr(upper / ("d" if mark.endswith("redirect") else "f"), mark, b"elsewhere")
    with pytest.raises(OSError, match="redirect_dir and metacopy"):
        place.layers.from_folder(upper, move=True)
    assert upper.exists() and not any(place.paths.scratch.iterdir())


def test_deep_folders_are_walked_with_few_descriptors(place):
    upper = place.root / "state/upper"
    deep = upper.joinpath(*["d"] * 100)
    deep.mkdir(parents=True)
    for folder in (upper, *deep.parents[:60], deep):
        (folder / "zz").write_text("after")
    layer = place.layers.from_folder(upper, move=True)
    place.layers.publish(layer)
    assert len(members(place, layer)) == 100 + len({upper, *deep.parents[:60], deep})


# Images


CONFIG = '{"architecture":"amd64",  "os":"linux","created":null,"history":[{"created":null}],"rootfs":{"type":"layers",'


def with_images(place: Place, body: Callable[[Images, Tasks], Awaitable[None]]) -> None:
    async def run() -> None:
        tasks = Tasks()
        store = Store(place.root / "state/runtime.db")
        try:
            images = Images(store, place.layers, tasks)
            images.load()
            await body(images, tasks)
        finally:
            await tasks.close()
            store.close()

    asyncio.run(run())


async def added(place: Place, images: Images, data: list[bytes], *names: str):
    diffs: list[str] = []
    with images.lease() as lease:
        for archive in data:
            layer = place.layers.unpack(io.BytesIO(archive), diffs)
            diffs.append(layer.diff)
            await images.publish(layer, lease)
        text = CONFIG + '"diff_ids":[' + ",".join(f'"{diff}"' for diff in diffs) + "]}}"
        return await images.add_image(text.encode(), [reference.parse(name) for name in names])


def test_an_image_keeps_its_document_and_shares_layers(place):
    async def body(images, _tasks):
        base = plain().bytes()
        first = await added(place, images, [base, Archive().add("one", data=b"1").bytes()], "b/x:2", "a/x:1")
        named = f"a/x@{digest(b'manifest')}"
        second = await added(place, images, [base, Archive().add("two", data=b"22").bytes()], named)
        assert first.text.startswith(CONFIG) and first.id == digest(first.text.encode())
        assert first.layers[0] == second.layers[0] and second.size == first.size + 1
        assert [name.short for name in images.names_of(first.id)] == ["a/x:1", "b/x:2"]
        assert [name.short for name in images.digests_of(second.id)] == [named]
        assert images.find(named).id == second.id
        await images.delete(first)
        assert sorted(path.name for path in place.paths.layers.iterdir()) == sorted(c[7:] for c in second.layers)
        await images.delete(second)
        assert not any(place.paths.layers.iterdir()) and not any(place.paths.recipes.iterdir())

    with_images(place, body)


def test_a_leased_layer_outlives_the_removal_of_its_image(place):
    async def body(images, _tasks):
        image = await added(place, images, [plain().bytes()], "x")
        with images.lease() as lease:
            assert images.hold(lease, image.layers[0])
            await images.delete(image)
            assert place.paths.layer(image.layers[0]).exists()
            again = await images.add_image(image.text, [reference.parse("y")])
        assert again.id == image.id and images.find("y").size == image.size
        await images.delete(again)
        assert not any(place.paths.layers.iterdir())

    with_images(place, body)


def test_layers_of_a_failed_operation_are_deleted_later(place, monkeypatch):
    monkeypatch.setattr("runtime.images.image_store.LEFTOVER_SECONDS", 0.0)

    async def body(images, tasks):
        with pytest.raises(KeyError), images.lease() as lease:
            layer = place.layers.unpack(io.BytesIO(plain().bytes()))
            await images.publish(layer, lease)
            raise KeyError
        assert place.paths.layer(layer.chain).exists()
        await asyncio.wait(set(tasks._running))
        assert not place.paths.layer(layer.chain).exists()

    with_images(place, body)


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"os":1}', b'{"architecture":"a","os":"b","rootfs":{"diff_ids":["x"]}}']
)
def test_invalid_documents_are_refused(text):
    with pytest.raises(BadRequest):
        parse_document(text)
