"""The container's layer, volumes, bind mounts, tmpfs and images."""

import gzip
import io
import os
import tarfile

import pytest
from docker.errors import APIError, ImageNotFound, NotFound

from tests.installation import IMAGE, busybox_tar, wait_until


def refused(call, *args, **kwargs):
    with pytest.raises(APIError) as error:
        call(*args, **kwargs)
    return error.value.response.status_code, error.value.explanation


def test_a_container_writes_to_its_own_layer_and_the_image_never_changes(api, run, output, place):
    made = run("sh", "-c", "echo mine > /etc/passwd; rm /etc/group; touch /new; sleep 1000")
    assert output("sh", "-c", "cat /etc/passwd /etc/group; ls /")[1].count("root:x:0") == 2
    folder = place.state / "containers" / made
    api.stop(made, timeout=0)
    api.start(made)
    assert api.exec_start(api.exec_create(made, ["cat", "/etc/passwd"])["Id"]) == b"mine\n"
    assert api.containers(filters={"id": made}, size=True)[0]["SizeRw"] > 0
    api.remove_container(made, force=True)
    assert not folder.exists()


def test_a_read_only_root_keeps_what_must_be_written_writable(output):
    script = "touch /x; touch /etc/hosts; echo ok > /dev/shm/f; cat /dev/shm/f; echo t > /scratch/f; cat /scratch/f"
    code, text = output("sh", "-c", script, host={"ReadonlyRootfs": True, "Tmpfs": {"/scratch": "size=1m"}})
    assert text.count("Read-only") == 2 and {"ok", "t"} <= set(text.split("\n")) and code == 0


def test_the_files_of_netd_are_in_etc(output):
    text = output("sh", "-c", "cat /etc/hostname; hostname; head -1 /etc/hosts", Hostname="box")[1]
    assert text == "box\nbox\n127.0.0.1\tlocalhost\n"


# Volumes


def test_a_named_volume_is_made_when_missing_and_outlives_containers(api, output, place):
    assert output("sh", "-c", "echo kept > /d/f", host={"Binds": ["data:/d"]})[0] == 0
    assert output("cat", "/d/f", host={"Mounts": [{"Type": "volume", "Source": "data", "Target": "/d"}]})[1] == "kept\n"
    assert (place.state / "volumes/data/_data/f").read_text() == "kept\n"
    code, text = output("touch", "/d/x", host={"Binds": ["data:/d:ro"]})
    assert code == 1 and "Read-only" in text
    shown = api.inspect_volume("data")
    assert (shown["Driver"], shown["Scope"]) == ("local", "local") and shown["Mountpoint"].endswith(
        "volumes/data/_data"
    )


def test_a_new_volume_is_filled_from_the_image_with_owners_and_modes(api, run, output, place):
    base = run("sh", "-c", "true")
    api.wait(base)
    tar = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=tar, mode="a") as archive:
        for name, kind, mode, link in (("app", "d", 0o750, ""), ("app/f", "f", 0o640, ""), ("app/l", "l", 0o777, "f")):
            info = tarfile.TarInfo(name)
            info.type = {"d": tarfile.DIRTYPE, "f": tarfile.REGTYPE, "l": tarfile.SYMTYPE}[kind]
            info.mode, info.uid, info.gid, info.linkname = mode, 1000, 100, link
            archive.addfile(info)
    api.import_image_from_data(tar.getvalue(), repository="filled", tag="1")
    shown = output(
        "sh", "-c", "stat -c '%a %u:%g' /v /v/f; readlink /v/l", Image="filled:1", host={"Binds": ["copied:/app"]}
    )
    assert shown[0] == 1 or shown[1]
    code, text = output("sh", "-c", "stat -c '%a %u:%g' /v /v/f; readlink /v/l", host={"Binds": ["copied:/v"]})
    assert (code, text) == (0, "750 1000:100\n640 1000:100\nf\n")
    assert output("ls", "/app", Image="filled:1", host={"Binds": ["bare:/app:nocopy"]})[1] == ""
    for container in api.containers(all=True):
        api.remove_container(container["Id"], force=True)
    api.remove_image("filled:1")


