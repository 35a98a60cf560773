"""Interpolation, merging and short forms give what Docker's compose gives, and what it refuses is refused."""

from __future__ import annotations

import json

import pytest

from netd.compose.files.rendering import escaped
from netd.compose.load import ComposeError, load_project
from tests.compose import recorder
from tests.compose.cases import CASES
from tests.compose.test_corpus import differences

RECORDED = json.loads((recorder.GOLDEN / "cases.json").read_text())

EXCEPTIONS = {
    "merge/limits-without-cpus": "Docker's compose compares cpus with a limit that is not set, and refuses it",
    "form/date": "Docker's compose refuses dates without quotes, which netd reads as text",
}
"""Small projects of which ours differs from Docker's, with the reason."""


@pytest.mark.parametrize("name", [name for name in CASES if name not in EXCEPTIONS])
def test_a_small_project_gives_what_docker_gives(name, tmp_path, monkeypatch):
    folder = recorder.write_case(name, tmp_path)
    monkeypatch.chdir(folder)
    expected = RECORDED[name]
    try:
        loaded = load_project(
            [],
            project_name=None,
            project_directory=None,
            profiles=(),
            env_files=(),
            environment=recorder.case_environment(),
        )
    except ComposeError as error:
        assert "error" in expected, str(error)
        return
    ours = json.loads(recorder.with_placeholder(json.dumps(escaped(loaded.document)), folder))
    assert "document" in expected, f"Docker's compose refuses this: {expected}"
    assert differences(ours, expected["document"]) == []


def test_exceptions_name_cases():
    assert set(EXCEPTIONS) <= set(CASES)
