"""COPY and ADD: sources, targets, owners, modes, archives, and hostile contexts."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile

import pytest

from tests.build.conftest import context, link

LISTING = "CMD cd / && find t -exec stat -c '%n %u:%g %a' {} + | sort"


def listing(build, output, instructions: str, files: dict, **query) -> list[str]:
    found = build(f"FROM busybox\n{instructions}\n{LISTING}\n", files, **query)
    assert not found.error, found.error
    return output(found.image).splitlines()


def test_files_and_folders_go_where_docker_puts_them(build, output):
    files = {"a": "a", "b": "b", "d/": "", "d/x": ("x", 0o600), "d/e/": "", "d/e/y": ("y", 0o755)}
    assert listing(build, output, "COPY d /t", files) == [
        "t 0:0 755",
        "t/e 0:0 755",
        "t/e/y 0:0 755",
        "t/x 0:0 600",
    ]
    assert listing(build, output, "COPY a /t", files) == ["t 0:0 644"]
    assert listing(build, output, "COPY a b /t/", files)[1:] == ["t/a 0:0 644", "t/b 0:0 644"]
    assert listing(build, output, "COPY [ab] /t/", files)[1:] == ["t/a 0:0 644", "t/b 0:0 644"]
    assert listing(build, output, "WORKDIR /t\nCOPY a .", files)[1:] == ["t/a 0:0 644"]
    assert listing(build, output, "WORKDIR /t\nCOPY a n", files)[1:] == ["t/n 0:0 644"]
    assert "t/d/e/y 0:0 755" in listing(build, output, "COPY --parents d/e/y /t/", files)
    assert "t/e/y 0:0 755" in listing(build, output, "COPY --parents ./d/./e/y /t/", files)
    assert listing(build, output, "COPY --exclude=e --exclude=*/none d /t", files) == ["t 0:0 755", "t/x 0:0 600"]
    assert listing(build, output, "COPY a /t/\nCOPY b /t/a", files)[1:] == ["t/a 0:0 644"]


def test_owners_and_modes_are_set(build, output):
    files = {"d/": "", "d/x": "x"}
    assert listing(build, output, "COPY --chown=user d /t", files) == ["t 1000:1000 755", "t/x 1000:1000 644"]
    assert listing(build, output, "COPY --chown=5:user d /t", files)[1] == "t/x 5:1000 644"
    assert listing(build, output, "COPY --chown=7 d /t", files)[1] == "t/x 7:7 644"
    assert listing(build, output, "COPY --chmod=0701 d /t", files) == ["t 0:0 701", "t/x 0:0 701"]
    assert listing(build, output, "COPY --chmod=go=,u+X d /t", files) == ["t 0:0 700", "t/x 0:0 600"]
    assert "unable to find user no" in build("FROM busybox\nCOPY --chown=no d /t", files).error


def test_links_of_the_image_are_followed_within_it(build, output):
    text = "FROM busybox\nRUN mkdir -p usr/lib && ln -s /usr/lib /lib && ln -s /etc/passwd /out\n"
    text += "COPY d /lib/\nCOPY f /out\n"
    found = build(f"{text}CMD ls -ld /lib; cat /usr/lib/x /out; cat /etc/passwd", {"d/": "", "d/x": "x\n", "f": "f\n"})
    lines = output(found.image).splitlines()
    assert "/lib -> /usr/lib" in lines[0] and lines[1:3] == ["x", "f"] and "root:x:0:0" in lines[3]
    merged = build(
        f"{text}COPY root/ /\nCMD cat /usr/lib/z",
        {"d/": "", "d/x": "", "f": "", "root/": "", "root/lib/": "", "root/lib/z": "z"},
    )
    assert output(merged.image) == "z"


def test_copies_from_images_keep_owners(build, output):
    text = "FROM busybox AS a\nRUN mkdir /s && touch /s/f && chown 5:6 /s/f && ln -s f /s/l && ln /s/f /s/h\n"
    found = build(f"{text}FROM busybox\nCOPY --from=a /s /t\n{LISTING}")
    assert output(found.image).splitlines()[1:] == ["t/f 5:6 644", "t/h 5:6 644", "t/l 0:0 777"]
    assert output(found.image, "stat", "-c", "%h", "/t/f") == "2\n"
    assert "t/f 0:0 644" in output(build(f"{text}FROM busybox\nCOPY --from=a --chown=0 /s /t\n{LISTING}").image)
    assert "busybox" in output(build("FROM busybox\nCOPY --from=busybox:latest /bin/busybox /t/\nCMD ls /t").image)


def test_a_rebuilt_stage_with_the_same_files_does_not_invalidate_the_copy(build):
    text = "FROM busybox AS a\nARG n\nRUN echo $n > /other; echo same > /f\n"
    text += "FROM busybox\nCOPY --from=a /f /f\nRUN cat /f\n"
    build(text, buildargs={"n": "1"})
    assert build(text, buildargs={"n": "2"}).cached[3:] == [False, True, True]


def test_here_documents_become_files(build, output):
    text = 'FROM busybox\nENV who=me\nCOPY <<one <<"two" <<-three /t/\nhi "$who" \\$who\none\n$who\ntwo\n\tx\nthree\n'
    text += "CMD cat /t/*"
    assert output(build(text).image) == 'hi "me" $who\nx\n$who\n'
    named = "FROM busybox\nCOPY --chmod=755 <<EOF /s\n#!/bin/sh\necho ran\nEOF\nCMD /s"
    assert output(build(named).image) == "ran\n"


def archive(compression: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as tar:
        info = tarfile.TarInfo("in/f")
        info.size, info.uid, info.mode = 2, 42, 0o640
        tar.addfile(info, io.BytesIO(b"ok"))
    return out.getvalue()


@pytest.mark.parametrize("compression", ["", "gz", "xz", "bz2"])
def test_add_unpacks_archives(build, output, compression):
    files = {"a.tar": archive(compression)}
    assert listing(build, output, "ADD a.tar /t/", files)[1:] == ["t/in 0:0 755", "t/in/f 42:0 640"]


def test_add_unpacks_only_what_it_should(build, output):
    files = {"a.tar": archive(), "plain": "plain"}
    assert listing(build, output, "COPY a.tar /t/", files)[1:] == ["t/a.tar 0:0 644"]
    assert listing(build, output, "ADD --unpack=false a.tar /t/", files)[1:] == ["t/a.tar 0:0 644"]
    assert listing(build, output, "ADD plain /t/", files)[1:] == ["t/plain 0:0 644"]
    assert "t/in/f 1000:1000 640" in listing(build, output, "ADD --chown=user a.tar /t/", files)


@pytest.fixture(scope="module")
def server(place, tmp_path_factory):
    """A web server on the daemon's host that serves ``file.txt``."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "file.txt").write_text("served")
    (folder / "a.tar").write_bytes(archive())
    command = [
        *place.within,
        sys.executable,
        "-u",
        "-m",
        "http.server",
        "--directory",
        folder,
        "--bind",
        "127.0.0.1",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        port = process.stdout.readline().split("port ")[1].split()[0]
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_add_downloads_urls_and_checks_their_digest(build, output, server):
    good = hashlib.sha256(b"served").hexdigest()
    lines = listing(build, output, f"ADD --checksum=sha256:{good} {server}/file.txt /t/", {})
    assert lines[1:] == ["t/file.txt 0:0 600"]
    assert listing(build, output, f"ADD {server}/file.txt /t", {}) == ["t 0:0 600"]
    assert listing(build, output, f"ADD {server}/a.tar /t/", {})[1:] == ["t/a.tar 0:0 600"]
    assert "t/in/f 42:0 640" in listing(build, output, f"ADD --unpack {server}/a.tar /t/", {})
    text = "FROM busybox\nADD {} {} /t/"
    assert "digest mismatch" in build(text.format("--checksum=sha256:" + "0" * 64, f"{server}/file.txt")).error
    assert "with status 404" in build(text.format("", f"{server}/none")).error
    assert "ADD failed" in build(text.format("", "http://127.0.0.1:1/x")).error
    assert "git repository" in build(text.format("", "https://example.com/x.git")).error


@pytest.mark.parametrize(
    ("instruction", "fault"),
    [
        ("COPY nope /", "COPY failed: file not found in build context or excluded by .dockerignore: stat nope"),
        ("COPY ../f /", "COPY failed: forbidden path outside the build context: ../f ()"),
        ("COPY *.zz /x", "COPY failed: no source files were specified"),
        ("ADD f g d", "When using ADD with more than one source file, the destination must be a directory"),
        ("COPY out /x", "COPY failed: file not found in build context"),
        ("COPY out/passwd /x", "COPY failed: file not found in build context"),
        ("COPY f /etc/passwd/x", "cannot copy to non-directory: /etc/passwd"),
        ("COPY f /bin", ""),
        ("COPY --chmod=9 f /x", "invalid chmod parameter"),
        ("COPY --from=busybox /nope /x", "COPY failed: stat /nope: file does not exist"),
    ],
)
def test_copies_that_cannot_be_done_are_refused(build, instruction, fault):
    files = {"f": "f", "g": "g", "out": (link("/etc"), 0o777)}
    found = build(f"FROM busybox\n{instruction}\n", files)
    assert (fault in found.error) if fault else not found.error


def test_links_of_the_context_lead_nowhere_else(build, output):
    files = {"up": (link("../../../../etc/passwd"), 0o777), "d/": "", "d/l": (link("/etc/shadow"), 0o777)}
    assert "file not found in build context" in build("FROM busybox\nCOPY up /x", files).error
    assert output(build("FROM busybox\nCOPY d /t\nCMD readlink /t/l", files).image) == "/etc/shadow\n"
    inside = {"real": "content", "l": (link("/real"), 0o777)}
    assert output(build("FROM busybox\nCOPY l /t\nCMD cat /t", inside).image) == "content"


@pytest.mark.parametrize("name", ["../escape", "d/../../escape"])
def test_a_context_with_impossible_names_is_refused(place, name):
    from tests.engine.conftest import Raw

    body = context({"Dockerfile": "FROM busybox\n"})
    evil = tarfile.TarInfo("x")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(evil)
    data = out.getvalue().replace(b"x" + bytes(10), name.encode().ljust(11, b"\0"), 1)
    fixed = bytearray(data)
    fixed[148:156] = b" " * 8
    fixed[148:156] = b"%06o\0 " % sum(fixed[:512])
    raw = Raw(place.run / "docker.sock")
    status, _, answer = raw.ask(
        "POST", "/build?version=1", bytes(fixed[:512]) + body, {"Content-Type": "application/x-tar"}
    )
    assert not (place.state / "tmp" / "escape").exists() and not (place.state / "escape").exists()
    assert status == 400 and "leaves its root" in answer["message"]


def test_names_of_whiteouts_are_refused(build):
    assert "reserve for deleted files" in build("FROM busybox\n", {".wh.f": ""}).error
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a/.wh..wh..opq"))
    assert "reserve for deleted files" in build("FROM busybox\nADD t.tar /etc/\n", {"t.tar": out.getvalue()}).error


def test_ignore_files_are_applied(build, output):
    files = {".dockerignore": "*\n!keep\n!sub/in\n", "keep": "", "drop": "", "sub/": "", "sub/in": "", "sub/out": ""}
    found = build("FROM busybox\nCOPY . /t\nCMD find /t -type f | sort", files)
    assert output(found.image).split() == ["/t/keep", "/t/sub/in"]
    own = {**files, "Dockerfile.dockerignore": "keep\n"}
    assert "/t/drop" in output(build("FROM busybox\nCOPY . /t\nCMD find /t -type f", own).image)
    assert "/t/keep" not in output(build("FROM busybox\nCOPY . /t\nCMD find /t -type f", own).image)
    assert "error reading .dockerignore" in build("FROM busybox\n", {".dockerignore": "[a"}).error


def test_workdir_and_link(build, output):
    text = "FROM busybox\nWORKDIR /bin\nWORKDIR /w/x\nCOPY --link f l/\nCMD pwd; ls /w/x/l"
    found = build(text, {"f": ""})
    assert output(found.image) == "/w/x\nf\n"
