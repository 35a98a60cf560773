"""Logs: streams, tail, since, until, timestamps, details, wrong options."""

from __future__ import annotations

from tests.differential.recorder import PREFIX, Recorder

_PROGRAM = "for i in 1 2 3; do echo out $i; echo err $i >&2; usleep 20000; done; printf partial"
_QUERIES = {
    "stdout": "stdout=1",
    "tail 2": "stdout=1&tail=2",
    "tail 0": "stdout=1&tail=0",
    "tail all": "stdout=1&tail=all",
    "tail -1": "stdout=1&tail=-1",
    "tail invalid": "stdout=1&tail=x",
    "tail above": "stdout=1&tail=100",
    "timestamps": "stdout=1&timestamps=1&tail=1",
    "since 0": "stdout=1&since=0",
    "since the future": "stdout=1&since=99999999999",
    "since invalid": "stdout=1&since=x",
    "until 1": "stdout=1&until=1",
    "until invalid": "stdout=1&until=x",
    "until negative": "stdout=1&until=-1",
    "follow to the end": "stdout=1&follow=1",
    "details": "stdout=1&details=1&tail=2",
    "no stream": "",
    "streams not booleans": "stdout=x",
    "stderr": "stderr=1",
}


def logs(recorder: Recorder) -> None:
    recorder.create(
        "l",
        start=True,
        Cmd=["sh", "-c", _PROGRAM],
        Labels={"a": "b"},
        Env=["C=d"],
        HostConfig={"LogConfig": {"Type": "json-file", "Config": {"labels": "a", "env": "C"}}},
    )
    recorder.send("POST", f"/containers/{PREFIX}l/wait")
    for name, query in _QUERIES.items():
        recorder.call(name, "GET", f"/containers/{PREFIX}l/logs?{query}")
    recorder.call("no such container", "GET", f"/containers/{PREFIX}nosuch/logs?stdout=1")
    recorder.remove("l")
    recorder.create("l", start=True, Tty=True, Cmd=["sh", "-c", "echo out; echo err >&2"])
    recorder.send("POST", f"/containers/{PREFIX}l/wait")
    recorder.call("of a terminal", "GET", f"/containers/{PREFIX}l/logs?stdout=1")
    recorder.remove("l")
    recorder.create("l", Cmd=["true"])
    recorder.call("before the start", "GET", f"/containers/{PREFIX}l/logs?stdout=1")
    recorder.remove("l")
    recorder.create("l", start=True, HostConfig={"LogConfig": {"Type": "none"}})
    recorder.call("of the driver none", "GET", f"/containers/{PREFIX}l/logs?stdout=1")
    recorder.call("attach without streams", "POST", f"/containers/{PREFIX}l/attach?logs=1&stream=0")
    recorder.remove("l")
