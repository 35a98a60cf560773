"""examples/voting-app, used from another host over HTTP, with Redis and PostgreSQL."""

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import Installation, wait_until

APP = Path(__file__).resolve().parents[2] / "examples/voting-app"
HOST, VISITOR = "198.51.100.1", "198.51.100.2"
SERVICES = {"vote", "result", "worker", "redis", "db"}


class VotingApp(Installation):
    """An installation, and a visitor's host beside it."""

    def __init__(self):
        super().__init__()
        self.visitor = f"ndt-{secrets.token_hex(4)}"
        ip("netns", "add", self.visitor)
        ip("link", "add", "up0", "netns", self.host, "type", "veth", "peer", "name", "up0", "netns", self.visitor)
        for netns, address in ((self.host, HOST), (self.visitor, VISITOR)):
            ip("-n", netns, "address", "add", f"{address}/24", "dev", "up0")
            ip("-n", netns, "link", "set", "up0", "up")

    def app(self, command, *words):
        """Run one of the app's commands on the host."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "NETD_RUN_DIR": str(self.run), "PATH": path}
        done = subprocess.run(
            [*self.within, APP / command, *words], capture_output=True, text=True, timeout=110, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def visit(self, url, *words):
        """Return the page that a request from the visitor's host gets."""
        command = ["nsenter", f"--net=/run/netns/{self.visitor}", "busybox", "wget", "-q", "-O", "-"]
        return subprocess.run([*command, *words, url], capture_output=True, text=True, timeout=20).stdout

    def vote(self, choice, voter):
        page = self.visit(f"http://{HOST}:5000/", "--post-data", f"vote={choice}", "--header", f"Cookie: voter={voter}")
        assert re.search(f'value="{choice}" class="chosen"', page), page

    def counts(self):
        return json.loads(self.visit(f"http://{HOST}:5001/counts"))

    def address(self, name, network):
        return self.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"]

    def holds(self):
        """Return the objects that the app could leave on the host and in the installation."""
        listings = (("ps", "-a"), ("network", "ls"), ("volume", "ls"), ("image", "ls"))
        return {
            "links": self.on_host("ip", "-o", "link").stdout,
            "routes": self.on_host("ip", "route").stdout,
            "ruleset": self.on_host("nft", "list", "table", "inet", "netd").stdout,
            "listed": [sorted(self.netctl(*listing, "-q").stdout.split()) for listing in listings],
        }

    def destroy(self):
        super().destroy()
        ip("netns", "del", self.visitor)


@pytest.fixture(scope="module")
def voting_app():
    place = VotingApp()
    try:
        place.start()
        place.before = place.holds()
        place.app("up")
        yield place
    finally:
        place.destroy()


def test_a_vote_from_another_host_shows_on_the_result_page(voting_app):
    assert "Cats or Dogs?" in voting_app.visit(f"http://{HOST}:5000/")
    assert voting_app.counts() == {"a": 0, "b": 0}
    voting_app.vote("a", "ann")
    voting_app.vote("b", "bob")
    wait_until(lambda: voting_app.counts() == {"a": 1, "b": 1})
    voting_app.vote("a", "bob")
    wait_until(lambda: voting_app.counts() == {"a": 2, "b": 0})
    assert '<b id="a">2</b>Cats' in voting_app.visit(f"http://{HOST}:5001/")


def test_the_services_run_from_images_built_from_their_dockerfiles(voting_app):
    for name in SERVICES:
        assert voting_app.inspect(name)["Config"]["Image"] == f"voting-app-{name}"
        again = voting_app.netctl("build", str(APP / name)).stdout
        made = [step for step in again.split("Step ")[1:] if " : FROM " not in step]
        assert made and all(" ---> Using cache\n" in step for step in made), again


def test_every_service_finds_those_that_share_a_network_with_it(voting_app):
    networks = {name: set(voting_app.inspect(name)["NetworkSettings"]["Networks"]) for name in SERVICES}
    assert networks["vote"].isdisjoint(networks["db"])
    find = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    for asker in ("vote", "result", "worker"):
        for name in SERVICES - {asker}:
            done = voting_app.netctl("exec", asker, "python3", "-c", find, name, check=False)
            shared = networks[asker] & networks[name]
            assert (done.stdout.strip() in {voting_app.address(name, network) for network in shared}) == bool(shared)


def test_db_cannot_be_reached_from_vote(voting_app):
    reach = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)"
    address = voting_app.address("db", "back-end")
    voting_app.netctl("exec", "worker", "python3", "-c", reach, address, "5432")
    voting_app.netctl("exec", "vote", "python3", "-c", reach, "redis", "6379")
    for host in (address, "db"):
        refused = voting_app.netctl("exec", "vote", "python3", "-c", reach, host, "5432", check=False)
        assert refused.returncode == 1, refused


def test_the_app_goes_away_and_comes_back_with_its_votes(voting_app):
    voting_app.vote("b", "cyd")
    wait_until(lambda: voting_app.counts()["b"] >= 1)
    before = voting_app.counts()
    voting_app.app("down")
    assert voting_app.visit(f"http://{HOST}:5000/") == ""
    voting_app.app("up")
    assert voting_app.counts() == before


def test_compose_brings_up_the_same_app(voting_app):
    """The compose file, with the images that are at hand; the second ``up`` changes nothing."""
    voting_app.app("down")
    compose = ("compose", "--project-directory", str(APP), "-f", str(APP / "compose.yaml"))
    voting_app.netctl(*compose, "up", "-d", "--wait")
    wait_until(lambda: voting_app.visit(f"http://{HOST}:5000/") and voting_app.visit(f"http://{HOST}:5001/counts"))
    voting_app.vote("a", "dan")
    wait_until(lambda: voting_app.counts() == {"a": 1, "b": 0})
    again = voting_app.netctl(*compose, "up", "-d").stderr
    assert again.count("Running") == len(SERVICES)
    assert not any(word in again for word in ("Created", "Recreated", "Started")), again
    networks = {
        name: set(voting_app.inspect(f"voting-app-{name}-1")["NetworkSettings"]["Networks"]) for name in SERVICES
    }
    assert networks["vote"] == {"voting-app_front-end"} and networks["db"] == {"voting-app_back-end"}
    voting_app.netctl(*compose, "down", "-v", "-t", "5")
    assert voting_app.visit(f"http://{HOST}:5000/") == ""


def test_down_with_all_leaves_nothing(voting_app):
    voting_app.app("down", "--all")
    assert voting_app.holds() == voting_app.before
    assert not any((voting_app.state / "volumes").glob("voting*"))


def ip(*words):
    subprocess.run(["ip", *words], check=True)
