"""``netctl cp``, ``export`` and ``diff``: Docker's rules for sources and targets, checked beside the docker command."""

import io
import os
import stat
import subprocess
import sys
import tarfile

import pytest

from netd.cli.errors import Fault
from netd.cli.files import extraction
from netd.cli.files.copy_rules import CopySource, CopyTarget, place, renamed, split, split_argument
from tests.installation import wait_until


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def made(api, run):
    """A container with /a/b/f, /a/g (setuid, 3:4), /a/lb -> b, /lg -> /a/g, /broken -> /nope."""
    script = "mkdir -p /a/b; echo 1 > /a/b/f; echo 2 > /a/g; chown 3:4 /a/g; chmod 4711 /a/g; ln -s b /a/lb"
    made = run("sh", "-c", f"{script}; ln -s /a/g /lg; ln -s /nope /broken; echo ready; sleep 1000")
    wait_until(lambda: b"ready" in api.logs(made))
    return made


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("web:/etc", ("web", "/etc")), ("/x:y", ("", "/x:y")), ("./x:y", ("", "./x:y")), ("-", ("", "-")),
        ("web:", ("web", "")), ("x", ("", "x")),
    ],
)  # fmt: skip
def test_a_word_is_a_path_of_a_container_or_of_the_disk(word, expected):
    assert split_argument(word) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", ("/a", "b")), ("/a/b/", ("/a", "b")), ("/a/.", ("/a", ".")), ("/", ("/", "/")), ("a", (".", "a")),
        ("/a/../b", ("/", "b")),
    ],
)  # fmt: skip
def test_paths_are_split_as_docker_splits_them(path, expected):
    assert split(path) == expected


def test_the_place_of_a_copy_follows_dockers_rules():
    folder, file = CopySource("/a", True), CopySource("/a/g", False)
    assert place(folder, CopyTarget("out", True, True)) == ("out", "")
    assert place(folder, CopyTarget("new", False, False)) == (".", "new")
    assert place(file, CopyTarget("x/new", False, False)) == ("x", "new")
    assert place(file, CopyTarget("x/old", True, False)) == ("x", "old")
    with pytest.raises(Fault, match="cannot copy directory"):
        place(folder, CopyTarget("x/old", True, False))
    with pytest.raises(Fault, match="no such directory"):
        place(file, CopyTarget("new/", False, False))


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("a/b", "a", "n", "n/b"), ("a", "a", "n", "n"), ("./f", ".", "n", "n/f"), (".", ".", "n", "n"),
        ("/bin/sh", "/", "n", "n/bin/sh"), ("/", "/", "n", "n"), ("a/b", "a", "", "a/b"),
    ],
)  # fmt: skip
def test_members_are_renamed(name, old, new, expected):
    assert renamed(name, old, new) == expected


def test_files_are_copied_out_of_a_container(place, made, tmp_path):
    def cp(source, target, *flags):
        done = place.netctl("cp", *flags, f"{made}:{source}", target, cwd=tmp_path, check=False)
        return done.returncode, done.stderr

    (tmp_path / "out").mkdir()
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("later")
    assert cp("/a", "out")[0] == 0 and tree(tmp_path / "out") == ["a", "a/b", "a/b/f", "a/g", "a/lb"]
    assert stat.S_IMODE((tmp_path / "out/a/g").stat().st_mode) == 0o711 and (tmp_path / "out/a/g").stat().st_uid == 0
    assert cp("/a/.", "new/")[0] == 0 and tree(tmp_path / "new") == ["b", "b/f", "g", "lb"]
    assert cp("/a/g", "old", "-a")[0] == 0 and (tmp_path / "old").stat().st_mode & 0o7777 == 0o4711
    assert (tmp_path / "old").stat().st_uid == 3
    assert cp("/a/g", "link") == (0, "Successfully copied 2.05kB to link\n")
    assert (tmp_path / "later").read_text() == "2\n" and (tmp_path / "link").is_symlink()
    assert cp("/a/lb", "out", "-q") == (0, "") and (tmp_path / "out/lb").is_symlink()
    assert cp("/a/lb", "followed", "-L")[0] == 0 and tree(tmp_path / "followed") == ["f"]
    assert cp("/broken", "out")[0] == 0 and os.readlink(tmp_path / "out/broken") == "/nope"
    assert cp("/a", "old") == (1, "netctl: cannot copy directory\n")
    assert cp("/a/g", "no/") == (1, "netctl: no such directory\n")
    assert "Could not find the file /nosuch in container" in cp("/nosuch", "out")[1]
    assert 'directory "no" does not exist' in cp("/a", "no/deep")[1]


