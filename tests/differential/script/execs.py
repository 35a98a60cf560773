"""Exec: create and start bodies, streams, inspect, errors."""

from __future__ import annotations

import time
from typing import Any

from tests.differential.recorder import PREFIX, Recorder

_CREATE: dict[str, dict[str, Any]] = {
    "output": {
        "Cmd": ["sh", "-c", "echo out; usleep 100000; echo err >&2"],
        "AttachStdout": True,
        "AttachStderr": True,
    },
    "stdout alone": {"Cmd": ["sh", "-c", "echo out; echo err >&2"], "AttachStdout": True},
    "tty": {"Cmd": ["echo", "out"], "AttachStdout": True, "Tty": True},
    "nothing attached": {"Cmd": ["echo", "out"]},
    "exit code": {"Cmd": ["sh", "-c", "exit 5"], "AttachStdout": True},
    "user": {"Cmd": ["id"], "User": "user", "AttachStdout": True},
    "unknown user": {"Cmd": ["id"], "User": "nosuch", "AttachStdout": True, "AttachStderr": True},
    "environment": {"Cmd": ["sh", "-c", "echo $A"], "Env": ["A=b"], "AttachStdout": True},
    "working directory": {"Cmd": ["pwd"], "WorkingDir": "/tmp", "AttachStdout": True},
    "working directory not there": {
        "Cmd": ["pwd"],
        "WorkingDir": "/nosuch",
        "AttachStdout": True,
        "AttachStderr": True,
    },
    "privileged": {"Cmd": ["grep", "CapEff", "/proc/self/status"], "Privileged": True, "AttachStdout": True},
    "no such program": {"Cmd": ["nosuch"], "AttachStdout": True, "AttachStderr": True},
    "empty command": {"Cmd": []},
    "no command": {},
    "Cmd a string": {"Cmd": "true"},
    "DetachKeys invalid": {"Cmd": ["true"], "DetachKeys": "nosuch"},
    "an unknown field": {"Cmd": ["true"], "NoSuchField": 1},
    "Env name alone": {"Cmd": ["true"], "Env": ["A"]},
    "ConsoleSize": {"Cmd": ["true"], "ConsoleSize": [1, 2]},
}


def execs(recorder: Recorder) -> None:
    recorder.create("x", start=True)
    for name, body in _CREATE.items():
        answer = recorder.call(name, "POST", f"/containers/{PREFIX}x/exec", body)
        if answer.status != 201:
            continue
        exec_path = f"/exec/{answer.body['Id']}"
        if name == "output":
            recorder.call("inspect before start", "GET", f"{exec_path}/json")
        tty = bool(body.get("Tty"))
        recorder.call(f"{name} start", "POST", f"{exec_path}/start", {"Detach": False, "Tty": tty})
        _wait_for_end(recorder, exec_path)
        recorder.call(f"{name} inspect", "GET", f"{exec_path}/json", show=_without_container)
        if name == "output":
            recorder.call("start again", "POST", f"{exec_path}/start", {"Detach": False})
            recorder.call("resize after the end", "POST", f"{exec_path}/resize?h=1&w=1")
    _started_otherwise(recorder)
    recorder.call("no such exec", "GET", "/exec/nosuch/json")
    recorder.call("start no such exec", "POST", "/exec/nosuch/start", {})
    recorder.call("resize no such exec", "POST", "/exec/nosuch/resize?h=1&w=1")
    recorder.call("no such container", "POST", f"/containers/{PREFIX}nosuch/exec", {"Cmd": ["true"]})
    waiting = recorder.send("POST", f"/containers/{PREFIX}x/exec", {"Cmd": ["true"]}).body["Id"]
    recorder.send("POST", f"/containers/{PREFIX}x/pause")
    recorder.call("create while paused", "POST", f"/containers/{PREFIX}x/exec", {"Cmd": ["true"]})
    recorder.call("start while paused", "POST", f"/exec/{waiting}/start", {})
    recorder.send("POST", f"/containers/{PREFIX}x/unpause")
    recorder.send("POST", f"/containers/{PREFIX}x/stop?t=0")
    recorder.call("create while stopped", "POST", f"/containers/{PREFIX}x/exec", {"Cmd": ["true"]})
    recorder.call("start while stopped", "POST", f"/exec/{waiting}/start", {})
    recorder.remove("x")


def _started_otherwise(recorder: Recorder) -> None:
    """Start with another Tty than create, detached, and with a wrong body."""
    for name, created, started in (
        ("tty of start alone", {}, {"Tty": True}),
        ("tty of create alone", {"Tty": True}, {"Tty": False}),
        ("detached", {}, {"Detach": True}),
        ("wrong type", {}, {"Detach": "yes"}),
        ("without a body", {}, None),
    ):
        body = {"Cmd": ["echo", "out"], "AttachStdout": True, **created}
        identity = recorder.send("POST", f"/containers/{PREFIX}x/exec", body).body["Id"]
        answer = recorder.send("POST", f"/exec/{identity}/start", started)
        content = answer.body
        if name == "wrong type":
            content = content["message"].partition(":")[0]
        recorder.keep(name, {"status": answer.status, "kind": answer.kind, "body": content})


def _wait_for_end(recorder: Recorder, exec_path: str) -> None:
    """Wait until the exec has ended: without attached streams, its start does not."""
    deadline = time.monotonic() + 10
    while recorder.send("GET", f"{exec_path}/json").body["Running"]:
        assert time.monotonic() < deadline, "the exec did not end"
        time.sleep(0.01)


def _without_container(body: Any) -> Any:
    return {**body, "ContainerID": "", "ID": ""}
