"""Errors of calls as such: unknown paths and methods, versions, bodies that are not JSON, ids that are not there."""

from __future__ import annotations

from tests.differential.recorder import PREFIX, Recorder

_NO_CONTAINER = {
    "GET": ("json", "top", "changes", "export", "stats?stream=0", "logs?stdout=1", "archive?path=/", "attach/ws"),
    "POST": (
        "start",
        "stop",
        "restart",
        "kill",
        "pause",
        "unpause",
        "attach?stream=1",
        "resize?h=1&w=1",
        "wait",
        "exec",
    ),
    "HEAD": ("archive?path=/",),
}
_PATHS = {
    "unknown path": ("GET", "/nosuch"),
    "unknown path below containers": ("GET", "/containers/a/nosuch"),
    "wrong method": ("DELETE", "/containers/json"),
    "wrong method on version": ("POST", "/version"),
    "OPTIONS": ("OPTIONS", "/containers/json"),
    "HEAD of a list": ("HEAD", "/containers/json"),
    "no such image": ("GET", "/images/nosuch/json"),
    "history of no image": ("GET", "/images/nosuch/history"),
    "remove no image": ("DELETE", "/images/nosuch"),
    "tag of no image": ("POST", "/images/nosuch/tag?repo=a&tag=b"),
    "invalid image name": ("GET", "/images/UPPER/json"),
    "swarm": ("GET", "/swarm"),
    "services": ("GET", "/services"),
    "nodes": ("GET", "/nodes"),
    "tasks": ("GET", "/tasks"),
    "secrets": ("GET", "/secrets"),
    "configs": ("GET", "/configs"),
    "a service": ("GET", "/services/x"),
    "a node": ("GET", "/nodes/x"),
    "leave swarm": ("POST", "/swarm/leave"),
    "unlock key": ("GET", "/swarm/unlockkey"),
    "plugins": ("GET", "/plugins"),
    "no such plugin": ("GET", "/plugins/nosuch/json"),
    "enable no such plugin": ("POST", "/plugins/nosuch/enable"),
    "remove no such plugin": ("DELETE", "/plugins/nosuch"),
    "plugins filter": ("GET", '/plugins?filters={"nosuch":["x"]}'),
    "no such task": ("GET", "/tasks/x"),
    "no such secret": ("GET", "/secrets/x"),
    "no such config": ("GET", "/configs/x"),
}


def errors(recorder: Recorder) -> None:
    for method, tails in _NO_CONTAINER.items():
        for tail in tails:
            body = {"Cmd": ["true"]} if tail == "exec" else None
            recorder.call(f"{method} {tail} of no container", method, f"/containers/{PREFIX}nosuch/{tail}", body)
    for name, (method, path) in _PATHS.items():
        recorder.call(name, method, path)
    for name, data in {
        "body not JSON": b"x",
        "body empty": b"",
        "body a list": b"[]",
        "body null": b"null",
        "two bodies": b"{}{}",
        "body cut": b'{"Image":',
    }.items():
        answer = recorder.send("POST", "/containers/create", data)
        message = answer.body.get("message", "")
        recorder.keep(f"create with {name}", {"status": answer.status, "message": message.partition(":")[0]})
        answer = recorder.send("POST", "/networks/create", data)
        message = answer.body.get("message", "")
        recorder.keep(f"network create with {name}", {"status": answer.status, "message": message.partition(":")[0]})
    answer = recorder.engine.request("POST", "/v1.51/containers/create", b"{}", {"Content-Type": "text/plain"})
    recorder.keep("wrong media type", {"status": answer.status, "body": answer.body})
    for version in ("1.23", "1.24", "1.0", "9.9"):
        answer = recorder.send("GET", "/_ping", version=version)
        recorder.keep(f"version {version}", {"status": answer.status, "body": answer.body})
    recorder.create("n")
    for name, path in {"archive without a path": "archive", "attach to a stopped one": "attach/ws"}.items():
        recorder.call(name, "GET", f"/containers/{PREFIX}n/{path}")
    recorder.call("top of a stopped one", "GET", f"/containers/{PREFIX}n/top")
    recorder.call("stats of a stopped one", "GET", f"/containers/{PREFIX}n/stats?stream=0&one-shot=1")
    recorder.remove("n")
    recorder.through_sdk("sdk inspect no container", "inspect_container", f"{PREFIX}nosuch")
    recorder.through_sdk("sdk remove no container", "remove_container", f"{PREFIX}nosuch")
    recorder.through_sdk("sdk start no container", "start", f"{PREFIX}nosuch")
    recorder.through_sdk("sdk inspect no network", "inspect_network", f"{PREFIX}nosuch")
    recorder.through_sdk("sdk inspect no image", "inspect_image", f"{PREFIX}nosuch")
