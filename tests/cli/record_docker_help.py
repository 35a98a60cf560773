"""Record the commands and flags of a stock docker command, as data for ``test_cli_docker_help.py``.

    python tests/cli/record_docker_help.py /usr/bin/docker unix:///run/docker.sock

writes ``docker_help.json``: by command, its flags as ``letter:name``.  The help texts themselves are not kept.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_SECTION = re.compile(r"^(\S.*):\s*$")
_COMMAND = re.compile(r"^  (\S+?)\*?\s{2,}")
_FLAG = re.compile(r"^\s+(?:-(\w), )?\s*--([\w-]+)")


def _tree(docker: str, host: str, words: list[str]) -> Iterator[tuple[str, list[str]]]:
    environment = {"HOME": "/nonexistent", "DOCKER_HOST": host, "PATH": "/bin"}
    shown = subprocess.run([docker, *words, "--help"], capture_output=True, text=True, env=environment, check=True)
    section, commands, flags = "", [], []
    for line in shown.stdout.splitlines():
        if found := _SECTION.match(line):
            section = found[1]
        elif section.endswith("Commands") and (found := _COMMAND.match(line)):
            commands.append(found[1])
        elif section.endswith("Options") and (found := _FLAG.match(line)):
            flags.append(f"{found[1] or ''}:{found[2]}")
    if flags or not commands:
        yield " ".join(words), flags
    for command in commands:
        yield from _tree(docker, host, [*words, command])


if __name__ == "__main__":
    lines = [f"  {json.dumps(name)}: {json.dumps(flags)}" for name, flags in _tree(sys.argv[1], sys.argv[2], [])]
    Path(__file__).with_name("docker_help.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
