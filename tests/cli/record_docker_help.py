"""Record the commands and flags of a stock docker command, as data for ``test_cli_docker_help.py``.

    python tests/cli/record_docker_help.py /usr/bin/docker unix:///run/docker.sock
    python tests/cli/record_docker_help.py --compose /usr/libexec/docker/cli-plugins/docker-compose

writes ``docker_help.json`` or ``compose_help.json``: by command, its flags as ``letter:name``.  The help texts
themselves are not kept.
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


def _tree(docker: str, host: str, words: list[str], group: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield commands with their flags; *group* is the word that a plugin's own commands stand behind."""
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
        yield " ".join([group, *words]).strip(), flags
    for command in commands:
        yield from _tree(docker, host, [*words, command], group)


def _write(name: str, found: Iterator[tuple[str, list[str]]]) -> None:
    lines = [f"  {json.dumps(command)}: {json.dumps(flags)}" for command, flags in found]
    Path(__file__).with_name(name).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1] == "--compose":
        _write("compose_help.json", _tree(sys.argv[2], "unix:///nonexistent", [], "compose"))
    else:
        _write("docker_help.json", _tree(sys.argv[1], sys.argv[2], []))
