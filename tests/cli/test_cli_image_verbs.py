"""Requests, output and exit codes of the verbs of images and of disk usage, with recorded responses of Docker."""

import io
import json

from recorded import IMAGES


def test_images(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 7200.0)
    peer.on("GET", "/images/json", IMAGES)
    peer.on("DELETE", "/images/busybox", [{"Untagged": "busybox:latest"}, {"Deleted": "sha256:30"}])
    peer.on("POST", "/images/busybox/tag", (201, None))
    assert netctl("images").out == (
        "REPOSITORY            TAG       IMAGE ID       CREATED       SIZE\n"
        "busybox               latest    304f3d163196   2 hours ago   1.98MB\n"
        "localhost:5000/x/bb   t         304f3d163196   2 hours ago   1.98MB\n"
        "<none>                <none>    abababababab   2 hours ago   5B\n"
    )
    assert netctl("image", "ls", "-q", "busybox").out == "304f3d163196\nabababababab\n"
    assert json.loads(peer.asked[-1].query["filters"]) == {"reference": {"busybox": True}}
    assert netctl("rmi", "busybox").out == "Untagged: busybox:latest\nDeleted: sha256:30\n"
    netctl("tag", "busybox", "localhost:5000/b")
    assert peer.asked[-1].query == {"repo": "localhost:5000/b"}
    netctl("image", "tag", "busybox", "localhost:5000/b:1")
    assert peer.asked[-1].query == {"repo": "localhost:5000/b", "tag": "1"}


def test_an_archive_is_imported_and_its_id_printed(peer, netctl, tmp_path):
    peer.on("POST", "/images/create", {"status": "sha256:1"})
    archive = tmp_path / "root.tar"
    archive.write_bytes(b"tar" * 200_000)
    assert netctl("image", "import", "-c", 'CMD ["sh"]', "-m", "mine", str(archive), "base:1").out == "sha256:1\n"
    (request,) = peer.asked
    assert request.body == archive.read_bytes()
    assert request.query == {"fromSrc": "-", "repo": "base", "tag": "1", "message": "mine", "changes": 'CMD ["sh"]'}
    peer.on("POST", "/images/create", {"errorDetail": {"message": "unexpected EOF"}, "error": "unexpected EOF"})
    said = netctl("image", "import", str(archive))
    assert (said.code, said.err) == (1, "netctl: unexpected EOF\n")
    said = netctl("image", "import", "/nonexistent")
    assert (said.code, said.err) == (1, "netctl: /nonexistent: No such file or directory\n")


def test_an_archive_may_come_from_a_pipe(peer, start):
    peer.on("POST", "/images/create", {"status": "sha256:1"})
    process = start("image", "import", "-", "base")
    assert process.communicate(b"x" * 300_000, timeout=10)[0] == b"sha256:1\n"
    assert peer.asked[0].body == b"x" * 300_000


def test_history_is_a_table(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 60.0)
    layer = {"Id": IMAGES[0]["Id"], "Created": 0, "CreatedBy": "x" * 60, "Size": 0, "Comment": "Imported from -"}
    peer.on("GET", "/images/busybox/history", [layer])
    assert netctl("history", "busybox").out.splitlines()[1] == (
        f"304f3d163196   About a minute ago   {'x' * 44}…   0B        Imported from -"
    )


DIGEST = "sha256:" + "d" * 64


def _image(digit: str, *names: str, **fields) -> dict:
    return {"Id": "sha256:" + digit * 64, "RepoTags": [*names], "RepoDigests": [], "Created": 0, **fields}


def test_images_are_listed_with_docker_s_columns(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 7200.0)
    monkeypatch.setenv("TZ", "UTC")
    images = [
        _image(
            "3", "a:1", "a:2", "b:1", RepoDigests=[f"a@{DIGEST}", f"c@{DIGEST}"], SharedSize=7, Size=9, Containers=-1
        ),
        _image("c", Size=5),
    ]
    peer.on("GET", "/images/json", images)
    assert [line.split()[:2] for line in netctl("images").out.splitlines()[1:]] == [
        ["a", "1"],
        ["a", "2"],
        ["b", "1"],
        ["c", "<none>"],
        ["<none>", "<none>"],
    ]
    lines = netctl("images", "--digests").out.splitlines()
    assert lines[0].split() == ["REPOSITORY", "TAG", "DIGEST", "IMAGE", "ID", "CREATED", "SIZE"]
    assert [line.split()[2] for line in lines[1:]] == [DIGEST, DIGEST, "<none>", DIGEST, "<none>"]
    shown = netctl("image", "ls", "--format", "{{.Repository}}:{{.Tag}} {{.SharedSize}} {{.Containers}}").out
    assert shown.splitlines()[0] == "a:1 7B N/A"
    assert json.loads(netctl("image", "ls", "--format", "json").out.splitlines()[0])["Repository"] == "a"
    assert netctl("images", "-q", "--no-trunc").out == f"sha256:{'3' * 64}\nsha256:{'c' * 64}\n"


