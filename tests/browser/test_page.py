"""The page in headless Chromium: five real containers, five hundred made-up ones, and hostile names."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from netd.cli.graph.merge import merged
from netd.ui import page
from tests import topologies
from tests.browser.chromium import Tab, browser
from tests.installation import running_installation

pytestmark = pytest.mark.browser

ADDRESS = "127.0.0.1:9752"
CHIP = "[...document.querySelectorAll('.chip')].find((chip) => chip.textContent.includes({!r}))"
CHIPS = "document.querySelectorAll('.chip').length"
OVERLAPS = """(() => {
  const found = [...document.querySelectorAll('.chip > rect:first-child')];
  const rects = found.map((rect) => rect.getBoundingClientRect());
  const apart = (a, b) => a.right <= b.left + 0.5 || b.right <= a.left + 0.5 || a.bottom <= b.top + 0.5
    || b.bottom <= a.top + 0.5;
  return rects.flatMap((a, i) => rects.slice(i + 1).filter((b) => !apart(a, b))).length;
})()"""
OUTSIDE_THEIR_CHIPS = """[...document.querySelectorAll('.chip')].filter((chip) => {
  const box = chip.querySelector('rect').getBoundingClientRect();
  return [...chip.querySelectorAll('text')].some((text) => {
    const found = text.getBoundingClientRect();
    return found.width && (found.right > box.right + 1 || found.bottom > box.bottom + 1 || found.top < box.top - 1);
  });
}).length"""


@pytest.fixture(scope="module")
def host():
    with running_installation(f'ui_address = "{ADDRESS}"\n') as made:
        made.netctl("network", "create", "--subnet", "10.80.0.0/24", "front")
        made.netctl("network", "create", "--subnet", "10.81.0.0/24", "--internal", "back")
        for name, network, more in (
            ("proxy", "front", ("-p", "8080:80", "--network-alias", "www")),
            ("web", "front", ()),
            ("db", "back", ()),
            ("cache", "back", ()),
            ("tools", "bridge", ()),
        ):
            made.netctl("run", "-d", "--name", name, "--network", network, *more, "busybox", "sleep", "1000")
        made.netctl("network", "connect", "back", "web")
        yield made


def with_page(play, *within: str) -> None:
    """Run *play* with a tab; no script of the page may have failed, and nothing may have been refused by its policy."""

    async def run() -> None:
        async with browser(within) as tab:
            await tab.look(1280, 800)
            await play(tab)
            assert tab.problems == []

    asyncio.run(run())


def snapshot(path: Path, topology: dict) -> str:
    path.write_text(page.snapshot(json.dumps(merged(topology, ()))))
    return f"file://{path}"


def test_the_page_follows_real_containers_and_says_why_they_reach_each_other(host):
    async def play(tab: Tab) -> None:
        await tab.open(f"http://{ADDRESS}/")
        await tab.until(f"{CHIPS} === 6 && document.getElementById('status').textContent === 'live'")
        assert await tab.run(OVERLAPS) == await tab.run(OUTSIDE_THEIR_CHIPS) == 0
        await tab.run(f"{CHIP.format('tools')}.id = 'tools', {CHIP.format('db')}.id = 'db'")
        await tab.point("#tools", click=True)
        await tab.run(f"{CHIP.format('db')}.id = 'db'")
        await tab.point("#db")
        text = await tab.until("document.getElementById('explanation')?.innerText")
        assert "tools → db: nothing" in text and "the server's network is internal" in text
        classes = await tab.run(f"[{CHIP.format('proxy')}, {CHIP.format('cache')}].map((chip) => chip.classList[1])")
        assert classes == ["published", "none"]
        host.netctl("run", "-d", "--name", "late", "--network", "front", "busybox", "sleep", "1000")
        await tab.until(f"{CHIPS} === 7")
        host.netctl("port", "add", "late", "8081:81")
        await tab.until(f"{CHIP.format('late')}.textContent.includes(':8081')")
        host.netctl("exec", "late", "ping", "-c", "20", "-i", "0.01", "-s", "1400", "proxy")
        await tab.until(f"/↓ [0-9.]+ kB.s/.test({CHIP.format('late')}.textContent)")
        host.netctl("rm", "--force", "late")
        await tab.until(f"{CHIPS} === 6")

    with_page(play, *host.within)


def test_the_page_says_that_netd_is_away_and_reconnects(host):
    async def play(tab: Tab) -> None:
        await tab.open(f"http://{ADDRESS}/netd/v1/ui")
        await tab.until(f"{CHIPS} === 6")
        host.kill("netd")
        await tab.until("document.getElementById('status').textContent.includes('netd is away since')")
        assert await tab.run(CHIPS) == 6
        host.start("netd")
        await tab.until("document.getElementById('status').textContent === 'live'")
        # A refused connection is an error in the console, and no fault of the page.
        tab.problems = [problem for problem in tab.problems if "ERR_" not in problem]

    with_page(play, *host.within)


def test_five_hundred_containers_are_placed_searched_folded_and_reached_by_keys(tmp_path):
    async def play(tab: Tab) -> None:
        await tab.open(snapshot(tmp_path / "page.html", topologies.many(500)))
        assert await tab.run(CHIPS) == 550
        for width in (1280, 420):
            await tab.look(width, 800)
            assert await tab.run(OVERLAPS) == await tab.run(OUTSIDE_THEIR_CHIPS) == 0
            assert await tab.run("document.documentElement.scrollWidth <= window.innerWidth")
        await tab.look(1280, 800)
        await tab.key("/", "/")
        for letter in "db-101":
            await tab.key(letter, letter)
        await tab.until(f"{CHIPS} === 1")
        await tab.key("Escape")
        await tab.until(f"{CHIPS} === 550")
        await tab.run("document.querySelector('[role=treeitem][tabindex=\"0\"]').focus()")
        await tab.key("Enter")
        await tab.until(f"{CHIPS} === 500")
        await tab.key("Enter")
        await tab.key("ArrowDown")
        await tab.key("ArrowRight")
        await tab.key("Enter")
        selected = await tab.until("document.querySelector('.chip.selected')?.getAttribute('aria-label')")
        assert selected.startswith("container web-010, 10.100.0.12")
        assert await tab.run("document.querySelectorAll('[role=treeitem][tabindex=\"0\"]').length") == 1
        await tab.run("document.getElementById('fold').click()")
        await tab.until(f"{CHIPS} === 0")

    with_page(play)


@pytest.mark.parametrize("name", ["</script><script>window.bad = 1</script>", '<img src=x onerror="window.bad = 1">'])
def test_hostile_names_are_shown_as_text(tmp_path, name):
    async def play(tab: Tab) -> None:
        await tab.open(snapshot(tmp_path / "page.html", topologies.hostile(name)))
        await tab.point(".chip", click=True)
        assert name in await tab.run("document.getElementById('panel').innerText")
        assert await tab.run("window.bad === undefined && document.images.length === 0")

    with_page(play)


def test_the_policy_of_the_page_stops_scripts_that_are_not_its_own(tmp_path):
    async def play(tab: Tab) -> None:
        await tab.open(snapshot(tmp_path / "page.html", topologies.shop()))
        await tab.run("document.body.append(Object.assign(document.createElement('script'), {text: 'window.bad = 1'}))")
        await tab.run(
            "document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.bad = 1\">')"
        )
        found = "fetch('https://192.0.2.1/').then(() => 'sent', () => 'refused')"
        assert await tab.run(found) == "refused" and await tab.run("window.bad === undefined")
        assert any("Content Security Policy" in problem for problem in tab.problems)
        tab.problems.clear()

    with_page(play)
