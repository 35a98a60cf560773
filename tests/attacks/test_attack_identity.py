"""Identities: no input of a client, an image or a container makes a process root unintentionally."""

import io
import os
import socket
import tarfile
from pathlib import Path

import docker
import pytest

from runtime.init import credentials, users
from runtime.kernel import linux
from tests.installation import IMAGE, MAPPED, busybox_tar, wait_until

CLONE_NEWUSER = 0x10000000
NAMED_AS_NUMBERS = "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/root:/bin/sh\n+7:x:0:0::/:\n-5:x:0:0::/:\n 7:x:0:0::/:\n"
GROUPS_NAMED_AS_NUMBERS = "root:x:0:\n1000:x:0:\n2000:x:0:root\n"

OTHER_SPELLINGS = [
    "+7",
    "-5",
    " 7",
    "7 ",
    "1_000",
    "٣",
    "１０００",
    "4294967295",
    "4294967296",
    "2147483648",
    "9" * 5000,
]
"""Texts that int() accepts as numbers, or that a kernel truncates to 32 bits."""


@pytest.fixture(scope="module")
def image(place):
    """An image whose users and groups have numeric names and id 0 (CVE-2026-46680)."""
    layer = io.BytesIO(busybox_tar())
    with tarfile.open(fileobj=layer, mode="a") as tar:
        for path, text in (("etc/passwd", NAMED_AS_NUMBERS), ("etc/group", GROUPS_NAMED_AS_NUMBERS)):
            entry = tarfile.TarInfo(path)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    place.docker.api.import_image_from_data(layer.getvalue(), repository="numbers", tag="latest")
    return "numbers:latest"


IDENTITY = "id -u; id -g; id -G"


@pytest.mark.parametrize(
    ("user", "add", "expected"),
    [
        ("1000", [], ["1000", "0", "0"]),
        ("1000:1000", [], ["1000", "1000", "1000"]),
        ("root:1000", [], ["0", "1000", "1000"]),
        ("1000:1000", ["2000"], ["1000", "1000", "1000 2000"]),
        ("", ["2000"], ["0", "0", "0 2000"]),
    ],
)
def test_digits_are_a_number_though_the_image_gives_them_as_a_name_to_root(output, image, user, add, expected):
    code, text = output("sh", "-c", IDENTITY, Image=image, User=user, host={"GroupAdd": add})
    assert (code, text.splitlines()) == (0, expected)


def test_digits_are_a_number_in_execs_restarts_and_health_checks_of_a_container_that_rewrote_its_users(api, run):
    health = {"Test": ["CMD-SHELL", IDENTITY], "Interval": 10**8, "Retries": 1}
    made = run("sh", "-c", f"{IDENTITY}; sleep 1000", User="1000", Healthcheck=health)
    evil = f"printf '{NAMED_AS_NUMBERS}' > /etc/passwd; printf '{GROUPS_NAMED_AS_NUMBERS}' > /etc/group"
    assert execute(api, made, "0", evil) == (0, "")
    assert execute(api, made, "1000", IDENTITY) == (0, "1000\n0\n0\n")
    assert execute(api, made, "1000:1000", IDENTITY) == (0, "1000\n1000\n1000\n")
    assert execute(api, made, "", IDENTITY) == (0, "1000\n0\n0\n")
    api.restart(made, timeout=0)
    wait_until(lambda: probes(api, made))
    assert {probe["Output"] for probe in probes(api, made)} == {"1000\n0\n0\n"}
    assert api.logs(made).decode().splitlines()[-3:] == ["1000", "0", "0"]


def probes(api, container):
    """Return the results of the health checks since the container was started."""
    return api.inspect_container(container)["State"]["Health"]["Log"]


def execute(api, container, user, script):
    started = api.exec_create(container, ["sh", "-c", script], user=user)["Id"]
    text = api.exec_start(started).decode()
    return api.exec_inspect(started)["ExitCode"], text


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_other_spellings_of_numbers_are_refused_before_anything_is_made(raw, run, text):
    running = run("sleep", "1000")
    asked = [("/containers/create", {"Image": IMAGE, "Cmd": ["true"], "User": user}) for user in (text, f"root:{text}")]
    asked.append(("/containers/create", {"Image": IMAGE, "Cmd": ["true"], "HostConfig": {"GroupAdd": [text]}}))
    asked += [(f"/containers/{running}/exec", {"Cmd": ["true"], "User": user}) for user in (text, f"0:{text}")]
    for path, body in asked:
        status, _headers, answer = raw.ask("POST", path, body)
        assert status == 400, (path, body, answer)
        assert "user and group numbers must be in the range 0-2147483647" in answer["message"]
        assert len(answer["message"]) < 300


