"""Execution of the script against one engine, with the normalized answers by name."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import docker

from tests.differential.client import Answer, Engine
from tests.differential.normalize import normalized

IMAGE = "differential-busybox:latest"
PREFIX = "dx-"
VERSION = "1.51"

_ABSENT = object()


class Recorder:
    """Sends calls to *engine* and keeps their answers.  Every object that a topic creates has a name with PREFIX."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.answers: dict[str, Any] = {}
        self.sdk = docker.APIClient(base_url=f"unix://{engine.path}", version=VERSION, timeout=120)
        self._plain: dict[str, Any] | None = None
        self._octet = 0
        self.renew_subnets()

    def renew_subnets(self) -> None:
        """Replace the subnets 10.77, 10.78 and 2001:db8:77 of the script by others from now on.

        Docker Engine keeps the pool of a network whose creation failed, and no other network can have it.
        """
        self._octet = 80 + 2 * secrets.randbelow(60)

    def forget_plain(self) -> None:
        """Inspect a plain container again before the next option."""
        self._plain = None

    def close(self) -> None:
        self.sdk.close()
        self.engine.close()

    def send(
        self, method: str, path: str, body: Any = None, *, version: str = VERSION, query: dict[str, Any] | None = None
    ) -> Answer:
        """Send a call without keeping its answer; dictionaries and lists of *query* are sent as JSON."""
        prefix = f"/v{version}" if version else ""
        answer = self.engine.request(method, f"{prefix}{path}{_query(query)}", self._sent(body))
        return Answer(answer.status, answer.kind, self._received(answer.data))

    def _sent(self, body: Any) -> Any:
        if body is None or isinstance(body, bytes):
            return body
        text = json.dumps(body)
        for shown, used in self._subnets():
            text = text.replace(shown, used)
        return text.encode()

    def _received(self, data: bytes) -> bytes:
        for shown, used in self._subnets():
            data = data.replace(used.encode(), shown.encode())
        return data

    def _subnets(self) -> list[tuple[str, str]]:
        return [
            ("10.77.", f"10.{self._octet}."),
            ("10.78.", f"10.{self._octet + 1}."),
            ("2001:db8:77:", f"2001:db8:{self._octet}:"),
        ]

    def call(
        self,
        name: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        version: str = VERSION,
        query: dict[str, Any] | None = None,
        show: Callable[[Any], Any] | None = None,
    ) -> Answer:
        """Send a call and keep status and body; *show* selects the part of a successful body to keep."""
        answer = self.send(method, path, body, version=version, query=query)
        content = answer.body
        if show is not None and answer.status < 300:
            content = show(content)
        self.keep(name, {"status": answer.status, "body": content})
        return answer

    def keep(self, name: str, value: Any) -> None:
        assert name not in self.answers, f"two calls are named {name!r}"
        self.answers[name] = normalized(json.loads(json.dumps(value)))

    def through_sdk(
        self, name: str, method: str, *args: Any, show: Callable[[Any], Any] | None = None, **kw: Any
    ) -> Any:
        """Call a method of docker-py's APIClient, and keep its result or the error that it raises."""
        try:
            result = getattr(self.sdk, method)(*args, **kw)
        except docker.errors.DockerException as error:
            status = getattr(error, "status_code", None)
            self.keep(
                name, {"error": type(error).__name__, "status": status, "text": getattr(error, "explanation", "")}
            )
            return None
        self.keep(name, {"result": show(result) if show else result})
        return result

    def prepare(self, method: str, path: str, body: Any = None) -> Answer:
        """Send a call that the following ones depend on; it has to succeed."""
        answer = self.send(method, path, body)
        assert answer.status < 300, (method, path, body, answer.body)
        return answer

    # Containers

    def create(self, name: str = "c", *, start: bool = False, **body: Any) -> str:
        """Create a container outside the comparison, and return its id."""
        config = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "StopTimeout": 0, **body}
        answer = self.send("POST", "/containers/create", config, query={"name": PREFIX + name})
        assert answer.status == 201, answer.body
        if start:
            started = self.send("POST", f"/containers/{PREFIX}{name}/start")
            assert started.status == 204, started.body
        return answer.body["Id"]

    def remove(self, *names: str) -> None:
        for name in names:
            self.send("DELETE", f"/containers/{PREFIX}{name}", query={"force": 1, "v": 1})

    def inspected(self, name: str = "c") -> dict[str, Any]:
        return self.send("GET", f"/containers/{PREFIX}{name}/json").body

    def option(
        self, name: str, host: dict[str, Any] | None = None, networking: dict[str, Any] | None = None, **config: Any
    ) -> None:
        """Create a container with one option, and keep the answer and how inspect differs from a plain container's."""
        if self._plain is None:
            self._plain = self._inspected_after_create({}) or {}
            self.keep("plain container inspect", self._plain)
        body = {**config}
        if host is not None:
            body["HostConfig"] = host
        if networking is not None:
            body["NetworkingConfig"] = networking
        shown = self._inspected_after_create(body, name)
        if shown is not None:
            self.keep(f"{name} inspect", changed(normalized(self._plain), normalized(shown)))

    def _inspected_after_create(self, body: dict[str, Any], keep_as: str = "") -> dict[str, Any] | None:
        answer = self.send(
            "POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body}, query={"name": f"{PREFIX}option"}
        )
        if keep_as:
            content = answer.body
            self.keep(keep_as, {"status": answer.status, "body": content})
        if answer.status != 201:
            return None
        shown = self.inspected("option")
        self.remove("option")
        return shown

    def run(self, name: str, *command: str, host: dict[str, Any] | None = None, **config: Any) -> None:
        """Run a command to its end in a new container, and keep the answer to start, the exit code and the output."""
        body = {"Image": IMAGE, "Cmd": list(command), "HostConfig": host or {}, **config}
        created = self.send("POST", "/containers/create", body, query={"name": f"{PREFIX}run"})
        if created.status != 201:
            self.keep(name, {"create": created.status, "body": created.body})
            return
        started = self.send("POST", f"/containers/{PREFIX}run/start")
        kept: dict[str, Any] = {"start": started.status, "body": started.body, "warnings": created.body["Warnings"]}
        if started.status == 204:
            kept["code"] = self.send("POST", f"/containers/{PREFIX}run/wait").body["StatusCode"]
            kept["output"] = self.send("GET", f"/containers/{PREFIX}run/logs", query={"stdout": 1, "stderr": 1}).body
        self.remove("run")
        self.keep(name, kept)

    # Cleaning

    def clean(self) -> None:
        """Remove every container, network and volume whose name has PREFIX."""
        for row in self.send("GET", "/containers/json", query={"all": 1}).body:
            if row["Names"] and row["Names"][0].startswith(f"/{PREFIX}"):
                self.send("DELETE", f"/containers/{row['Id']}", query={"force": 1, "v": 1})
        for network in self.send("GET", "/networks").body:
            if network["Name"].startswith(PREFIX):
                self.send("DELETE", f"/networks/{network['Id']}")
        for volume in self.send("GET", "/volumes").body["Volumes"] or ():
            if volume["Name"].startswith(PREFIX):
                self.send("DELETE", f"/volumes/{volume['Name']}", query={"force": 1})


