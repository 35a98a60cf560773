"""User mounts: they hide no file that netd provides, and change no file of the host except the mounted ones."""

import os
import stat

import pytest

SHOW = "cat /etc/resolv.conf /etc/hosts /etc/hostname; nslookup -type=a peer 2>&1"


@pytest.fixture
def network(api):
    made = api.create_network("attack-mounts")["Id"]
    yield made
    for container in api.inspect_network(made)["Containers"]:
        api.disconnect_container_from_network(container, made, force=True)
    api.remove_network(made)


@pytest.fixture
def peer(run, network):
    return run("sleep", "1000", name="peer", host={"NetworkMode": network})


def kinds(tmp_path):
    return {
        "volume": {"Binds": ["over-etc:/etc"]},
        "volume without a copy": {"Binds": ["over-etc-empty:/etc:nocopy"]},
        "tmpfs": {"Tmpfs": {"/etc": "rw"}},
        "bind": {"Binds": [f"{tmp_path}:/etc"]},
        "nested": {"Tmpfs": {"/etc": ""}, "Binds": ["deeper:/etc/deeper"]},
    }


@pytest.mark.parametrize("kind", kinds(""))
@pytest.mark.parametrize("read_only", [False, True])
def test_names_resolve_under_a_mount_over_etc(output, network, peer, tmp_path, kind, read_only):
    host = {**kinds(tmp_path)[kind], "NetworkMode": network, "ReadonlyRootfs": read_only}
    code, text = output("sh", "-c", SHOW, Hostname="under-etc", host=host)
    assert code == 0, text
    assert "nameserver 127.0.0.11" in text
    assert text.count("under-etc") >= 2, "in hosts and hostname"
    assert "peer" in text.split("Name:")[1]


def test_the_files_are_written_to_under_a_volume_and_read_only_with_the_root(output, network):
    for read_only in (False, True):
        host = {"Tmpfs": {"/etc": ""}, "NetworkMode": network, "ReadonlyRootfs": read_only}
        _code, text = output("sh", "-c", "(echo >> /etc/hosts) 2>/dev/null && echo wrote", host=host)
        assert text == ("" if read_only else "wrote\n")


def test_a_bind_on_one_of_the_files_wins_over_netds(output, network, peer, tmp_path):
    mine = tmp_path / "resolv.conf"
    mine.write_text("nameserver 192.0.2.9\n")
    for above in ({}, {"Tmpfs": {"/etc": ""}}):
        host = {**above, "Binds": [f"{mine}:/etc/resolv.conf"], "NetworkMode": network}
        code, text = output("cat", "/etc/resolv.conf", "/etc/hostname", Hostname="mine", host=host)
        assert (code, text) == (0, "nameserver 192.0.2.9\nmine\n")


def test_a_bind_of_the_hosts_etc_keeps_its_links(output, network, tmp_path):
    """With systemd-resolved, /etc/resolv.conf is a link whose target does not exist in a container."""
    (tmp_path / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (tmp_path / "hosts").symlink_to(tmp_path.parent / "outside-hosts")
    (tmp_path / "hostname").write_text("the host\n")
    host = {"Binds": [f"{tmp_path}:/etc"], "NetworkMode": network}
    code, text = output("sh", "-c", "cat /etc/resolv.conf /etc/hostname", Hostname="mine", host=host)
    assert code == 0
    assert "nameserver 127.0.0.11" in text
    assert text.endswith("mine\n")
    assert os.readlink(tmp_path / "resolv.conf") == "../run/systemd/resolve/stub-resolv.conf"
    assert os.readlink(tmp_path / "hosts") == str(tmp_path.parent / "outside-hosts")
    assert (tmp_path / "hostname").read_text() == "the host\n"
    assert not (tmp_path.parent / "outside-hosts").exists()


def test_a_read_only_etc_without_the_files_is_refused_with_a_remedy(raw, make, tmp_path):
    made = make("true", host={"Binds": [f"{tmp_path}:/etc:ro"]})
    status, _headers, answer = raw.ask("POST", f"/containers/{made}/start")
    assert status == 500
    assert "create it there first, or mount its directory writable" in answer["message"]
    for name in ("resolv.conf", "hosts", "hostname"):
        (tmp_path / name).touch()
    assert raw.ask("POST", f"/containers/{made}/start")[0] == 204


def test_a_device_never_replaces_a_file_of_the_host(raw, make, output, tmp_path):
    (tmp_path / "file").write_text("mine\n")
    os.mknod(tmp_path / "zero", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    before = os.stat(tmp_path / "zero")

    def host(name, device):
        path = f"/data/{name}"
        return {"Binds": [f"{tmp_path}:/data"], "Devices": [{"PathOnHost": f"/dev/{device}", "PathInContainer": path}]}

    for name, device in (("file", "null"), ("zero", "null")):
        made = make("true", host=host(name, device))
        status, _headers, answer = raw.ask("POST", f"/containers/{made}/start")
        assert status == 500
        assert "a different file exists there, choose another path" in answer["message"]
    assert (tmp_path / "file").read_text() == "mine\n"
    assert output("head", "-c", "3", "/data/zero", host=host("zero", "zero")) == (0, "\0\0\0")
    after = os.stat(tmp_path / "zero")
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)
    assert output("stat", "-c", "%t:%T", "/data/new", host=host("new", "full")) == (0, "1:7\n")


def test_a_device_takes_the_place_of_a_file_of_the_container(output):
    """Files of the image, of the default devices, and of the container's last start."""
    for target in ("/etc/passwd", "/dev/zero", "/dev/deep/full"):
        host = {"Devices": [{"PathOnHost": "/dev/full", "PathInContainer": target}]}
        assert output("stat", "-c", "%t:%T", target, host=host) == (0, "1:7\n")
