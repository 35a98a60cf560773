"""Options of volumes and mounts: the local driver, subpaths, images, recursion, the host's /proc, /sys and /dev."""

import asyncio
import io
import json
import subprocess
import threading
from pathlib import Path

import pytest
from docker.errors import APIError

from netd.common.errors import BadRequest
from runtime.storage import local_volumes
from tests.installation import IMAGE, needs_host_namespaces, wait_until


def refused(call, *args, **kwargs):
    with pytest.raises(APIError) as error:
        call(*args, **kwargs)
    return error.value.response.status_code, error.value.explanation


def mounted(place):
    """Return the volumes that the daemon has mounted."""
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if str(place.state) in line]


def build(api, tag, step):
    """Build an image of the busybox image and one step."""
    file = io.BytesIO(f"FROM {IMAGE}\n{step}\n".encode())
    answers = list(api.build(fileobj=file, tag=tag, rm=True, network_mode="none", decode=True))
    assert "error" not in answers[-1], answers


def volume(name, target="/v", **options):
    return {"Mounts": [{"Type": "volume", "Source": name, "Target": target, "VolumeOptions": options}]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"foo": "x"}, 'invalid option: "foo"'), ({"Type": "x"}, 'invalid option: "Type"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'), ({"device": "/x"}, 'missing required option: "type"'),
        ({"o": "bind"}, 'missing required option: "device"'), ({"size": "10m"}, "no quota support"),
        ({"size": "x"}, "invalid size: 'x'"),
    ],
)  # fmt: skip
def test_options_of_the_local_driver_are_checked_as_docker_checks_them(options, words):
    with pytest.raises(BadRequest, match=words):
        local_volumes.check("name", options)


def test_options_become_the_arguments_of_mount():
    nfs = local_volumes.plan({"type": "nfs", "device": ":/x", "o": "addr=files.example,ro,nosuid,hard"})
    assert nfs == (":/x", "nfs", 3, "addr=files.example,hard") and local_volumes.host_of(nfs) == "files.example"
    assert local_volumes.with_address(nfs, "192.0.2.1").data == "addr=192.0.2.1,hard"
    assert local_volumes.plan({"type": "", "device": "", "o": ""}) is None and local_volumes.plan(None) is None