def test_anonymous_volumes_go_with_their_container_when_asked(api, make):
    first, second = make(Volumes={"/data": {}}), make(Volumes={"/data": {}}, host={"AutoRemove": True})
    assert len(api.volumes()["Volumes"]) == 2
    api.remove_container(first)
    api.start(second)
    api.stop(second, timeout=0)
    wait_until(lambda: len(api.volumes()["Volumes"]) == 1)
    left = api.volumes()["Volumes"]
    assert len(left[0]["Name"]) == 64 and api.containers(all=True) == []
    assert api.prune_volumes()["VolumesDeleted"] == [left[0]["Name"]]


def test_volumes_are_made_listed_refused_and_removed(api, raw, make, place):
    api.create_volume("vol", labels={"a": "b"})
    assert api.create_volume("vol")["Labels"] == {"a": "b"}
    assert [v["Name"] for v in api.volumes(filters={"label": "a=b"})["Volumes"]] == ["vol"]
    made = make(host={"Binds": ["vol:/v"]})
    assert api.volumes(filters={"dangling": True})["Volumes"] == []
    code, words = refused(api.remove_volume, "vol")
    assert code == 409 and made in words
    api.remove_container(made)
    api.remove_volume("vol")
    assert not (place.state / "volumes/vol").exists()
    assert refused(api.inspect_volume, "vol") == (404, "get vol: no such volume")
    assert raw.ask("DELETE", "/volumes/vol?force=1")[0] == 204
    for name in ("a b", "../x", "-x", "a/b"):
        assert refused(api.create_volume, name)[0] == 400
    assert refused(api.create_volume, "vol", driver="nfs")[0] == 404
    assert refused(api.create_volume, "vol", driver_opts={"type": "nfs"})[0] == 400
    assert api.volumes()["Volumes"] == []


def test_prune_spares_named_volumes_unless_told(api, raw):
    api.create_volume("named")
    assert raw.ask("POST", "/volumes/prune")[2]["VolumesDeleted"] is None
    assert raw.ask("POST", '/volumes/prune?filters={"all":["true"]}')[2]["VolumesDeleted"] == ["named"]


def test_volumes_from_another_container(api, make, output):
    donor = make(host={"Binds": ["shared:/s"]})
    assert output("sh", "-c", "echo x > /s/f; cat /s/f", host={"VolumesFrom": [donor]})[1] == "x\n"
    assert "Read-only" in output("touch", "/s/f", host={"VolumesFrom": [f"{donor}:ro"]})[1]


# Binds


def test_bind_mounts_share_a_folder_of_the_host(output, tmp_path):
    (tmp_path / "f").write_text("from the host\n")
    assert output("sh", "-c", "cat /x/f; echo back > /x/g", host={"Binds": [f"{tmp_path}:/x"]})[1] == "from the host\n"
    assert (tmp_path / "g").read_text() == "back\n"
    mount = {"Type": "bind", "Source": str(tmp_path / "f"), "Target": "/etc/one", "ReadOnly": True}
    assert "Read-only" in output("sh", "-c", "cat /etc/one; echo > /etc/one", host={"Mounts": [mount]})[1]


def test_missing_sources_are_made_by_one_spelling_and_refused_by_the_other(api, make, tmp_path):
    make(host={"Binds": [f"{tmp_path}/made:/x"]})
    assert (tmp_path / "made").is_dir()
    before = len(api.containers(all=True))
    mount = {"Type": "bind", "Source": f"{tmp_path}/absent", "Target": "/x"}
    code, words = refused(make, host={"Mounts": [mount]})
    assert code == 400 and f"bind source path does not exist: {tmp_path}/absent" in words
    assert len(api.containers(all=True)) == before


def test_a_source_that_is_gone_at_the_start_fails_the_start_alone(api, make, tmp_path):
    made = make(host={"Binds": [f"{tmp_path}/gone:/x"]})
    os.rmdir(tmp_path / "gone")
    assert refused(api.start, made)[0] == 400
    (tmp_path / "gone").mkdir()
    api.start(made)


# Images


