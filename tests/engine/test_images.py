"""Images as clients see them: commit, names, lists, history, removal, prune, disk usage, as in Docker 28."""

import io
import json
import tarfile

import docker
import pytest

from tests.engine.test_image_archives import docker_archive, packed
from tests.engine.test_layers import Archive
from tests.installation import IMAGE


@pytest.fixture
def images(api):
    """The SDK's client; all images but busybox are removed after the test."""
    yield api
    for container in api.containers(all=True):
        api.remove_container(container["Id"], force=True)
    for _ in range(3):
        for image in api.images(all=True):
            for name in image["RepoTags"] or [image["Id"]]:
                if name != IMAGE:
                    try:
                        api.remove_image(name, force=True)
                    except docker.errors.APIError:
                        pass


def refused(call, *words, **options) -> tuple[int, str]:
    with pytest.raises(docker.errors.APIError) as caught:
        call(*words, **options)
    return caught.value.response.status_code, caught.value.explanation


def ids(images, **filters) -> set[str]:
    return {image["Id"] for image in images.images(filters=filters)}


def add(images, name: str, content: bytes = b"x", **fields) -> str:
    data = packed(docker_archive([Archive().add("f", data=content).bytes()], name, **fields))
    images.load_image(data)
    return images.inspect_image(name)["Id"]


def members(images, image: str) -> dict[str, list[str]]:
    """Return the names in the layers of a saved image, by layer, the top one last."""
    data = b"".join(images.get_image(image))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        [entry] = json.load(tar.extractfile("manifest.json"))
        return [tarfile.open(fileobj=tar.extractfile(path)).getnames() for path in entry["Layers"]]


def test_commit_adds_the_changes_as_a_layer(images, run, output):
    made = run("sh", "-c", "echo new > /new; rm /etc/group; mkdir -p /etc/x; touch /marker; exec sleep 60")
    while b"marker" not in images.exec_start(images.exec_create(made, ["ls", "/"])["Id"]):
        pass
    events = images.events(decode=True, filters={"event": ["commit", "pause", "unpause", "tag"]})
    image = images.commit(
        made, "made", "1", message="why", author="me", changes='CMD ["cat", "/new"]\nLABEL a=b\nHEALTHCHECK NONE'
    )["Id"]
    assert [next(events)["Action"] for _ in range(4)] == ["pause", "unpause", "commit", "tag"]
    shown = images.inspect_image("made:1")
    assert (shown["Id"], shown["Author"], shown["Comment"]) == (image, "me", "why")
    assert shown["Config"]["Cmd"] == ["cat", "/new"] and shown["Config"]["Labels"] == {"a": "b"}
    assert shown["Config"]["Healthcheck"] == {"Test": ["NONE"]}
    assert shown["Parent"] == images.inspect_image(IMAGE)["Id"] and len(shown["RootFS"]["Layers"]) == 2
    top = set(members(images, "made:1")[-1])
    assert {"new", "etc/.wh.group", "etc/x", "marker"} <= top
    assert not top & {".dockerenv", "dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"}
    entry, below = images.history("made:1")
    assert entry["Id"] == image and entry["Comment"] == "why" and entry["Size"] == 4 and entry["Tags"] == ["made:1"]
    assert entry["CreatedBy"].startswith("sh -c echo new") and below["Id"] == shown["Parent"]
    assert images.inspect_container(made)["State"]["Status"] == "running"
    images.remove_container(made, force=True)
    assert images.create_container_from_config({"Image": "made:1", "HostConfig": {"NetworkMode": "none"}}, None)


def test_a_commit_without_changes_adds_no_layer(images):
    made = images.create_container(IMAGE, ["true"], environment=["A=1"])["Id"]
    image = images.commit(made, conf={"Env": ["B=2"], "User": "7"})["Id"]
    shown = images.inspect_image(image)
    assert shown["RootFS"]["Layers"] == images.inspect_image(IMAGE)["RootFS"]["Layers"]
    assert shown["Config"]["Env"] == ["B=2", "A=1"] and shown["Config"]["User"] == "7"
    assert images.history(image)[0]["Size"] == 0
    code, words = refused(images.commit, made, changes="RUN x")
    assert code == 400 and words.startswith("RUN is not a valid change command")
    assert refused(images.commit, "nosuch")[0] == 404
    assert refused(images.commit, made, "Upper")[0] == 400