def changed(plain: Any, shown: Any, path: str = "") -> dict[str, Any]:
    """Return {path: value in *shown*} of every value that differs from *plain*."""
    if isinstance(plain, dict) and isinstance(shown, dict):
        found: dict[str, Any] = {}
        for key in plain | shown:
            inner = f"{path}.{key}" if path else key
            found |= changed(plain.get(key, _ABSENT), shown.get(key, _ABSENT), inner)
        return found
    if plain == shown:
        return {}
    return {path: "<absent>" if shown is _ABSENT else shown}


def prefixed(text: str) -> str:
    return PREFIX + text


def _query(query: dict[str, Any] | None) -> str:
    if not query:
        return ""
    plain = {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in query.items()}
    return f"?{urlencode(plain, quote_via=quote)}"


def only(*keys: str) -> Callable[[Any], Any]:
    """Return a function that reduces a body, or each item of a list, to *keys*."""

    def reduce(body: Any) -> Any:
        if isinstance(body, list):
            return [reduce(item) for item in body]
        return {key: body[key] for key in keys if key in body}

    return reduce


def own_names(body: Any) -> list[str]:
    """Return the sorted names with PREFIX of a list of containers, networks or volumes."""
    rows = body["Volumes"] or [] if isinstance(body, dict) else body
    names = [name.lstrip("/") for row in rows for name in (row.get("Names") or [row.get("Name", "")])]
    return sorted(name for name in names if re.match(PREFIX, name))
