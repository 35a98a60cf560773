"""netd-runtime answers the script's calls as Docker Engine does, except for the listed differences."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.differential import compare, run
from tests.differential.script import TOPICS
from tests.installation import MAPPED, running_installation

PEER = os.environ.get("NETD_DOCKER_PEER", "")
"""The socket of a Docker Engine to compare with; without it, the recorded answers are used."""

pytestmark = [
    pytest.mark.skipif(MAPPED, reason="the recorded answers are those of containers without user namespaces"),
    pytest.mark.timeout(900 if PEER else 120),
]


@pytest.fixture(scope="module")
def docker_answers() -> dict[str, dict[str, Any]]:
    return run.answers(PEER) if PEER else run.read(recording())


@pytest.fixture(scope="module")
def our_answers() -> dict[str, dict[str, Any]]:
    with running_installation() as installation:
        return run.answers(str(installation.run / "docker.sock"))


def recording() -> Path:
    """Return the newest recording."""
    return max(run.DATA.glob("docker-*.json"), key=lambda path: [int(part) for part in path.stem[7:].split(".")])


@pytest.mark.parametrize("topic", TOPICS)
def test_answers_are_dockers_except_for_the_listed_differences(topic, docker_answers, our_answers):
    listed = compare.known()
    found = compare.differences(docker_answers[topic], our_answers[topic])
    new = [str(difference) for difference in found if (topic, difference.call, difference.path) not in listed]
    assert not new, f"{len(new)} differences from Docker are not listed:\n" + "\n".join(new)


def test_each_listed_difference_still_exists(docker_answers, our_answers):
    """Warns of the entries that are to be removed: an engine in another environment may differ in less."""
    found = {
        (topic, difference.call, difference.path)
        for topic in TOPICS
        for difference in compare.differences(docker_answers[topic], our_answers[topic])
    }
    for place in compare.known().keys() - found:
        warnings.warn(f"listed, but equal now: {' | '.join(place)}", stacklevel=1)
    assert found
