"""Two requests on one container at once: each gets the answer that it has in some order of the two.

The model below says what each request answers in each state of the container and what it leaves; it knows no state
in between.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.installation import IMAGE
from tests.raw_client import RawClient

PROGRAM = ["sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]


@dataclass(frozen=True)
class State:
    status: str
    first: bool = True
    """Connected to network n1."""
    second: bool = False
    """Connected to network n2."""
    same_process: bool = True
    """The process for which the exec was created still runs."""
    exec_started: bool = False

    def now(self, status: str) -> State:
        kept = self.same_process and status in ("running", "paused")
        return replace(self, status=status, same_process=kept)

    @property
    def alive(self) -> bool:
        return self.status in ("running", "paused")


def _start(state):
    codes = {"running": 304, "paused": 409, "exited": 204}
    return codes[state.status], state.now("running") if state.status == "exited" else state


def _stop(state):
    return (204 if state.alive else 304), state.now("exited")


def _kill(state):
    return (204 if state.alive else 409), state.now("exited")


def _restart(state):
    return 204, replace(state, status="running", same_process=False)


def _remove(state):
    return 204, state.now("removed")


def _pause(state):
    return (204, state.now("paused")) if state.status == "running" else (409, state)


def _unpause(state):
    return (204, state.now("running")) if state.status == "paused" else (500, state)


def _connect(state):
    return (403 if state.second and state.alive else 200), replace(state, second=True)


def _disconnect(state):
    return (200 if state.first else 500), replace(state, first=False)


def _exec_create(state):
    return (201 if state.status == "running" else 409), state


def _exec_start(state):
    if not state.same_process and not state.exec_started:
        return 404, state
    if state.exec_started or state.status != "running":
        return 409, state
    return 200, replace(state, exec_started=True)


def _attach(state):
    return (409 if state.status == "paused" else 200), state


def _always(code):
    return lambda state: (code, state)


MODEL = {
    "start": _start,
    "stop": _stop,
    "kill": _kill,
    "restart": _restart,
    "remove": _remove,
    "pause": _pause,
    "unpause": _unpause,
    "rename": _always(204),
    "update": _always(200),
    "connect": _connect,
    "disconnect": _disconnect,
    "exec create": _exec_create,
    "exec start": _exec_start,
    "wait": _always(200),
    "logs": _always(200),
    "attach": _attach,
}
TEXTS = ("is not paused", "is not connected to")
"""What Docker answers with 500 although nothing failed."""


def outcomes(first: str, second: str, state: State) -> list[tuple[int, int, State]]:
    """Return (answer of *first*, answer of *second*, state that is left) for both orders."""
    code, middle = MODEL[first](state)
    forward = (code, *_then(second, middle))
    code, middle = MODEL[second](state)
    other, left = _then(first, middle)
    found = [forward, (other, code, left)]
    if state.alive and {first, second} <= {"stop", "kill"}:
        found.append((204, 204, left))  # Both signals reach the process before it has exited.
    if state.alive and "restart" in (first, second) and {"stop", "kill"} & {first, second}:
        answers = (409, 204) if first == "restart" else (204, 409)
        found.append((*answers, state.now("exited")))  # The other request cancels the restart.
    return found


def _then(verb: str, state: State) -> tuple[int, State]:
    return (404, state) if state.status == "removed" else MODEL[verb](state)


def _request(verb: str, container: str, exec_id: str, suffix: str):
    path = f"/containers/{container}"
    return {
        "remove": ("DELETE", f"{path}?force=1", None),
        "rename": ("POST", f"{path}/rename?name=renamed-{container[:20]}-{suffix}", None),
        "connect": ("POST", "/networks/n2/connect", {"Container": container}),
        "disconnect": ("POST", "/networks/n1/disconnect", {"Container": container}),
        "exec create": ("POST", f"{path}/exec", {"Cmd": ["true"]}),
        "exec start": ("POST", f"/exec/{exec_id}/start", {"Detach": True}),
        "update": ("POST", f"{path}/update", {"CpuShares": 512}),
        "logs": ("GET", f"{path}/logs?stdout=1", None),
        "attach": ("POST", f"{path}/attach?stream=1&stdout=1", None),
        "stop": ("POST", f"{path}/stop?t=2", None),
        "restart": ("POST", f"{path}/restart?t=2", None),
    }.get(verb, ("POST", f"{path}/{verb}", None))


def _answer(sent: Future[tuple[int, Any]]) -> tuple[int, Any]:
    try:
        return sent.result()
    except TimeoutError:
        return 0, None


def _try(client: RawClient, first: str, second: str, status: str) -> str | None:
    """Send both requests at once to a new container; return what is wrong with the answers."""
    body = {"Image": IMAGE, "Cmd": PROGRAM, "HostConfig": {"NetworkMode": "n1"}}
    container = client.call("POST", "/containers/create", body)[1]["Id"]
    try:
        exec_id = "none"
        if status != "created":
            assert client.call("POST", f"/containers/{container}/start")[0] == 204
            exec_id = client.call("POST", f"/containers/{container}/exec", {"Cmd": ["true"]})[1]["Id"]
        if status == "paused":
            assert client.call("POST", f"/containers/{container}/pause")[0] == 204
        if status == "exited":
            assert client.call("POST", f"/containers/{container}/kill")[0] == 204
        barrier = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            sent = [
                pool.submit(client.call, *_request(verb, container, exec_id, suffix), barrier)
                for verb, suffix in ((first, "a"), (second, "b"))
            ]
            answers = [_answer(future) for future in sent]
        code, shown = client.call("GET", f"/containers/{container}/json")
        left = "removed" if code == 404 else shown["State"]["Status"]
    finally:
        client.call("DELETE", f"/containers/{container}?force=1")
    got = (answers[0][0], answers[1][0], left)
    start = State(status, same_process=status != "exited")
    allowed = {(a, b, state.status) for a, b, state in outcomes(first, second, start)}
    odd = [text for code, text in answers if code >= 500 and not any(known in text["message"] for known in TEXTS)]
    if got in allowed and not odd:
        return None
    return f"{first} and {second} of a container that is {status}: {got}, not {sorted(allowed)}: {answers}"


CHANGES = ("start", "stop", "kill", "remove", "pause", "unpause", "exec create", "exec start")
PAIRS = [
    *((first, second, "running") for first, second in itertools.combinations_with_replacement(MODEL, 2)),
    *((first, second, "exited") for first in ("start", "restart", "remove") for second in MODEL),
    *((first, second, "paused") for first in ("stop", "kill", "restart", "unpause") for second in CHANGES),
]


@pytest.fixture
def client(installation):
    for name in ("n1", "n2"):
        installation.netctl("network", "create", name)
    return RawClient(installation.run / "docker.sock")


def test_every_pair_of_requests_at_once_has_the_answers_of_some_order(client):
    with ThreadPoolExecutor(4) as pool:
        faults = [fault for fault in pool.map(lambda pair: _try(client, *pair), PAIRS) if fault]
    assert not faults, "\n".join(faults)
