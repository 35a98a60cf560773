"""The example drivers of docs/drivers.md work."""

import re
import subprocess
import sys
from pathlib import Path

from netd.drivers import Driver
from netd.drivers.registry import Drivers
from netd.engine.desired_state import DesiredState
from netd.facts import Bridge, Pair
from tests.lab import reach
from tests.unit import builders

PAGE = Path(__file__).parents[2] / "docs/drivers.md"


def examples():
    pure, remote = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return pure, remote


def test_the_driver_for_an_entry_point_says_what_the_kernel_should_hold():
    names: dict = {}
    exec(examples()[0], names)
    island = names["Island"]()
    assert isinstance(island, Driver)
    network = builders.network("n")
    web = builders.sandbox("web", builders.endpoint(network, 2))
    wanted = DesiredState(builders.state(network, sandboxes=[web]), Drivers({"bridge": island}))
    [bridge] = wanted.network(network).values()
    assert isinstance(bridge, Bridge) and bridge.addresses == ()
    pairs = [fact for fact in wanted.sandbox(web).values() if isinstance(fact, Pair)]
    assert [(pair.bridge, pair.inside) for pair in pairs] == [(bridge.name, "eth2")]


def test_the_plugin_makes_a_network_on_which_containers_meet(place, tmp_path):
    script = tmp_path / "wire.py"
    script.write_text(examples()[1])
    words = place.machine.argv(sys.executable, str(script), str(place.folder / "wire.sock"))
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[place.machine.fd]
    ) as wire:
        try:
            assert wire.stdout.readline()
            place.network("n", "10.1.0.0/24", Driver="wire")
            web, client = place.sandbox("web", "n"), place.sandbox("client", "n")
            place.lab.echo(web.node, 80)
            assert client.resolve("web") == ["10.1.0.2"]
            assert reach(client.node, "10.1.0.2", 80) == "10.1.0.3"
            place.clear()
            assert [link for link in place.machine.links() if link.startswith(("wi", "wo"))] == []
        finally:
            wire.kill()
