"""The canonical projects of the corpus equal those that Docker's compose makes of the same files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from netd.compose.files.rendering import escaped
from netd.compose.load import load_project
from tests.compose import recorder

EXCEPTIONS: dict[str, str] = {}
"""``NAME: path`` of a difference that stays, with its reason."""


def differences(ours: object, theirs: object, path: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key in sorted({*ours, *theirs}):
            if key not in ours or key not in theirs:
                found.append(f"{path}.{key}: only in {'theirs' if key in theirs else 'ours'}")
            else:
                found += differences(ours[key], theirs[key], f"{path}.{key}")
        return found
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        return [line for index, (a, b) in pairs for line in differences(a, b, f"{path}[{index}]")]
    return [] if ours == theirs and type(ours) is type(theirs) else [f"{path}: {ours!r} and not {theirs!r}"]


def load_corpus(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    given = recorder.flags(name)
    return load_project(
        [folder / file for file in given.get("files", ())],
        project_name=None,
        project_directory=None,
        profiles=given.get("profiles", ()),
        env_files=(),
        environment=recorder.environment(name),
    )


def recorded(name: str, folder: Path) -> dict:
    """Return the recorded answer, or with NETD_DOCKER_COMPOSE that of the program that it names."""
    compose = os.environ.get("NETD_DOCKER_COMPOSE")
    return recorder.answer(compose, folder, name) if compose else recorder.golden(name)


@pytest.mark.parametrize("name", recorder.names())
def test_a_project_of_the_corpus_equals_that_of_docker(name, tmp_path, monkeypatch):
    folder = recorder.copied(name, tmp_path)
    golden = recorded(name, folder)
    ours = escaped(load_corpus(name, folder, monkeypatch).document)
    ours = json.loads(recorder.with_placeholder(json.dumps(ours), folder))
    found = [line for line in differences(ours, golden["document"]) if f"{name}: {line}" not in EXCEPTIONS]
    assert found == []


def test_the_corpus_holds_at_least_twenty_projects():
    assert len(recorder.names()) >= 20