def test_an_archive_of_images_is_loaded(peer, netctl, tmp_path):
    peer.on("POST", "/images/load", {"stream": "Loaded image: app:1\n"})
    archive = tmp_path / "images.tar"
    archive.write_bytes(b"tar" * 100_000)
    assert netctl("load", "-i", str(archive), "--platform", "linux/arm64").out == "Loaded image: app:1\n"
    (request,) = peer.asked
    assert request.body == archive.read_bytes() and request.query == {"quiet": "1", "platform": "linux/arm64"}
    peer.on("POST", "/images/load", {"errorDetail": {"message": "it is damaged"}, "error": "it is damaged"})
    said = netctl("image", "load", "--input", str(archive))
    assert (said.code, said.err) == (1, "netctl: it is damaged\n")


def test_a_saved_archive_exists_only_when_it_is_complete(peer, netctl, tmp_path):
    peer.on("GET", "/images/get", b"x" * 300_000)
    target = tmp_path / "out.tar"
    assert netctl("save", "-o", str(target), "a", "b:1").code == 0
    assert target.read_bytes() == b"x" * 300_000 and peer.asked[0].path == "/images/get"
    peer.on("GET", "/images/get", (404, {"message": "No such image: a:latest"}))
    assert netctl("save", "-o", str(tmp_path / "other.tar"), "a").err == "netctl: No such image: a:latest\n"
    assert sorted(path.name for path in tmp_path.glob("*tar*")) == ["out.tar"]


def test_a_container_is_committed(peer, netctl):
    peer.on("POST", "/commit", (201, {"Id": "sha256:12"}))
    words = ("-m", "why", "-a", "me", "-c", "CMD x", "--pause=false", "web", "host:5000/app:1")
    assert netctl("commit", *words).out == "sha256:12\n"
    assert peer.asked[0].query == {
        "container": "web", "repo": "host:5000/app", "tag": "1", "author": "me", "comment": "why", "pause": "0",
        "changes": "CMD x",
    }  # fmt: skip
    netctl("container", "commit", "web")
    assert peer.asked[1].query["pause"] == "1"


def test_images_are_pruned_after_a_question(peer, netctl, monkeypatch):
    peer.on(
        "POST", "/images/prune", {"ImagesDeleted": [{"Untagged": "a:1"}, {"Deleted": "sha256:1"}], "SpaceReclaimed": 7}
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "all dangling images" in netctl("image", "prune").out and not peer.asked
    said = netctl("image", "prune", "-af", "--filter", "until=1h")
    assert said.out == "Deleted Images:\nuntagged: a:1\ndeleted: sha256:1\n\nTotal reclaimed space: 7B\n"
    assert json.loads(peer.asked[0].query["filters"]) == {"until": {"1h": True}, "dangling": {"false": True}}


USAGE = {
    "LayersSize": 1000,
    "Images": [
        _image("1", "a:1", Size=900, SharedSize=100, Containers=1),
        _image("2", Size=200, SharedSize=100, Containers=0),
    ],
    "Containers": [
        {"Id": "c" * 64, "Names": ["/web"], "Image": "a:1", "Command": "sh", "Created": 0, "State": "exited",
         "Status": "Exited (0)", "Ports": [], "SizeRw": 50}
    ],
    "Volumes": [
        {"Name": "v", "UsageData": {"Size": 5, "RefCount": 0}},
        {"Name": "w", "UsageData": {"Size": 15, "RefCount": 2}},
    ],
    "BuildCache": [
        {"ID": "k" * 25, "Type": "regular", "Size": 30, "CreatedAt": "1970-01-01T00:00:00.000000000Z",
         "LastUsedAt": None, "UsageCount": 2, "Shared": False, "InUse": False}
    ],
}  # fmt: skip


def test_disk_usage_has_docker_s_columns(peer, netctl, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 7200.0)
    peer.on("GET", "/v1.51/system/df", USAGE)
    assert netctl("system", "df").out == (
        "TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\n"
        "Images          2         1         1kB       200B (20%)\n"
        "Containers      1         0         50B       50B (100%)\n"
        "Local Volumes   2         1         20B       5B (25%)\n"
        "Build Cache     1         0         30B       30B\n"
    )
    shown = netctl("system", "df", "-v").out
    assert "a            1         111111111111   2 hours ago   900B      100B          800B          1" in shown
    assert (
        "cccccccccccc   a:1       " in shown
        and "Build cache usage: 30B" in shown
        and "v             0         5B" in shown
    )
    assert netctl("system", "df", "--format", "{{.Type}} {{.Size}}").out.splitlines()[3] == "Build Cache 30B"
    found = json.loads(netctl("system", "df", "-v", "--format", "json").out)
    assert {"Images", "Containers", "Volumes", "BuildCache"} == set(found) and found["BuildCache"][0][
        "Type"
    ] == "regular"
    form = "{{range .Volumes}}{{.Name}} {{.Size}};{{end}}"
    assert netctl("system", "df", "-v", "--format", form).out == "v 5B;w 15B;\n"
