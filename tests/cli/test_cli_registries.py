"""pull, push, login, logout, search, and docker's configuration file."""

import base64
import contextlib
import json
import os
import stat

import pytest

from netd.cli.transport import docker_config
from netd.cli.transport.docker_config import HUB_SERVER, DockerConfig

PROGRESS = (
    b'{"status":"Pulling from a/b","id":"1"}\r\n'
    b'{"status":"Pulling fs layer","progressDetail":{},"id":"0123456789ab"}\r\n'
    b'{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"0123456789ab"}\r\n'
    b'{"status":"Pull complete","progressDetail":{},"id":"0123456789ab"}\r\n'
    b'{"status":"Status: Downloaded newer image for h:5000/a/b:1"}\r\n'
)
SHOWN = (
    "1: Pulling from a/b\n0123456789ab: Pulling fs layer\n0123456789ab: Pull complete\n"
    "Status: Downloaded newer image for h:5000/a/b:1\n"
)


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    """The path of docker's configuration, which does not exist yet."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker/config.json"


@pytest.fixture
def helper(tmp_path, monkeypatch):
    """A credential helper ``test``, which keeps its secrets in a file; returns that file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(
        "#!/bin/sh\n"
        f"kept={tmp_path}/secrets\n"
        'case $1 in store) cat >"$kept" ;;\n'
        'get) server=$(cat); grep -q "$server" "$kept" 2>/dev/null && cat "$kept" ||\n'
        "  { echo 'credentials not found in native keychain'; exit 1; } ;;\n"
        'erase) rm -f "$kept" ;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "secrets"


def sent(request) -> dict:
    return json.loads(base64.urlsafe_b64decode(request.headers["x-registry-auth"]))


def write(config, **content) -> None:
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps(content))


def auth(text: str) -> dict:
    return {"auth": base64.b64encode(text.encode()).decode()}


def test_pull_shows_the_messages_and_prints_the_name(peer, netctl):
    peer.on("POST", "/images/create", PROGRESS)
    assert netctl("pull", "h:5000/a/b:1").out == SHOWN + "h:5000/a/b:1\n"
    assert peer.asked[0].query == {"fromImage": "h:5000/a/b:1"}
    assert netctl("pull", "-q", "--platform", "linux/arm64", "nginx").out == "nginx:latest\n"
    assert peer.asked[1].query == {"fromImage": "nginx", "tag": "latest", "platform": "linux/arm64"}
    netctl("image", "pull", "-a", "nginx")
    assert peer.asked[2].query == {"fromImage": "nginx"}
    assert netctl("pull", "-a", "nginx:1").code == 1


def test_an_error_in_the_messages_ends_pull_with_code_1(peer, netctl):
    peer.on(
        "POST", "/images/create", PROGRESS[:40] + b'{"errorDetail":{"message":"no\\u001b"},"error":"no\\u001b"}\r\n'
    )
    said = netctl("pull", "x")
    assert said.code == 1 and said.err == "netctl: no\\x1b\n"


def test_push_sends_repository_and_tag_apart(peer, netctl):
    peer.on("POST", "/images/.*/push", PROGRESS)
    netctl("push", "h:5000/a/b:1")
    netctl("push", "-a", "h:5000/a/b")
    assert netctl("push", "-q", "a/b").out == "a/b\n"
    assert [(request.path, request.query) for request in peer.asked] == [
        ("/images/h:5000/a/b/push", {"tag": "1"}),
        ("/images/h:5000/a/b/push", {}),
        ("/images/a/b/push", {"tag": "latest"}),
    ]


def test_run_pulls_a_missing_image_and_creates_again(peer, netctl):
    answers = [(404, {"message": "No such image: nosuch:latest"}), (201, {"Id": "c" * 64})]
    peer.on("POST", "/containers/create", lambda request: answers.pop(0))
    peer.on("POST", "/images/create", PROGRESS)
    said = netctl("create", "nosuch")
    assert (said.code, said.out) == (0, f"{'c' * 64}\n")
    assert said.err == "netctl: unable to find image 'nosuch:latest' locally\n" + SHOWN
    assert [request.path for request in peer.asked] == ["/containers/create", "/images/create", "/containers/create"]


def test_run_does_not_pull_after_other_answers_404(peer, netctl):
    peer.on("POST", "/containers/create", (404, {"message": "No such container: x"}))
    assert netctl("create", "busybox").err == "netctl: No such container: x\n"
    assert [request.path for request in peer.asked if request.method == "POST"] == ["/containers/create"]


def test_pull_always_asks_the_registry_first(peer, netctl):
    peer.on("POST", "/containers/create", (201, {"Id": "c" * 64}))
    peer.on("POST", "/images/create", PROGRESS)
    netctl("create", "--pull", "always", "-q", "busybox")
    assert [request.path for request in peer.asked] == ["/images/create", "/containers/create"]
    assert netctl("create", "--pull", "sometimes", "busybox").code == 125


@pytest.mark.parametrize(
    ("image", "key"),
    [
        ("nginx", HUB_SERVER),
        ("a/b", "https://index.docker.io/v1/"),
        ("docker.io/a/b", HUB_SERVER),
        ("localhost/a", "localhost"),
        ("h:5000/a/b:1", "h:5000"),
        ("h.example/a", "https://h.example/v2/"),
    ],
)
def test_credentials_of_the_images_registry_are_sent(peer, netctl, config, image, key):
    write(config, auths={key: auth("me:pass:word"), "other.example": auth("x:y")})
    peer.on("POST", "/images/create", PROGRESS)
    netctl("pull", image)
    found = sent(peer.asked[0])
    assert (found["username"], found["password"]) == ("me", "pass:word")
    netctl("pull", "unknown.example/x")
    assert sent(peer.asked[1]) == {}


