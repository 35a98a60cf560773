"""The objects of a killed daemon keep working; the next start finds them, and completes interrupted changes."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from netd.facts import plan
from tests.kernel.conftest import OUTSIDE, UPLINK, Site, port
from tests.lab import reach

DAEMON = """
import asyncio, pickle, sys
from pathlib import Path
from netd.facts import Step, Verb
from netd.kernel.kernel_host import KernelHost

async def main():
    steps, rules, passing = pickle.loads(Path(sys.argv[2]).read_bytes())
    host = await KernelHost.open(Path(sys.argv[1]))
    await host.apply(steps)
    await host.update_firewall(rules)
    await host.apply([Step(Verb.DEL, passing)])
    print("done", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_everything_works_on_and_is_found_again_after_a_kill(site: Site, tmp_path: Path) -> None:
    site.do(site.host.close())
    web = site.container("web", site.network("front", "172.18.0.1/16"), 2)
    passing = site.container("passing", site.network("front", "172.18.0.1/16"), 3)
    site.published = {port(8080, web, 80)}
    work = tmp_path / "work"
    work.write_bytes(pickle.dumps((plan(site.wanted, {}), site.ruleset(), passing)))
    command = site.machine.argv(sys.executable, "-c", DAEMON, str(site.run_dir), str(work))
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[site.machine.fd]) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline() == b"done\n"
        daemon.kill()
    site.unwant(passing)
    del site.wanted["route", "passing", "ipv4"]
    site.lab.echo(site.lab.host_at(site.run_dir / "netns" / "web", "web"), 80)
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
    assert any(link.startswith("ndx") for link in site.machine.links()), "no change was in progress at the kill"
    site.host = site.open()
    assert site.have() == site.wanted
    assert not any(link.startswith("ndx") for link in site.machine.links())
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE
