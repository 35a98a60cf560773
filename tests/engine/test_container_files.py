"""Archives of files in containers, export and the list of changes."""

import asyncio
import base64
import http.client
import io
import json
import os
import tarfile
import time

import pytest
from docker.errors import APIError

from netd.common.errors import BadRequest, RequestTimeout
from runtime.engine.files import archives, container_paths
from runtime.storage import root_changes
from tests.installation import busybox_tar, wait_until


def archive(*entries, compression=""):
    """Return a tar archive of (name, content) or (name, content, attributes of TarInfo)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as tar:
        for name, content, *more in entries:
            info = tarfile.TarInfo(name)
            for key, value in (more[0] if more else {}).items():
                setattr(info, key, value)
            info.size = len(content) if info.type == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def fetch(api, container, path):
    """Return the description and the members of ``cp`` by name."""
    chunks, stat = api.get_archive(container, path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        return stat, {
            member.name: (tar.extractfile(member).read() if member.isreg() else member) for member in tar.getmembers()
        }


def refused(call, *args, **kwargs):
    with pytest.raises(APIError) as error:
        call(*args, **kwargs)
    return error.value.response.status_code, error.value.explanation


def done(api, made):
    api.wait(made, timeout=30)
    return made


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_files_are_read_as_docker_reads_them(api, run, running, tmp_path):
    (tmp_path / "host").write_text("of the host")
    script = "mkdir -p /d/sub; echo a > /d/f; chown 3:4 /d/f; chmod 4750 /d/f; ln -s /etc/passwd /d/link; ln -s no /d/x"
    script += "; echo v > /v/f; echo t > /t/f; mkfifo /d/pipe; ln /d/f /d/sub/g"
    host = {"Binds": ["files:/v", f"{tmp_path}:/b:ro"], "Tmpfs": {"/t": ""}}
    made = run("sh", "-c", f"{script}; echo ready; {'sleep 1000' if running else 'true'}", host=host)
    if running:
        wait_until(lambda: b"ready" in api.logs(made))
    else:
        done(api, made)
    stat, found = fetch(api, made, "/d/f")
    assert (stat["name"], stat["size"], stat["mode"], stat["linkTarget"]) == ("f", 2, 1 << 23 | 0o750, "")
    assert found == {"f": b"a\n"}
    assert fetch(api, made, "/d/link")[0]["linkTarget"] == "/etc/passwd"
    assert fetch(api, made, "d/x")[0]["linkTarget"] == "/d/no"
    assert list(fetch(api, made, "/d/")[1]) == ["d", "d/f", "d/link", "d/pipe", "d/sub", "d/sub/g", "d/x"]
    assert list(fetch(api, made, "/d/.")[1])[:2] == [".", "./f"]
    links = fetch(api, made, "/d")[1]
    assert links["d/sub/g"].linkname == "d/f" and links["d/link"].linkname == "/etc/passwd"
    assert fetch(api, made, "/v/f")[1] == {"f": b"v\n"} and fetch(api, made, "/b/host")[1] == {"host": b"of the host"}
    assert fetch(api, made, "/etc/hostname")[1]["hostname"].startswith(made[:12].encode())
    for path in ("/t/f", "/proc/version", "/nosuch"):
        code, words = refused(api.get_archive, made, path)
        assert (code, words) == (404, f"Could not find the file {path} in container {made}")
    for path in ("/d/f/", "/d/f/x", "/d/link/"):
        assert refused(api.get_archive, made, path) == (400, f"lstat {path}: not a directory")
    assert fetch(api, made, "../../../etc/passwd")[1]["passwd"].startswith(b"root:x:0")


def test_the_description_is_a_header_of_head_too(api, raw, make):
    made = make()
    status, headers, _ = raw.ask("HEAD", f"/containers/{made}/archive?path=/tmp")
    found = json.loads(base64.b64decode(headers["X-Docker-Container-Path-Stat"]))
    assert status == 200 and found["name"] == "tmp" and found["mode"] == (1 << 31 | 1 << 20 | 0o777)
    assert found["mtime"] == "1970-01-01T00:00:00Z"
    assert raw.ask("GET", f"/containers/{made}/archive")[0] == 400
    assert raw.ask("GET", "/containers/nosuch/archive?path=/")[0] == 404


def test_files_are_written_with_the_rules_of_docker(api, run):
    made = run("sh", "-c", "mkdir -p /t/dir /t/file/x; touch /t/dir/keep; ln -s /etc /t/link; sleep 1000")
    wait_until(lambda: b"link" in api.exec_start(api.exec_create(made, ["ls", "/t"])["Id"]))
    data = archive(("dir", b"", {"type": tarfile.DIRTYPE, "mode": 0o700, "uid": 5}), ("dir/f", b"new", {"uid": 7}))
    assert api.put_archive(made, "/t", data)
    shown = api.exec_start(api.exec_create(made, ["sh", "-c", "ls /t/dir; stat -c '%a %u' /t/dir /t/dir/f"])["Id"])
    assert shown == b"f\nkeep\n700 5\n644 7\n"
    assert refused(api.put_archive, made, "/nosuch", data)[0] == 404
    assert refused(api.put_archive, made, "/etc/passwd", data) == (400, "extraction point is not a directory")
    file = archive(("file", b"x"))
    url = f"{api.base_url}/v1.51/containers/{made}/archive"
    reply = api.put(url, params={"path": "/t", "noOverwriteDirNonDir": "1"}, data=file)
    assert (reply.status_code, reply.json()["message"]) == (
        400,
        'cannot overwrite directory "file" with non-directory "/t"',
    )
    assert api.put_archive(made, "/t/link", file) and fetch(api, made, "/etc/file")[1] == {"file": b"x"}
    assert api.put_archive(made, "/t", file) and fetch(api, made, "/t/file")[1] == {"file": b"x"}
    assert api.put_archive(made, "/", archive(("z", b"z"), compression="gz")) and fetch(api, made, "/z")[1]["z"] == b"z"
    assert api.put_archive(made, "/tmp", archive((".wh.passwd", b"w"))) and fetch(api, made, "/tmp/.wh.passwd")


def test_files_written_to_a_stopped_container_are_there_when_it_starts(api, make):
    made = make("cat", "/new/f", "/v/g", host={"Binds": ["later:/v"]}, User="1000:1000")
    assert api.put_archive(made, "/", archive(("new/f", b"one\n")))
    reply = api.put(
        f"{api.base_url}/v1.51/containers/{made}/archive",
        params={"path": "/v", "copyUIDGID": "1"},
        data=archive(("g", b"two\n")),
    )
    assert reply.status_code == 200
    api.start(made)
    assert api.logs(done(api, made)) == b"one\ntwo\n"
    _, found = fetch(api, made, "/v")
    assert list(found) == ["v", "v/g"]


@pytest.mark.parametrize(("user", "owner"), [("", b"7 8\n"), ("1000:1001", b"1000 1001\n")])
def test_files_belong_to_the_user_of_the_container_if_it_has_one(api, make, user, owner):
    made = make("stat", "-c", "%u %g", "/f", User=user)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        member = tarfile.TarInfo("f")
        member.uid, member.gid = 7, 8
        tar.addfile(member)
    api.put(
        f"{api.base_url}/v1.51/containers/{made}/archive",
        params={"path": "/", "copyUIDGID": "1"},
        data=content.getvalue(),
    )
    api.start(made)
    assert api.logs(done(api, made)) == owner


def test_what_is_read_only_is_not_written(api, make):
    made = make(host={"Binds": ["locked:/v:ro"], "ReadonlyRootfs": True})
    data = archive(("f", b"x"))
    assert refused(api.put_archive, made, "/tmp", data) == (400, "container rootfs is marked read-only")
    assert refused(api.put_archive, made, "/v", data) == (400, "mounted volume is marked read-only")


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_no_path_and_no_archive_leaves_the_container(api, run, running, tmp_path):
    canary = tmp_path / "canary"
    canary.write_text("host")
    up = "../" * 30
    script = f"ln -s / /root/top; ln -s {up}{tmp_path} /root/up; ln -s {tmp_path} /root/abs; ln -s /proc/1/root /root/p"
    made = run("sh", "-c", f"{script}; echo ready; {'sleep 1000' if running else 'true'}")
    wait_until(lambda: b"ready" in api.logs(made))
    if not running:
        done(api, made)
    for path in ("/root/up/canary", "/root/abs/canary", f"/root/top/{tmp_path}/canary", f"{up}{canary}", "/root/p/x"):
        assert refused(api.get_archive, made, path)[0] in (400, 404)
        assert refused(api.put_archive, made, os.path.dirname(path), archive(("canary", b"bad")))[0] in (400, 404)
    hostile = [
        archive((f"{up}{canary}", b"bad")),
        archive(("l", b"", {"type": tarfile.SYMTYPE, "linkname": str(tmp_path)}), ("l/canary", b"bad")),
        archive(("h", b"", {"type": tarfile.LNKTYPE, "linkname": f"{up}{canary}"})),
        b"no archive" * 100,
    ]
    for data in hostile:
        assert refused(api.put_archive, made, "/tmp", data)[0] == 400
    assert canary.read_text() == "host" and os.listdir(tmp_path) == ["canary"]


def test_a_link_that_changes_during_the_request_does_not_lead_to_the_host(api, run, tmp_path):
    (tmp_path / "f").write_text("secret of the host")
    swap = f"mkdir /a; while :; do ln -sfn {tmp_path} /x; rm /x; mkdir /x; echo own > /x/f; rm -r /x; done"
    made = run("sh", "-c", swap)
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        try:
            _, found = fetch(api, made, "/x/f")
            assert found in ({"f": b"own\n"}, {"f": b""}, {})
        except APIError as error:
            assert error.response.status_code in (400, 404)
        except (http.client.IncompleteRead, tarfile.ReadError, OSError):
            continue
    assert (tmp_path / "f").read_text() == "secret of the host"


def test_changes_are_listed_with_their_kinds(api, run):
    script = "rm /etc/passwd; mv /etc/group /etc/g2; rm -r /home; rm -r /var; mkdir /var; echo > /var/n; mkdir -p /a/b"
    made = done(api, run("sh", "-c", f"{script}; chmod 700 /root; touch /tmp/t; ln -sf x /bin/ls"))
    expected = [
        ("/a", 1), ("/a/b", 1), ("/bin", 0), ("/bin/ls", 0), ("/etc", 0), ("/etc/g2", 1), ("/etc/group", 2),
        ("/etc/passwd", 2), ("/home", 2), ("/root", 0), ("/tmp", 0), ("/tmp/t", 1), ("/var", 0), ("/var/n", 1),
    ]  # fmt: skip
    assert [(change["Path"], change["Kind"]) for change in api.diff(made)] == expected
    assert api.diff(done(api, run("true"))) is None


def test_what_a_replaced_directory_hides_is_deleted(api, run):
    tar = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=tar, mode="a") as image:
        for name in ("var/old", "var/kept"):
            image.addfile(tarfile.TarInfo(name), io.BytesIO())
    api.import_image_from_data(tar.getvalue(), repository="with-var", tag="1")
    made = done(api, run("sh", "-c", "rm -r /var; mkdir /var; touch /var/kept", Image="with-var:1"))
    assert [(c["Path"], c["Kind"]) for c in api.diff(made)] == [("/var", 0), ("/var/kept", 0), ("/var/old", 2)]
    api.remove_container(made)
    api.remove_image("with-var:1")


def test_export_has_the_root_and_no_volumes(api, run):
    made = done(api, run("sh", "-c", "rm /etc/passwd; echo x > /v/x; echo new > /new", host={"Binds": ["out:/v"]}))
    data = b"".join(api.export(made))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        assert tar.extractfile("new").read() == b"new\n"
    assert "bin/busybox" in names and "v" in names and not {"etc/passwd", "v/x"} & set(names)
    assert b"".join(api.export(made)) == data
    image = api.import_image_from_data(data, repository="again", tag="1")
    assert json.loads(image)["status"].startswith("sha256:")
    api.remove_image("again:1")


def test_a_client_that_stops_reading_or_sending_leaves_nothing_behind(api, place, run, raw):
    made = run("sh", "-c", "dd if=/dev/zero of=/big bs=1M count=30; echo ready; sleep 1000")
    wait_until(lambda: b"ready" in api.logs(made))
    task = f"/proc/{place.processes['runtime'].pid}/task"
    before = len(os.listdir(task))
    raw.request("GET", f"/containers/{made}/archive?path=/big")
    raw.getresponse().read(1000)
    raw.close()
    head = f"PUT /containers/{made}/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw.connect()
    raw.sock.sendall(head.encode() + b"200\r\n" + bytes(512))
    raw.sock.close()
    wait_until(lambda: len(os.listdir(task)) <= before)
    api.remove_container(made, force=True)
    wait_until(lambda: not (place.state / "containers" / made).exists())


def test_no_call_leaves_descriptors_or_mounts(api, place, run, make):
    process = f"/proc/{place.processes['runtime'].pid}"
    made = [run("sleep", "1000", host={"Binds": ["kept:/v"]}), make(host={"Binds": ["kept:/v"]})]

    def use_all():
        for container in made:
            fetch(api, container, "/etc")
            refused(api.get_archive, container, "/nosuch")
            refused(api.get_archive, container, "/etc/passwd/x")
            api.put_archive(container, "/v", archive(("f", b"x")))
            refused(api.put_archive, container, "/nosuch", b"")
            refused(api.put_archive, container, "/v", b"junk" * 300)
            b"".join(api.export(container))
            api.diff(container)

    def held():
        with open(f"{process}/mountinfo") as table:
            return len(os.listdir(f"{process}/fd")), len(table.readlines()), len(os.listdir(f"{process}/task"))

    use_all()
    before = held()
    for _ in range(3):
        use_all()
    wait_until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


def test_a_container_starts_while_its_files_are_read(api, make):
    made = make("sh", "-c", "cat /big | wc -c", host={})
    api.put_archive(made, "/", archive(("big", bytes(20 << 20))))
    chunks, _ = api.get_archive(made, "/big")
    next(chunks)
    api.start(made)
    assert api.logs(done(api, made)) == b"20971520\n"
    assert sum(map(len, chunks)) > 10 << 20


def test_sizes_leave_out_what_the_runtime_creates_and_count_links_once(api, run):
    made = done(api, run("sh", "-c", "head -c 1000 /dev/zero > /f; ln /f /g; ln -s target /link"))
    assert api.containers(all=True, size=True)[0]["SizeRw"] == 1000 + len("target")
    assert api.containers(all=True, size=True)[0]["Id"] == made


def test_a_client_that_sends_nothing_does_not_lock_a_stopped_container_for_long(monkeypatch):
    """Without the limit, the container could not be started or removed until the connection ends."""

    async def attempt():
        async def nothing():
            await asyncio.Event().wait()
            yield b""

        with pytest.raises(RequestTimeout):
            async for _ in archives._without_stalls(nothing()):
                pass

    monkeypatch.setattr(archives, "_STALL_SECONDS", 0.05)
    asyncio.run(attempt())


def test_the_list_of_changes_is_bounded(monkeypatch):
    monkeypatch.setattr(root_changes, "_LARGEST", 1000)
    changes = (root_changes.Change(b"/" + b"x" * 300 + bytes([65 + i]), root_changes.ADDED) for i in range(10))
    with pytest.raises(BadRequest, match="use netctl"):
        root_changes._sorted(changes)
    assert [c.path for c in root_changes._sorted([root_changes.Change(b"/a/b/c", 1)])] == [b"/a", b"/a/b", b"/a/b/c"]


def test_links_are_followed_as_often_as_the_kernel_does(tmp_path):
    for number in range(60):
        (tmp_path / f"l{number}").symlink_to(f"l{number + 1}")
    (tmp_path / "loop").symlink_to("loop")
    root = os.open(tmp_path, os.O_PATH)
    assert container_paths.link_target(root, "/l50") == "/l60" and container_paths.link_target(root, "/l0") == "/l40"
    assert container_paths.link_target(root, "/loop") == "/loop"
    os.close(root)