def test_a_tmpfs_volume_is_shared_while_a_container_uses_it(api, place, run, output):
    api.create_volume("memory", driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"})
    first = run("sh", "-c", "echo kept > /v/f; sleep 1000", host={"Binds": ["memory:/v"]})
    wait_until(lambda: output("cat", "/v/f", host={"Binds": ["memory:/v"]})[1] == "kept\n")
    assert "size=1024k,uid=1000" in output("grep", " /v ", "/proc/mounts", host={"Binds": ["memory:/v"]})[1]
    assert mounted(place) == [f"{place.state}/volumes/memory/_data"]
    place.kill("runtime")
    place.start("runtime")
    api.stop(first, timeout=0)
    wait_until(lambda: mounted(place) == [])
    assert output("ls", "/v", host={"Binds": ["memory:/v"]})[1] == ""
    assert api.inspect_volume("memory")["Options"]["type"] == "tmpfs"


def test_a_bind_volume_shows_the_directory_and_is_removed_without_it(api, place, output, make, tmp_path):
    (tmp_path / "f").write_text("of the host")
    api.create_volume("bound", driver_opts={"type": "none", "device": str(tmp_path), "o": "bind"})
    assert output("sh", "-c", "cat /v/f; echo new > /v/g", host={"Binds": ["bound:/v"]})[1] == "of the host"
    wait_until(lambda: mounted(place) == [])
    made = make(host={"Binds": ["bound:/v"]})
    chunks, _ = api.get_archive(made, "/v/g")
    assert b"new" in b"".join(chunks) and mounted(place) == []
    code, words = refused(api.remove_volume, "bound")
    assert code == 409 and made in words
    for container in api.containers(all=True):
        api.remove_container(container["Id"])
    api.remove_volume("bound")
    assert (tmp_path / "g").read_text() == "new\n" and sorted(p.name for p in tmp_path.iterdir()) == ["f", "g"]


def test_errors_of_a_mount_come_when_the_volume_is_used(api, place, make):
    for name, options, words in (
        ("files", {"type": "nfs", "device": ":/x", "o": "addr=127.0.0.1"}, "does not support file systems of type nfs"),
        ("lost", {"type": "none", "device": "/no/such", "o": "bind"}, "no such file or directory"),
    ):
        api.create_volume(name, driver_opts=options)
        made = make(host={"Binds": [f"{name}:/v"]})
        code, message = refused(api.start, made)
        assert code == 500 and words in message and f"mount {options['device']}:{place.state}/volumes/{name}" in message
        code, message = refused(make, host={"Binds": [f"{name}:/etc"]})
        assert code == 500 and words in message
    assert mounted(place) == [] and len(api.containers(all=True)) == 2


def test_plugins_clusters_and_updates_are_refused_by_name(api, raw):
    code, words = refused(api.create_volume, "vol", driver="rexray")
    assert code == 404 and 'plugin "rexray" not found' in words
    assert raw.ask("POST", "/volumes/create", {"Name": "vol", "ClusterVolumeSpec": {}})[0] == 503
    code, _, answer = raw.ask("PUT", "/volumes/vol", {})
    assert (code, answer["message"]) == (
        503,
        "volume update only valid for cluster volumes, but swarm is unavailable",
    )


def test_volumes_are_filtered_and_pruned_by_label(api, raw):
    for name, labels in (("one", {"a": "1"}), ("two", {"a": "2", "keep": ""}), ("three", {})):
        api.create_volume(name, labels=labels)

    def names(**filters):
        return sorted(found["Name"] for found in api.volumes(filters=filters)["Volumes"])

    assert names(label="a") == ["one", "two"] and names(label="a=1") == ["one"] and names(name="t") == ["three", "two"]
    assert names(driver="local", dangling=True) == ["one", "three", "two"] and names(driver="other") == []
    assert raw.ask("GET", '/volumes?filters={"zork":["x"]}')[0] == 400
    assert raw.ask("GET", '/volumes?filters={"dangling":["maybe"]}')[0] == 400
    pruned = raw.ask("POST", '/volumes/prune?filters={"all":["1"],"label!":["keep"],"label":["a"]}')[2]
    assert pruned["VolumesDeleted"] == ["one"]


# Subpaths and images


def test_a_subpath_of_a_volume_is_mounted_and_cannot_leave_it(output, run, api):
    script = "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s a /v/in; ln -s /etc /v/abs; ln -s ../.. /v/up"
    assert output("sh", "-c", script, host={"Binds": ["parts:/v"]})[0] == 0
    for path in ("a", "in", "a/../a", "./a/"):
        assert output("cat", "/m/b/f", host=volume("parts", "/m", Subpath=path))[1] == "deep\n"
    assert output("cat", "/m", host=volume("parts", "/m", Subpath="a/b/f"))[1] == "deep\n"
    for path, words in (
        ("abs", "path concatenation escapes the base directory"), ("up", "path concatenation escapes the base"),
        ("no", "no such file or directory"),
    ):  # fmt: skip
        assert words in refused(run, host=volume("parts", "/m", Subpath=path))[1]
    for path in ("../x", "/a", "a/../../x"):
        assert "subpath must be a relative path" in refused(run, host=volume("parts", "/m", Subpath=path))[1]


def test_an_image_is_mounted_read_only_and_is_then_in_use(api, output, make, run):
    build(api, "layered:1", "RUN mkdir /data; echo second > /data/f; rm /etc/passwd")
    whole = {"Mounts": [{"Type": "image", "Source": "layered:1", "Target": "/m"}]}
    code, text = output("sh", "-c", "cat /m/data/f; ls /m/etc; touch /m/x", host=whole)
    assert code == 1 and text.startswith("second\n") and "passwd" not in text and "Read-only" in text
    part = {"Mounts": [{"Type": "image", "Source": "layered:1", "Target": "/m", "ImageOptions": {"Subpath": "data"}}]}
    assert output("cat", "/m/f", host=part)[1] == "second\n"
    made = make(host=part)
    (shown,) = api.inspect_container(made)["Mounts"]
    assert (shown["Type"], shown["Name"], shown["RW"], shown["Destination"]) == ("image", "layered:1", False, "/m")
    for container in api.containers(all=True):
        if container["Id"] != made:
            api.remove_container(container["Id"])
    assert refused(api.remove_image, "layered:1")[0] == 409
    chunks, _ = api.get_archive(made, "/m/f")
    assert b"second" in b"".join(chunks)
    api.remove_container(made)
    api.remove_image("layered:1")
    missing = {"Mounts": [{"Type": "image", "Source": "nosuch", "Target": "/m"}]}
    assert refused(make, host=missing)[0] == 404


# Binds


@pytest.mark.parametrize(
    ("options", "read_only", "expected"),
    [
        ({}, False, "in\nwritten\n"), ({"NonRecursive": True}, False, "written\n"), ({}, True, "in\n"),
        ({"ReadOnlyNonRecursive": True}, True, "in\nwritten\n"), ({"ReadOnlyForceRecursive": True}, True, "in\n"),
        ({"NonRecursive": True}, True, ""),
    ],
)  # fmt: skip
def test_recursion_of_a_bind_is_chosen(output, tmp_path, options, read_only, expected):
    (tmp_path / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "inner", tmp_path / "sub"], check=True)
    try:
        (tmp_path / "sub/in").touch()
        bind = {
            "Type": "bind", "Source": str(tmp_path), "Target": "/m", "ReadOnly": read_only, "BindOptions": options
        }  # fmt: skip
        script = "ls /m/sub; { echo > /m/sub/w; } 2>/dev/null && echo written; true"
        assert output("sh", "-c", script, host={"Mounts": [bind]}) == (0, expected)
    finally:
        subprocess.run(["umount", tmp_path / "sub"], check=True)


