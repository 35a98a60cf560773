"""The README's tour, command by command in one installation; what it leaves does not prevent the examples after it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import running_installation
from tests.transcripts import commands, shows

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def host():
    with running_installation() as made:
        yield made


@pytest.fixture
def fresh_host():
    """An installation without former addresses: those that a page shows are the first of their subnets."""
    with running_installation() as made:
        yield made


def on_host(host, *words):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "NETD_RUN_DIR": str(host.run), "PATH": path, "NETCTL": f"{path.split(':')[0]}/netctl"}
    return subprocess.run(
        [*host.within, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env=environment
    )


def test_the_tour_prints_what_the_readme_shows_and_leaves_nothing(host):
    tour = list(commands(ROOT / "README.md"))
    assert len(tour) >= 10
    for command, expected in tour:
        found = on_host(host, "sh", "-c", command).stdout
        assert shows(expected, found), f"# {command}\n{found}"
    assert host.netctl("ps", "-a", "-q").stdout == ""
    assert host.netctl("network", "ls", "-q", "--filter", "type=custom").stdout == ""


def test_the_commands_of_the_networking_page_print_what_it_shows(fresh_host):
    page = list(commands(ROOT / "docs/networking.md"))
    assert len(page) >= 30
    for command, expected in page:
        found = on_host(fresh_host, "sh", "-c", command).stdout
        assert shows(expected, found), f"# {command}\n{found}"
    assert fresh_host.netctl("ps", "-a", "-q").stdout == ""


def test_the_voting_app_names_what_is_in_its_way_before_it_makes_anything(host):
    host.netctl("run", "-d", "--name", "db", "busybox", "sleep", "1000")
    refused = on_host(host, ROOT / "examples/voting-app/up")
    assert refused.returncode == 1
    assert (
        "there is a container named db that is not the app's; remove it first: netctl container rm db" in refused.stdout
    )
    host.netctl("rm", "--force", "db")
    host.netctl("network", "create", "--label", "app=voting", "back-end")
    refused = on_host(host, ROOT / "examples/voting-app/up")
    assert refused.returncode == 1
    assert "the app's network back-end exists already; examples/voting-app/down removes the app" in refused.stdout
    assert on_host(host, ROOT / "examples/voting-app/down").returncode == 0
    assert host.netctl("network", "ls", "-q", "--filter", "type=custom").stdout == ""
