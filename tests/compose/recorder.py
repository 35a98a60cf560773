"""Records what Docker's compose makes of the corpus, as golden data for ``test_corpus``.

    .venv/bin/python -m tests.compose.recorder /path/of/docker-compose

Each folder of ``corpus`` is copied to a temporary one, so that no other file influences the result.  Files that
Docker's compose refuses are recorded from an equivalent file, which ``recorded_from`` in ``flags.json`` names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.compose.cases import CASES, VARIABLES

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
GOLDEN = HERE / "golden"
FOLDER = "/PROJECT"
"""Stands for the folder of the project in golden data."""
HOME = "/home/user"


def names() -> list[str]:
    return sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())


def flags(name: str) -> dict:
    """Return the files, profiles and variables that a project of the corpus is loaded with."""
    file = CORPUS / name / "flags.json"
    return json.loads(file.read_text()) if file.exists() else {}


def environment(name: str) -> dict[str, str]:
    return {"HOME": HOME, "PATH": "/usr/bin:/bin", **flags(name).get("environment", {})}


def run(compose: str, folder: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    given = flags(name)
    chosen = given.get("recorded_from") or given.get("files", ())
    files = [word for file in chosen for word in ("-f", file)]
    profiles = [word for profile in given.get("profiles", ()) for word in ("--profile", profile)]
    command = [compose, *files, *profiles, *words]
    return subprocess.run(command, cwd=folder, env=environment(name), capture_output=True, text=True, timeout=60)


def copied(name: str, below: Path) -> Path:
    return Path(shutil.copytree(CORPUS / name, below / name))


def with_placeholder(text: str, folder: Path) -> str:
    return text.replace(str(folder), FOLDER)


def golden(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def answer(compose: str, folder: Path, name: str) -> dict:
    """Return what Docker's compose makes of a copied project, with the hashes that do not depend on the folder.

    Raises CalledProcessError if it refuses the files.
    """
    done = run(compose, folder, name, "config", "--format", "json")
    done.check_returncode()
    hashes = run(compose, folder, name, "config", "--hash", "*").stdout
    document = json.loads(with_placeholder(done.stdout, folder))
    recorded = dict(line.split() for line in hashes.splitlines())
    return {
        "document": document,
        "hashes": {
            key: recorded[key] for key, entry in document["services"].items() if FOLDER not in json.dumps(entry)
        },
    }


def write_case(name: str, below: Path) -> Path:
    """Write the files of a small project and return its folder."""
    folder = below / "project"
    folder.mkdir()
    for file, text in CASES[name].items():
        (folder / file).write_text(text)
    return folder


def case_environment() -> dict[str, str]:
    return {"HOME": HOME, "PATH": "/usr/bin:/bin", **VARIABLES}


def case_answer(compose: str, folder: Path) -> dict:
    """Return the document that Docker's compose makes of a small project, or its error."""
    command = [compose, "config", "--format", "json"]
    done = subprocess.run(command, cwd=folder, env=case_environment(), capture_output=True, text=True, timeout=60)
    if done.returncode:
        return {"error": with_placeholder(done.stderr.strip().splitlines()[-1], folder)}
    return {"document": json.loads(with_placeholder(done.stdout, folder))}


def record_cases(compose: str) -> None:
    found = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            found[name] = case_answer(compose, write_case(name, Path(scratch)))
    (GOLDEN / "cases.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


CONFIG_FLAGS = (
    "--no-normalize",
    "--no-path-resolution",
    "--no-interpolate",
    "--no-interpolate --no-normalize --no-path-resolution",
    "--no-consistency",
    "--no-env-resolution",
    "--variables --format json",
)
CONFIG_PROJECTS = ("django", "extends-include", "three-tiers")


def record_config(compose: str) -> None:
    found: dict[str, dict[str, str]] = {}
    for name in CONFIG_PROJECTS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = copied(name, Path(scratch))
            found[name] = {
                words: with_placeholder(run(compose, folder, name, "config", *words.split()).stdout, folder)
                for words in CONFIG_FLAGS
            }
    (HERE / "recorded" / "config_flags.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def record(compose: str) -> None:
    version = subprocess.run([compose, "version", "--short"], capture_output=True, text=True).stdout.strip()
    GOLDEN.mkdir(exist_ok=True)
    for name in names():
        with tempfile.TemporaryDirectory() as scratch:
            found = {"version": version, **answer(compose, copied(name, Path(scratch)), name)}
        (GOLDEN / f"{name}.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
        print(name)


if __name__ == "__main__":
    record(os.path.abspath(sys.argv[1]))
    record_cases(os.path.abspath(sys.argv[1]))
    record_config(os.path.abspath(sys.argv[1]))