def test_images_are_listed_named_and_inspected(api):
    api.tag(IMAGE, "localhost:5000/team/box", "1.0")
    (shown,) = [image for image in api.images() if IMAGE in image["RepoTags"]]
    assert sorted(shown["RepoTags"]) == [IMAGE, "localhost:5000/team/box:1.0"] and shown["Size"] > 1_000_000
    full = api.inspect_image("localhost:5000/team/box:1.0")
    assert (full["Id"], full["Os"], full["Architecture"]) == (shown["Id"], "linux", "amd64")
    assert full["RootFS"]["Layers"] and api.inspect_image(full["Id"][7:19])["Id"] == full["Id"]
    assert api.inspect_image("docker.io/library/busybox")["Id"] == full["Id"]
    assert api.history(IMAGE)[0]["Id"] == full["Id"]
    assert [i["Id"] for i in api.images(filters={"reference": "localhost:5000/*/box"})] == [full["Id"]]
    assert api.remove_image("localhost:5000/team/box:1.0") == [{"Untagged": "localhost:5000/team/box:1.0"}]
    assert refused(api.tag, IMAGE, "Bad Name")[0] == 400
    assert refused(api.inspect_image, "absent") == (404, "No such image: absent:latest")


def test_an_import_is_compressed_or_not_and_changes_are_applied(api, output):
    data = gzip.compress(busybox_tar())
    api.import_image_from_data(
        data, repository="changed", tag="1", changes=["CMD echo from the image", "ENV A=b", "USER user"]
    )
    config = api.inspect_image("changed:1")["Config"]
    assert (config["Cmd"], config["User"]) == (["/bin/sh", "-c", "echo from the image"], "user")
    made = api.create_container_from_config({"Image": "changed:1", "HostConfig": {"NetworkMode": "none"}}, None)["Id"]
    api.start(made)
    assert api.wait(made)["StatusCode"] == 0 and api.logs(made) == b"from the image\n"
    code, words = refused(api.remove_image, "changed:1")
    assert code == 409 and "is using its referenced image" in words
    api.remove_container(made)
    report = api.remove_image("changed:1")
    assert report[0] == {"Untagged": "changed:1"} and "Deleted" in report[1]
    with pytest.raises(ImageNotFound):
        api.inspect_image("changed:1")
    api.inspect_image(IMAGE)


def test_layers_are_shared_and_go_with_their_last_image(api, place):
    layers = place.state / "layers"
    before = set(layers.iterdir())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("only"))
    api.import_image_from_data(out.getvalue(), repository="one", tag="1")
    api.import_image_from_data(out.getvalue(), repository="two", tag="1", changes=["LABEL x=y"])
    (layer,) = set(layers.iterdir()) - before
    api.remove_image("one:1")
    assert layer.exists()
    api.remove_image("two:1")
    assert set(layers.iterdir()) == before


def test_an_image_that_lost_its_name_is_pruned(api, raw):
    for text in (b"1", b"2"):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            info = tarfile.TarInfo("f")
            info.size = 1
            tar.addfile(info, io.BytesIO(text))
        api.import_image_from_data(out.getvalue(), repository="same", tag="1")
    assert [image["RepoTags"] for image in api.images(filters={"dangling": True})] == [[]]
    assert len(raw.ask("POST", "/images/prune")[2]["ImagesDeleted"]) == 2
    assert api.images(filters={"dangling": True}) == []
    api.remove_image("same:1")


def test_imports_that_cannot_be(api, raw):
    images = api.images()
    tar = {"Content-Type": "application/x-tar"}
    path = "/images/create?fromSrc=-&repo=bad&tag=1"
    assert raw.ask("POST", path, b"not a tar archive" * 100, tar)[0] == 400
    assert raw.ask("POST", path + "&changes=RUN+x", busybox_tar(), tar)[0] == 400
    assert raw.ask("POST", "/images/create?fromSrc=-&repo=Bad+Name", busybox_tar(), tar)[0] == 400
    code, _, answer = raw.ask("POST", "/images/create?fromImage=nginx&tag=latest")
    assert code == 500 and answer["message"].startswith('Get "https://registry-1.docker.io/v2/": dial tcp: lookup')
    assert api.images() == images


def test_missing_images_are_told_in_dockers_words(make):
    with pytest.raises(NotFound) as error:
        make(Image="nosuch")
    assert error.value.explanation == "No such image: nosuch:latest"