def test_a_list_shows_the_names_that_match(images):
    image = add(images, "app:1", Created="x")
    images.tag(image, "other/app", "2")
    images.tag(image, "app", "latest")
    assert images.inspect_image(image)["RepoTags"] == ["app:1", "app:latest", "other/app:2"]
    for pattern, names in {
        "app": ["app:1", "app:latest"],
        "app:l*": ["app:latest"],
        "*/app": ["other/app:2"],
        "app:[0-9]": ["app:1"],
        "app:?": ["app:1"],
    }.items():
        assert [row["RepoTags"] for row in images.images(filters={"reference": pattern})] == [names], pattern
    assert images.images(filters={"reference": "*:2"}) == []
    assert refused(images.images, filters={"reference": "["}) == (400, "syntax error in pattern")
    assert refused(images.images, filters={"foo": "bar"})[0] == 400


def test_filters_of_age_and_dangling(images):
    old = add(images, "old:1", b"old", created="2001-01-01T00:00:00Z", config={"Labels": {"k": "old"}})
    new = add(images, "new:1", b"new", created="2002-01-01T00:00:00+02:00", config={"Labels": {"k": "new"}})
    base = images.inspect_image(IMAGE)["Id"]
    assert ids(images, before="new:1") == {old} and ids(images, since="new:1") == {base}
    assert ids(images, until="1010000000") == {old, new} and ids(images, label="k=new") == {new}
    add(images, "old:1", b"newer")
    assert ids(images, dangling=True) == {old} and old not in ids(images, dangling=False)
    assert refused(images.images, filters={"dangling": "maybe"})[0] == 400


def test_sizes_that_are_shared(images, raw, make):
    made = make("true")
    images.commit(made, "again")
    rows = {row["Id"]: row for row in raw.ask("GET", "/images/json?shared-size=1")[2]}
    image = images.inspect_image(IMAGE)
    assert rows[image["Id"]]["SharedSize"] == image["Size"] and rows[image["Id"]]["Containers"] == 1
    usage = raw.ask("GET", "/v1.51/system/df")[2]
    assert usage["LayersSize"] == image["Size"] and {row["SharedSize"] for row in usage["Images"]} == {image["Size"]}
    assert usage["Containers"][0]["SizeRootFs"] == image["Size"] and usage["BuildCache"] == []
    assert raw.ask("GET", "/v1.51/system/df?type=volume")[2]["Images"] is None
    assert raw.ask("GET", "/system/df?type=foo")[0] == 400


def test_removal_by_name_tag_and_id(images):
    image = add(images, "app:1")
    images.tag(image, "app", "2")
    assert images.remove_image("app:2") == [{"Untagged": "app:2"}]
    images.tag(image, "other", "1")
    code, words = refused(images.remove_image, image)
    assert code == 409 and words.endswith("(must be forced) - image is referenced in multiple repositories")
    report = images.remove_image(image, force=True)
    assert report[:3] == [{"Untagged": "app:1"}, {"Untagged": "other:1"}, {"Deleted": image}] and len(report) == 4
    assert refused(images.remove_image, "app") == (404, "No such image: app:latest")
    layers = [entry["Deleted"] for entry in report[3:]]
    image = add(images, "app:1")
    assert images.remove_image(image[7:19]) == [{"Untagged": "app:1"}, {"Deleted": image}, {"Deleted": layers[0]}]


def test_an_image_in_use_is_not_removed_but_loses_its_names(images, run, make):
    image = add(images, "app:1")
    images.remove_image(image)
    base, running = images.inspect_image(IMAGE)["Id"], run("sleep", "60")
    code, words = refused(images.remove_image, IMAGE)
    assert code == 409 and "(must force) - container" in words and running[:12] in words
    code, words = refused(images.remove_image, base, force=True)
    assert code == 409 and f"(cannot be forced) - image is being used by running container {running[:12]}" in words
    assert images.remove_image(IMAGE, force=True) == [{"Untagged": IMAGE}]
    images.tag(base, *IMAGE.split(":"))
    images.remove_container(running, force=True)