def test_files_are_copied_into_a_container(api, place, made, tmp_path):
    def cp(source, target, *flags):
        return place.netctl("cp", *flags, source, f"{made}:{target}", cwd=tmp_path, check=False).stderr

    def found(path):
        return api.exec_start(api.exec_create(made, ["sh", "-c", f"cd {path} && find . | sort"])["Id"]).decode().split()

    (tmp_path / "src/sub").mkdir(parents=True)
    (tmp_path / "src/sub/g").write_text("g")
    (tmp_path / "plain").write_text("plain\n")
    os.link(tmp_path / "plain", tmp_path / "src/hard")
    (tmp_path / "to").symlink_to("plain")
    cp("src", "/")
    assert found("/src") == [".", "./hard", "./sub", "./sub/g"]
    cp("src/.", "/a/b")
    assert found("/a/b") == [".", "./f", "./hard", "./sub", "./sub/g"]
    cp("src", "/renamed")
    assert found("/renamed") == found("/src")
    cp("plain", "/lg")
    assert api.exec_start(api.exec_create(made, ["cat", "/a/g"])["Id"]) == b"plain\n"
    cp("to", "/t1")
    cp("to", "/t2", "-L")
    assert api.exec_start(api.exec_create(made, ["sh", "-c", "readlink /t1; cat /t2"])["Id"]) == b"plain\nplain\n"
    assert cp("src", "/a/g") == "netctl: cannot copy directory\n"
    assert cp("plain", "/new/") == "netctl: no such directory\n"
    assert "Could not find the file /no in container" in cp("plain", "/no/deep")
    assert "must be a directory or a regular file" not in cp("plain", "/dev/null")


def test_standard_streams_carry_archives_both_ways(api, place, made):
    command = [sys.executable, "-m", "netd.cli.main", "--run-dir", place.run, "cp"]
    data = subprocess.run([*command, f"{made}:/a", "-"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["a", "a/b", "a/b/f", "a/g", "a/lb"]
    subprocess.run([*command, "-", f"{made}:/tmp"], input=data, check=True)
    assert api.exec_start(api.exec_create(made, ["cat", "/tmp/a/b/f"])["Id"]) == b"1\n"
    refused = subprocess.run([*command, "-", f"{made}:/a/g"], input=data, capture_output=True, check=False)
    assert refused.stderr.decode() == f'netctl: destination "{made}:/a/g" must be a directory\n'


def test_export_and_diff_are_verbs(place, made, tmp_path):
    target = tmp_path / "root.tar"
    place.netctl("export", "-o", str(target), made)
    with tarfile.open(target) as archive:
        assert {"a/b/f", "bin/busybox"} <= set(archive.getnames())
    assert os.listdir(tmp_path) == ["root.tar"]
    assert place.netctl("diff", made).stdout.splitlines() == ["A /a", "A /a/b", "A /a/b/f", "A /a/g", "A /a/lb",
                                                              "A /broken", "A /lg"]  # fmt: skip


@pytest.mark.parametrize("verb", ["export", "image save"])
def test_an_output_that_is_a_device_stays_one(place, made, tmp_path, verb):
    device = tmp_path / "null"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    place.netctl(*verb.split(), "-o", str(device), made if verb == "export" else "busybox")
    assert stat.S_ISCHR(device.stat().st_mode) and os.listdir(tmp_path) == ["null"]


def hostile(*members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"bad"))
    return [out.getvalue()]


@pytest.mark.parametrize(
    "members",
    [
        [("../canary", tarfile.REGTYPE, "")],
        [("l", tarfile.SYMTYPE, ".."), ("l/canary", tarfile.REGTYPE, "")],
        [("l", tarfile.SYMTYPE, "../canary"), ("l", tarfile.REGTYPE, "")],
        [("h", tarfile.LNKTYPE, "../canary"), ("h", tarfile.REGTYPE, "")],
        [("l", tarfile.SYMTYPE, ".."), ("h", tarfile.LNKTYPE, "l/canary")],
        [("d", tarfile.DIRTYPE, ""), ("d/x", tarfile.SYMTYPE, "../.."), ("d/x", tarfile.DIRTYPE, "")],
        [("dev", tarfile.CHRTYPE, "")],
    ],
)
def test_an_archive_of_a_container_does_not_leave_the_directory(members, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "canary").write_text("own")
    lines = []
    try:
        extraction.extract(hostile(*members), str(inside), lambda name: name, warn=lines.append)
    except Fault:
        pass
    assert (tmp_path / "canary").read_text() == "own" and sorted(os.listdir(tmp_path)) == ["canary", "inside"]
    assert all(not stat.S_ISCHR(path.lstat().st_mode) for path in inside.rglob("*"))