@pytest.mark.parametrize("text", OTHER_SPELLINGS)
def test_files_that_give_such_names_to_root_do_not_make_them_usable(text):
    passwd, groups = users.parse_passwd(f"{text}:x:0:0::/:\n"), users.parse_group(f"{text}:x:0:\n")
    for user, add in ((text, ()), (f"5:{text}", ()), ("5", (text,))):
        with pytest.raises(users.UnknownUser):
            users.resolve(user, add, passwd, groups)


def test_a_name_that_is_not_there_is_refused_by_name(raw, api, make):
    made = make("true", User="nobody-here")
    with pytest.raises(docker.errors.APIError, match="unable to find user nobody-here"):
        api.start(made)


UNREADABLE = {
    "fifo": "mkfifo {}",
    "directory": "mkdir {}",
    "device": "mknod {} c 1 5",
    "huge": "head -c 1048577 /dev/zero > {}",
    "sparse": "truncate -s 10G {}",
    "link to the host": "ln -s /proc/1/root/etc/passwd {}",
    "link to a descriptor": "ln -s /proc/self/fd/0 {}",
    "link to the kernel's log": "ln -s /proc/kmsg {}",
    "link to itself": "ln -s {0} {0}",
}


def needs_nodes(script):
    if MAPPED and "mknod" in script:
        pytest.skip("root of a user namespace cannot make devices")


@pytest.mark.parametrize("file", ["passwd", "group"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_files_of_users_that_cannot_be_read_keep_only_names_from_being_used(api, run, kind, file):
    """CVE-2026-47262: the daemon neither blocks nor reads files outside the container."""
    needs_nodes(UNREADABLE[kind])
    made = run("sleep", "1000", User="0:0")
    path = f"/etc/{file}"
    assert execute(api, made, "0:0", f"rm {path}; {UNREADABLE[kind].format(path)}") == (0, "")
    for user, uid in (("", "0"), ("1000:1000", "1000")):
        # Not ``id``, which would block on the pipe.
        code, text = execute(api, made, user, "grep -E '^(Uid|Groups):' /proc/self/status")
        assert (code, text.split()) == (0, ["Uid:", *[uid] * 4, "Groups:", uid])
    named = execute(api, made, "user" if file == "passwd" else "0:user", "true")
    assert named[0] == 125
    assert path in named[1]
    api.restart(made, timeout=0)
    assert api.inspect_container(made)["State"]["Running"]


@pytest.mark.parametrize(
    "put", ["", "echo text > /dev/null", "mkfifo /dev/null", "mkdir /dev/null", "ln -s /proc/sysrq-trigger /dev/null",
            "mknod /dev/null c 1 5", "ln -s null /dev/null"],
)  # fmt: skip
def test_execs_have_an_empty_input_whatever_the_container_put_at_dev_null(api, run, put):
    needs_nodes(put)
    made = run("sleep", "1000")
    assert execute(api, made, "", f"rm /dev/null; {put or 'true'}") == (0, "")
    assert execute(api, made, "1000", "cat; echo end") == (0, "end\n")


@pytest.mark.parametrize(("uid", "gid", "groups"), [(70000, 0, (0,)), (0, 70000, (70000,)), (0, 0, (0, 70000))])
def test_a_number_that_a_user_namespace_does_not_have_is_named(uid, gid, groups):
    """Without the refusal the process would run as another user."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        try:
            linux.unshare(CLONE_NEWUSER)
            theirs.send(b"ready")
            theirs.recv(1)
            credentials._set_identity(0, users.Identity(uid, gid, groups, "/"))
        except credentials.CannotStart as refused:
            theirs.send(refused.message.encode())
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        assert ours.recv(5) == b"ready"
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{child}/{name}").write_text("0 0 1")
        ours.send(b"1")
        said = ours.recv(1000).decode()
    os.waitpid(child, 0)
    assert "does not exist in the user namespace of the container: use smaller numbers" in said
    assert "70000" in said