def test_a_forced_removal_keeps_the_layers_of_stopped_containers(images, make):
    image = add(images, "app:1", b"content")
    made = images.create_container("app:1", ["true"])["Id"]
    code, words = refused(images.remove_image, image)
    assert code == 409 and f"(must be forced) - image is being used by stopped container {made[:12]}" in words
    report = images.remove_image(image, force=True)
    assert report == [{"Untagged": "app:1"}, {"Deleted": image}]
    stream, _ = images.get_archive(made, "/f")
    assert b"content" in b"".join(stream)
    assert "was removed" in refused(images.commit, made)[1]
    images.remove_container(made)
    assert [image["RepoTags"] for image in images.images()] == [[IMAGE]]


def test_images_that_others_are_based_on(images, make):
    parent = images.commit(make("a"), changes="LABEL n=1")["Id"]
    child = images.commit(images.create_container(parent, ["b"])["Id"], "child")["Id"]
    for container in images.containers(all=True):
        images.remove_container(container["Id"])
    assert {image["Id"] for image in images.images()} == {images.inspect_image(IMAGE)["Id"], child}
    assert parent in {image["Id"] for image in images.images(all=True)}
    code, words = refused(images.remove_image, parent, force=True)
    assert code == 409 and words.endswith("(cannot be forced) - image has dependent child images")
    assert [entry for entry in images.remove_image("child") if entry.get("Deleted") in (parent, child)] == [
        {"Deleted": child},
        {"Deleted": parent},
    ]


def test_prune_removes_what_is_not_used(images, make):
    old = add(images, "app:1", b"12345", config={"Labels": {"keep": "no"}})
    add(images, "app:1", b"1234567")
    used = add(images, "used:1", b"12")
    images.create_container("used:1", ["true"])
    report = images.prune_images({"label!": ["keep=no"]})
    assert report["ImagesDeleted"] is None
    report = images.prune_images()
    assert report["SpaceReclaimed"] == 5 and report["ImagesDeleted"][0] == {"Deleted": old}
    assert images.prune_images({"dangling": False, "until": "1000000000"})["ImagesDeleted"] is None
    make("true")
    assert images.prune_images({"dangling": False})["SpaceReclaimed"] == 7
    assert {image["Id"] for image in images.images()} == {used, images.inspect_image(IMAGE)["Id"]}


def test_a_container_for_another_platform(images, raw):
    body = {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}}
    code, _, answer = raw.ask("POST", "/containers/create?platform=linux/s390x", body)
    assert code == 404 and "does not match the specified platform (linux/s390x)" in answer["message"]
    data = packed(docker_archive([Archive().add("f").bytes()], "foreign:1", architecture="s390x"))
    code, _, answer = raw.ask("POST", "/images/load", data, {"Content-Type": "application/x-tar"})
    assert code == 400 and "is for linux/s390x" in answer["message"]
    raw.ask("POST", "/images/load?platform=linux/s390x", data, {"Content-Type": "application/x-tar"})
    code, _, answer = raw.ask("POST", "/containers/create", {**body, "Image": "foreign:1"})
    assert code == 201 and "does not match the detected host platform" in answer["Warnings"][0]


def test_an_image_without_layers(images):
    images.load_image(packed(docker_archive([], "empty:1")))
    made = images.create_container("empty:1", ["true"])["Id"]
    images.put_archive(made, "/", Archive().add("f", data=b"first").bytes())
    image = images.commit(made, "filled", "1")["Id"]
    assert members(images, "filled:1") == [["f"]] and images.inspect_image(image)["Size"] == 5
    assert images.history("empty:1") == [] and members(images, "empty:1") == []
    code, words = refused(images.start, made)
    assert code == 404 or "true" in words
