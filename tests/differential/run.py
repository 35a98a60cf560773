"""Run the script against an engine and return its answers; as a program, record Docker's answers.

    python -m tests.differential.run /path/of/docker.sock

writes data/docker-VERSION.json: one line for each call, without ids, times and paths of the machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.differential.client import Engine
from tests.differential.recorder import IMAGE, Recorder
from tests.differential.script import TOPICS
from tests.installation import busybox_tar

DATA = Path(__file__).parent / "data"


def answers(socket: str, topics: dict[str, Callable[[Recorder], None]] = TOPICS) -> dict[str, dict[str, Any]]:
    """Return the answers of the engine at *socket*: topic → call → answer.  Leaves nothing behind."""
    engine = Engine(socket)
    recorder = Recorder(engine)
    found = {}
    try:
        recorder.clean()
        for name, topic in topics.items():
            load_image(recorder)
            recorder.answers = {}
            recorder.forget_plain()
            recorder.renew_subnets()
            topic(recorder)
            recorder.clean()
            found[name] = recorder.answers
    finally:
        recorder.clean()
        recorder.send("DELETE", f"/images/{IMAGE}", query={"force": 1})
        recorder.close()
    return found


def load_image(recorder: Recorder) -> None:
    """Import the image that every container of the script uses, the same archive for both engines, if it is missing."""
    if recorder.send("GET", f"/images/{IMAGE}/json").status == 200:
        return
    repository, _, tag = IMAGE.partition(":")
    recorder.sdk.import_image_from_data(busybox_tar(), repository=repository, tag=tag)


def read(path: Path) -> dict[str, dict[str, Any]]:
    recorded: dict[str, dict[str, Any]] = json.loads(path.read_text())["topics"]
    return recorded


def record(socket: str) -> Path:
    """Record the answers of the engine at *socket*, and return the path of the file."""
    engine = Engine(socket)
    version = engine.request("GET", "/version").body
    info = engine.request("GET", "/info").body
    engine.close()
    number = version["Version"].partition("+")[0]
    path = DATA / f"docker-{number}.json"
    head = {
        "engine": f"Docker Engine {number}",
        "api": version["ApiVersion"],
        "recorded": time.strftime("%Y-%m-%d", time.gmtime()),
        "cgroup": info["CgroupVersion"],
        "cpus": info["NCPU"],
    }
    path.write_text(_written(head, answers(socket)))
    return path


def _written(head: dict[str, Any], topics: dict[str, dict[str, Any]]) -> str:
    """Return the file's text: one line for each call, so that a new recording shows as the calls that changed."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    lines.append('"topics": {')
    blocks = []
    for topic, calls in topics.items():
        inner = ",\n".join(
            f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}"
            for name, value in calls.items()
        )
        blocks.append(f"{json.dumps(topic)}: {{\n{inner}\n}}")
    return "{\n" + "\n".join(lines) + "\n" + ",\n".join(blocks) + "\n}\n}\n"


if __name__ == "__main__":
    print(record(sys.argv[1]))
