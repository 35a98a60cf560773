"""docs/engine-api.md lists exactly the calls that netd-runtime has routes for, and those that it has not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from netd.common.config import Settings
from netd.common.http.web import HttpRoute
from netd.common.tasks import Tasks
from runtime.api import not_implemented
from runtime.daemon import Daemon

PAGE = Path(__file__).parents[2] / "docs/engine-api.md"
ROW = re.compile(r"\| `(?P<call>[A-Z]+ /[^`]*)` \| (?P<state>\w+) \| ?(?P<remark>.*?) ?\|")
OWN = ("/netd/v1/", "/metrics")


def call_of(method: str, pattern: str) -> str:
    """Return method and path with all parameters named alike."""
    return f"{method} {re.sub(r'{[^}]*}', '{}', pattern)}"


@pytest.fixture(scope="module")
def page() -> dict[str, tuple[str, str]]:
    found = [match.groups() for match in map(ROW.match, PAGE.read_text().splitlines()) if match]
    rows = {call_of(*call.split(" ", 1)): (state, remark) for call, state, remark in found}
    assert len(rows) == len(found), "a call is listed twice"
    return rows


@pytest.fixture(scope="module")
def calls(tmp_path_factory) -> set[str]:
    """Return the calls of a daemon that is not started."""
    folder = tmp_path_factory.mktemp("daemon")

    async def created() -> set[str]:
        daemon = Daemon(Settings(state_dir=folder / "state", run_dir=folder / "run"), Tasks(), (1024, 1024))
        try:
            front = daemon.front(SimpleNamespace(routes=list))
            return {call_of(*route) for route in front.patterns() if not route[1].startswith(OWN)}
        finally:
            daemon.store.close()

    return asyncio.run(created())


def refused(routes: Iterable[HttpRoute]) -> set[str]:
    return {call_of(route.method, route.pattern) for route in routes} - {"GET /plugins"}


def test_every_route_is_on_the_page_and_every_call_of_the_page_has_a_route_or_is_not_there(page, calls):
    refused_calls = refused(not_implemented.routes())
    assert calls <= page.keys(), "a route is missing on the page"
    assert {call for call, (state, _) in page.items() if state in ("done", "partly")} == calls - refused_calls
    assert {call for call, (state, _) in page.items() if state == "not"} >= refused_calls


def test_states_are_known_and_what_is_not_whole_has_a_reason(page):
    assert {state for state, _ in page.values()} <= {"done", "partly", "not"}
    assert not [call for call, (state, remark) in page.items() if state != "done" and not remark]