@needs_host_namespaces
def test_the_hosts_system_folders_are_mounted_where_they_are_in_the_container(output):
    script = "ls /sys/kernel | wc -l; ls /sys/firmware; { touch /sys/fs/cgroup/x; } 2>&1; cat /sys/class/net/lo/ifindex"
    code, text = output("sh", "-c", script, host={"Binds": ["/sys:/sys:ro"]})
    assert text.endswith("1\n") and "Read-only" in text and int(text.split()[0]) > 3
    script = "cat /proc/1/comm; { echo 1 > /proc/sys/kernel/panic; } 2>&1; cat /proc/keys; ls -d /proc/self"
    text = output("sh", "-c", script, host={"Binds": ["/proc:/proc"]})[1]
    assert "Read-only" in text and text.endswith("/proc/self\n")
    text = output("sh", "-c", "ls /dev; echo > /dev/null && ls /dev/pts /dev/shm", host={"Binds": ["/dev:/dev"]})[1]
    assert {"kmsg", "null"} <= set(text.split()) and text.endswith("/dev/shm:\n")
    code, text = output("head", "-c", "1", "/dev/kmsg", host={"Binds": ["/dev:/dev"]})
    assert code == 1 and "not permitted" in text


@pytest.mark.parametrize("bind", ["/etc:/proc", "/etc:/sys", "/etc:/dev", "data:/dev", "/proc/sys:/proc/sys"])
def test_nothing_else_is_mounted_over_the_system_folders(make, bind):
    code, words = refused(make, host={"Binds": [bind]})
    assert code == 400 and "is set up by the runtime and cannot be a mount target" in words


def test_mounts_are_shown_and_found_as_docker_does(api, run, tmp_path):
    made = run(
        "sleep", "1000",
        host={"Tmpfs": {"/t": "size=1m"}, "Binds": [f"{tmp_path}:/b", "named:/n"],
              "Mounts": [{"Type": "tmpfs", "Target": "/shown"}]},
    )  # fmt: skip
    shown = {point["Destination"]: point["Type"] for point in api.inspect_container(made)["Mounts"]}
    assert shown == {"/b": "bind", "/n": "volume", "/shown": "tmpfs"}
    assert b"tmpfs /t tmpfs" in api.exec_start(api.exec_create(made, ["cat", "/proc/mounts"])["Id"])
    for text, found in (("named", 1), ("/b", 1), (str(tmp_path), 1), ("/shown", 1), ("/t", 0), ("nosuch", 0)):
        assert len(api.containers(filters={"volume": text})) == found


def test_a_container_is_recognized_by_its_marker_file(output, api):
    assert output("stat", "-c", "%s %a", "/.dockerenv")[1] == "0 755\n"
    assert api.diff(api.containers(all=True)[0]["Id"]) is None


# Locks


def test_a_long_copy_into_a_volume_delays_no_other_volume(api, place, make):
    build(api, "many:1", "RUN mkdir /many; cd /many; i=0; while [ $i -lt 2500 ]; do echo > $i; i=$((i+1)); done")
    copying = threading.Thread(target=make, kwargs={"Image": "many:1", "host": {"Binds": ["slow:/many"]}})
    copying.start()
    wait_until((place.state / "volumes/slow").exists)
    api.create_volume("quick")
    api.remove_volume("quick")
    assert copying.is_alive(), "the copy ended before the other volume was created: make it longer"
    assert refused(api.remove_volume, "slow")[0] == 409
    copying.join()
    assert len(list((place.state / "volumes/slow/_data").iterdir())) == 2500
    for container in api.containers(all=True):
        api.remove_container(container["Id"])
    api.remove_image("many:1")


def test_a_volume_of_a_container_that_is_being_created_is_not_pruned():
    from netd.common.errors import Conflict
    from runtime.storage.volumes import Volumes

    async def attempt():
        volumes = Volumes(None, None, None, None)
        volumes._volumes["v"] = object()
        with volumes.claim("v"), pytest.raises(Conflict, match="is being created"):
            await volumes.remove("v")

    asyncio.run(attempt())


def test_the_verbs_of_volumes_name_the_options(place, api):
    place.netctl("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "shown")
    found = json.loads(place.netctl("volume", "inspect", "shown").stdout)[0]
    assert found["Options"] == {"type": "tmpfs", "device": "tmpfs"}
    mount = "type=volume,src=shown,target=/m,volume-nocopy"
    done = place.netctl(
        "run",
        "--rm",
        "--network",
        "none",
        "--mount",
        mount,
        IMAGE,
        "ls",
        "/m",
    )
    assert done.stdout == ""
