"""Credentials in Docker's own configuration file, ``~/.docker/config.json``, or in its credential helpers.

A helper is a program ``docker-credential-NAME``, chosen by the user; its protocol is Docker's.  The file keeps
everything that other programs have written into it.
"""

from __future__ import annotations

import os

from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

HUB_SERVER = "https://index.docker.io/v1/"
"""The key of docker.io in the file and in helpers."""
_HELPER_SECONDS = 60
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
_TOKEN_USER = "<token>"
_NOT_FOUND = "credentials not found in native keychain"


def registry_of(image: str) -> str:
    """Return the registry of an image name: ``docker.io`` or ``host[:port]``."""
    first, slash, _ = image.partition("/")
    if slash and (any(mark in first for mark in ".:") or first == "localhost" or first != first.lower()):
        return "docker.io" if first == "index.docker.io" else first
    return "docker.io"


def server_of(registry: str) -> str:
    """Return the key under which the credentials of a registry are kept."""
    host = registry.split("://", 1)[-1].split("/", 1)[0]
    return HUB_SERVER if host in ("docker.io", "index.docker.io", "registry-1.docker.io") else host


def header(credentials: Json) -> str:
    """Return the value of ``X-Registry-Auth``."""
    from base64 import urlsafe_b64encode
    from json import dumps

    return urlsafe_b64encode(dumps(credentials).encode()).decode()


class DockerConfig:
    """The file in the folder DOCKER_CONFIG, or in ``~/.docker``."""

    def __init__(self) -> None:
        folder = os.environ.get("DOCKER_CONFIG") or os.path.join(os.path.expanduser("~"), ".docker")
        self.path = os.path.join(folder, "config.json")

    def check(self) -> None:
        """Raise Fault if the file cannot be changed because it is damaged."""
        self._load()

    def get(self, server: str) -> Json:
        """Return the credentials of a server, an empty dictionary if there are none.  Raises Fault."""
        content = self._load()
        if helper := _helper(content, server):
            return _from_helper(helper, server)
        auths = content.get("auths")
        for key, entry in auths.items() if isinstance(auths, dict) else ():
            if isinstance(entry, dict) and (key == server or server_of(key) == server):
                return _decoded(entry, server)
        return {}

    def all(self) -> dict[str, Json]:
        """Return the credentials of all servers that the file names.  Raises Fault."""
        content = self._load()
        helpers = content.get("credHelpers")
        servers = [*content.get("auths", {}), *(helpers if isinstance(helpers, dict) else ())]
        found = {server: self.get(server_of(server)) for server in dict.fromkeys(servers)}
        return {server: credentials for server, credentials in found.items() if credentials}

    def store(self, server: str, credentials: Json) -> str:
        """Keep credentials.  Return the path of the file if they are readable in it, "" if a helper keeps them."""
        content = self._load()
        helper = _helper(content, server)
        auths = content.setdefault("auths", {})
        if helper:
            token = credentials.get("identitytoken")
            _run(helper, "store", _encoded_json({
                "ServerURL": server,
                "Username": _TOKEN_USER if token else credentials["username"],
                "Secret": token or credentials["password"],
            }))  # fmt: skip
            auths[server] = {}
        else:
            auths[server] = _encoded(credentials)
        self._save(content)
        return "" if helper else self.path

    def erase(self, server: str) -> bool:
        """Remove the credentials of a server; return whether there were any."""
        content = self._load()
        helper = _helper(content, server)
        auths = content.get("auths", {})
        keys = [key for key in auths if key == server or server_of(key) == server]
        if helper and _from_helper(helper, server):
            _run(helper, "erase", server.encode())
            keys = keys or [server]
        for key in keys:
            auths.pop(key, None)
        if keys:
            self._save(content)
        return bool(keys)

    def _load(self) -> Json:
        from json import loads

        try:
            with open(self.path, "rb") as file:
                content = loads(file.read() or b"{}")
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Fault(f"the file {self.path} is not valid JSON ({error}): correct or remove it") from None
        if not isinstance(content, dict) or not isinstance(content.get("auths", {}), dict):
            raise Fault(f"the file {self.path} is not a configuration of docker: correct or remove it")
        return content

    def _save(self, content: Json) -> None:
        """Replace the file at once, readable for its owner only; a symbolic link is kept."""
        from json import dumps

        path = os.path.realpath(self.path)
        folder = os.path.dirname(path)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        fresh = f"{path}.{os.getpid()}.new"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(handle, "wb") as file:
                file.write(dumps(content, indent="\t", ensure_ascii=False).encode())
                file.flush()
                os.fsync(file.fileno())
            os.rename(fresh, path)
        except BaseException:
            os.unlink(fresh)
            raise


def _helper(content: Json, server: str) -> str:
    helpers = content.get("credHelpers")
    found: object = None
    if isinstance(helpers, dict):
        found = next((helpers[key] for key in helpers if key == server or server_of(key) == server), None)
    found = found or content.get("credsStore")
    if not found:
        return ""
    if not isinstance(found, str) or not _NAME_CHARACTERS.issuperset(found):
        raise Fault(f"the credential helper {found!r} of docker's configuration is not a valid name: correct it")
    return found


def _from_helper(helper: str, server: str) -> Json:
    from json import loads

    answer = _run(helper, "get", server.encode(), may_fail=True)
    if not answer:
        return {}
    try:
        found = loads(answer)
        username, secret = str(found["Username"]), str(found["Secret"])
    except (ValueError, KeyError, TypeError):
        raise Fault(f"docker-credential-{helper} answered with something else than credentials for {server}") from None
    if username == _TOKEN_USER:
        return {"identitytoken": secret, "serveraddress": server}
    return {"username": username, "password": secret, "serveraddress": server}


def _run(helper: str, verb: str, data: bytes, *, may_fail: bool = False) -> bytes:
    """Run a helper and return its output; b"" if it has no credentials and *may_fail*."""
    from subprocess import TimeoutExpired, run

    program = f"docker-credential-{helper}"
    try:
        done = run([program, verb], input=data, capture_output=True, timeout=_HELPER_SECONDS, check=False)
    except FileNotFoundError:
        raise Fault(f"{program} is not in PATH: install it, or remove it from docker's configuration") from None
    except TimeoutExpired:
        raise Fault(f"{program} did not answer within {_HELPER_SECONDS} seconds: unlock or repair it") from None
    if done.returncode == 0:
        return done.stdout
    text = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    if may_fail and _NOT_FOUND in text:
        return b""
    raise Fault(f"{program} {verb} failed: {text[:200] or done.returncode}")


def _encoded_json(value: Json) -> bytes:
    from json import dumps

    return dumps(value).encode()


def _encoded(credentials: Json) -> Json:
    from base64 import b64encode

    token = credentials.get("identitytoken")
    pair = f"{credentials.get('username', '')}:{'' if token else credentials.get('password', '')}"
    entry: Json = {"auth": b64encode(pair.encode()).decode()}
    return entry | ({"identitytoken": token} if token else {})


def _decoded(entry: Json, server: str) -> Json:
    from base64 import b64decode

    try:
        username, _, password = b64decode(str(entry.get("auth") or "")).decode().partition(":")
    except ValueError:
        raise Fault(f"the credentials of {server} in docker's configuration are damaged: log in again") from None
    found: Json = {"username": username, "password": password.rstrip("\0"), "serveraddress": server}
    for key in ("identitytoken", "registrytoken"):
        if entry.get(key):
            found[key] = entry[key]
    return found if any(found[key] for key in found if key != "serveraddress") else {}
