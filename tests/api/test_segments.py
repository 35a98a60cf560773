"""Networks with more containers than a bridge has ports."""

from __future__ import annotations

import http.client
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.conftest import Site
from tests.installation import wait_until
from tests.lab import reach, unreachable

MANY = 600
SMALL = '''
from netd.drivers import Traits
from netd.drivers.bridge import BridgeDriver


class Small(BridgeDriver):
    """Bridges that take two containers."""

    traits = Traits(segment_size=2, most_segments=3)
'''


@pytest.fixture
def small(site: Site) -> Site:
    """A site with the driver ``small``."""
    package = site.root / "package"
    (package / "small-1.0.dist-info").mkdir(parents=True)
    (package / "small-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: small\nVersion: 1.0\n")
    (package / "small-1.0.dist-info/entry_points.txt").write_text("[netd.drivers]\nsmall = small_driver:Small\n")
    (package / "small_driver.py").write_text(SMALL)
    site.stop()
    site.environment["PYTHONPATH"] = os.pathsep.join([str(package), *filter(None, [os.environ.get("PYTHONPATH")])])
    site.start()
    return site


def segments(site: Site) -> list[str]:
    return [name for name in site.links() if name.startswith("nds")]


def everybody_reaches_everybody(boxes) -> bool:
    addresses = [box.address("n") for box in boxes]
    return all(reach(box.node, address, 80) for box in boxes for address in addresses)


def test_a_network_grows_when_it_has_to_and_not_before(small):
    before = small.links()
    small.network("n", "10.91.0.0/24", Driver="small")
    boxes = []
    for number, bridges in enumerate((0, 0, 1, 1, 2, 2)):
        boxes.append(small.sandbox(f"c{number}", "n"))
        assert len(segments(small)) == bridges
        small.lab.echo(boxes[-1].node, 80)
    assert everybody_reaches_everybody(boxes)
    words = small.refusal(500, "POST", "/netd/v1/sandboxes", small.request("x", "n"))
    assert "network n is full: it has 6 endpoints" in words
    boxes.pop(1).remove()
    boxes.append(small.sandbox("again", {"bridge": {}}))
    small.connect("n", "again")
    small.lab.echo(boxes[-1].node, 80)
    assert everybody_reaches_everybody(boxes)
    assert len(segments(small)) == 2
    for box in boxes:
        box.remove()
    small.ask(204, "DELETE", "/networks/n")
    assert small.links() == before


def test_segments_outlive_a_killed_daemon_and_are_mended(small):
    small.network("n", "10.91.0.0/24", Driver="small")
    boxes = [small.sandbox(f"c{number}", "n") for number in range(4)]
    for box in boxes:
        small.lab.echo(box.node, 80)
    [segment] = segments(small)
    small.kill()
    small.machine.ip(f"link del {segment}")
    small.start()
    assert everybody_reaches_everybody(boxes)
    small.machine.ip(f"link del {segment}")
    wait_until(lambda: segments(small) == [segment])
    assert everybody_reaches_everybody(boxes)
    boxes.append(small.sandbox("more", "n"))
    assert len(segments(small)) == 2


def test_containers_kept_apart_are_so_across_segments(small):
    small.network("n", "10.91.0.0/24", Driver="small", Options={"com.docker.network.bridge.enable_icc": "false"})
    boxes = [small.sandbox(f"c{number}", "n") for number in range(4)]
    for box in (boxes[0], boxes[3]):
        small.lab.echo(box.node, 80)
    small.lab.echo(small.machine, 80)
    assert reach(boxes[3].node, "10.91.0.1", 80) == boxes[3].address("n")
    for client, server in ((3, 0), (2, 3), (0, 3)):
        assert unreachable(boxes[client].node, boxes[server].address("n"), 80)


def test_concurrent_starts_all_get_a_bridge_port(small):
    small.network("n", "10.91.0.0/24", Driver="small")
    requests = [small.request(f"c{number}", "n") for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda body: small.call("POST", "/netd/v1/sandboxes", body)[0], requests))
    assert sorted(found) == [201] * 6 + [500] * 2
    assert len(segments(small)) == 2


def test_six_hundred_containers_on_one_network(site):
    """All are created, the last reaches the first and the gateway, and all are removed completely."""
    before = site.links()
    site.network("n", "10.91.0.0/16")
    client = http.client.HTTPConnection("netd")
    client.sock = socket.socket(socket.AF_UNIX)
    client.sock.connect(str(site.run / "netd.sock"))

    def call(status: int, method: str, path: str, body: object = None) -> dict:
        client.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        response = client.getresponse()
        said = response.read()
        assert response.status == status, said
        return json.loads(said or b"{}")

    with client.sock:
        views = [call(201, "POST", "/netd/v1/sandboxes", site.request(f"c{n}", "n")) for n in range(MANY)]
        first, last = (site.lab.host_at(views[n]["Netns"], f"c{n}") for n in (0, -1))
        site.lab.echo(first, 80)
        site.lab.echo(site.machine, 80)
        address = views[-1]["NetworkSettings"]["Networks"]["n"]["IPAddress"]
        assert reach(last, "10.91.0.2", 80) == address
        assert reach(last, "10.91.0.1", 80) == address
        assert len(segments(site)) == 2
        for view in views:
            call(204, "DELETE", f"/netd/v1/sandboxes/{view['Id']}")
    site.ask(204, "DELETE", "/networks/n")
    assert site.links() == before