def test_login_keeps_the_credentials_and_everything_else_in_the_file(peer, start, config):
    write(config, auths={"other": auth("x:y")}, psFormat="table", plugins={"a": {"b": "c"}})
    config.chmod(0o644)
    peer.on("POST", "/auth", {"IdentityToken": "", "Status": "Login Succeeded"})
    out, err = start("login", "-u", "me", "--password-stdin", "h:5000").communicate(b"secret\n", timeout=20)
    assert out == b"Login Succeeded\n" and str(config).encode() in err
    assert peer.asked[0].json == {"username": "me", "password": "secret", "serveraddress": "h:5000"}
    assert json.loads(config.read_text()) == {
        "auths": {"other": auth("x:y"), "h:5000": auth("me:secret")}, "psFormat": "table", "plugins": {"a": {"b": "c"}}
    }  # fmt: skip
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert [path.name for path in config.parent.iterdir()] == ["config.json"]


def test_login_keeps_an_identity_token_instead_of_the_password(peer, start, config):
    peer.on("POST", "/auth", {"IdentityToken": "tok", "Status": "Login Succeeded"})
    start("login", "-u", "me", "--password-stdin").communicate(b"secret", timeout=20)
    assert json.loads(config.read_text()) == {"auths": {HUB_SERVER: {**auth("me:"), "identitytoken": "tok"}}}
    assert DockerConfig().get(HUB_SERVER)["identitytoken"] == "tok"


def test_a_refused_login_keeps_nothing(peer, start, config):
    peer.on("POST", "/auth", (401, {"message": "unauthorized: incorrect username or password"}))
    process = start("login", "-u", "me", "--password-stdin", "h")
    assert process.communicate(b"x", timeout=20)[1] == b"netctl: unauthorized: incorrect username or password\n"
    assert process.returncode == 1 and not config.exists()


def test_login_without_a_terminal_names_the_flags(peer, start):
    process = start("login", "-u", "me", "h")
    assert b"--password-stdin" in process.communicate(b"", timeout=20)[1] and process.returncode == 1
    assert peer.asked == []


def test_a_configuration_that_is_no_json_is_not_overwritten(peer, start, config):
    write(config)
    config.write_text("{broken")
    process = start("login", "-u", "me", "--password-stdin", "h")
    assert b"is not valid JSON" in process.communicate(b"x", timeout=20)[1]
    assert config.read_text() == "{broken"


def test_a_credential_helper_keeps_the_secret_and_the_file_only_the_name(peer, start, netctl, config, helper):
    write(config, credHelpers={"h:5000": "test"})
    peer.on("POST", "/auth", {"IdentityToken": "", "Status": "Login Succeeded"})
    peer.on("POST", "/images/create", PROGRESS)
    start("login", "-u", "me", "--password-stdin", "h:5000").communicate(b"secret", timeout=20)
    assert json.loads(helper.read_text()) == {"ServerURL": "h:5000", "Username": "me", "Secret": "secret"}
    assert json.loads(config.read_text())["auths"] == {"h:5000": {}}
    netctl("pull", "h:5000/x")
    assert sent(peer.asked[-1])["password"] == "secret"
    assert netctl("logout", "h:5000").out == "Removing login credentials for h:5000\n"
    assert not helper.exists() and json.loads(config.read_text()) == {"credHelpers": {"h:5000": "test"}, "auths": {}}
    assert netctl("logout", "h:5000").out == "Not logged in to h:5000\n"


def test_a_credential_helper_that_is_missing_or_hangs_is_named(netctl, peer, config, helper, monkeypatch):
    write(config, credsStore="nosuch")
    assert "docker-credential-nosuch is not in PATH" in netctl("pull", "x").err
    write(config, credsStore="../../bin/sh")
    assert "is not a valid name" in netctl("pull", "x").err
    monkeypatch.setattr(docker_config, "_HELPER_SECONDS", 0.2)
    (helper.parent / "bin/docker-credential-test").write_text("#!/bin/sh\nexec sleep 60\n")
    write(config, credsStore="test")
    assert "did not answer within" in netctl("pull", "x").err
    assert peer.asked == []


def test_search_prints_dockers_columns(peer, netctl):
    found = {"name": "h:5000/a", "description": "", "star_count": 3, "is_official": True, "is_automated": False}
    peer.on("GET", "/images/search", [found])
    assert netctl("search", "--limit", "5", "-f", "stars=1", "h:5000/a").out.splitlines() == [
        "NAME       DESCRIPTION   STARS     OFFICIAL",
        "h:5000/a                 3         [OK]",
    ]
    assert peer.asked[0].query == {"term": "h:5000/a", "limit": "5", "filters": '{"stars": {"1": true}}'}


def test_a_terminal_shows_a_bar_for_each_layer(peer, tmp_path):
    from netd.cli.output.progress_display import show

    master, slave = os.openpty()
    with open(slave, "w") as terminal:
        show(PROGRESS.splitlines(), terminal)
    data = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal whose other side is closed
        while piece := os.read(master, 1 << 16):
            data += piece
    text = data.decode()
    assert "0123456789ab:" in text and "━" in text and "Status: Downloaded newer image" in text
    os.close(master)


def test_a_pull_that_fails_offers_the_local_image_of_nearly_that_name(peer, netctl):
    peer.on("POST", "/containers/create", (404, {"message": "No such image: bsybox:latest"}))
    peer.on("POST", "/images/create", (404, {"message": "pull access denied for bsybox"}))
    peer.on("GET", "/images/json", [{"RepoTags": ["busybox:latest"]}])
    said = netctl("run", "bsybox")
    assert said.code == 125 and said.err.endswith("netctl: pull access denied for bsybox; did you mean busybox?\n")
