"""Changes that other programs make to netd's chains in the legacy tables, and their rules that refer to them."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from netd.common.errors import KernelRefused
from netd.facts import Pair
from netd.host_protocol import Change
from netd.kernel.firewall.iptables import tables
from tests.kernel.conftest import OUTSIDE, UPLINK, Site, port
from tests.lab import Lab, reach, unreachable

PROGRAMS = {4: "iptables-legacy", 6: "ip6tables-legacy"}


@pytest.fixture
def site(lab: Lab, tmp_path: Path) -> Iterator[Site]:
    made = Site(lab, tmp_path / "run", "iptables")
    yield made
    made.close()


@pytest.fixture
def web(site: Site) -> Pair:
    front = site.network("front", "172.18.0.1/16")
    web = site.container("web", front, 2)
    site.container("old", front, 3)
    site.converge()
    for sandbox in ("web", "old"):
        site.lab.echo(site.inside(sandbox), 80)
    return web


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file of this test alone, for which netd waits only briefly."""
    monkeypatch.setattr(tables, "_LOCK", tmp_path / "lock")
    monkeypatch.setattr(tables, "_LOCK_TIMEOUT", 0.05)
    return tmp_path / "lock"


@contextmanager
def held(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def next_change(site: Site, seconds: float = 3) -> Change | None:
    """Return the next change that the host reports within *seconds*."""

    async def wait() -> Change | None:
        changes = site.host.changes()
        with suppress(TimeoutError):
            return await asyncio.wait_for(anext(changes), seconds)
        return None

    return site.do(wait())


def test_damage_is_found_and_not_forgotten_while_another_program_holds_the_lock(
    site: Site, web: Pair, lock: Path
) -> None:
    site.publish(port(8080, web, 80))
    whole = site.ours()
    with held(lock):
        site.machine.command("iptables-legacy", "-t", "nat", "-F", "NETD-PUBLISHED-tcp")
        assert next_change(site) == Change("firewall")
        with pytest.raises(KernelRefused, match="another program has held"):
            site.do(site.host.reset_firewall(site.ruleset()))
    site.do(site.host.reset_firewall(site.ruleset()))
    assert site.ours() == whole
    assert next_change(site, 0.7) is None


@pytest.mark.parametrize("what", ["target", "allow"])
def test_a_restored_file_with_former_rules_is_damage(site: Site, web: Pair, what: str) -> None:
    former, allow = (site.inside("old"), ()) if what == "target" else (None, [f"{OUTSIDE}/32"])
    old = port(8080, next(f for f in site.wanted.values() if isinstance(f, Pair) and f.sandbox == "old"), 80)
    site.publish(old if former else port(8080, web, 80, allow=allow))
    saved = site.machine.command("iptables-legacy-save")
    site.published.clear()
    site.publish(port(8080, web, 80, allow=() if former else ["198.51.100.77/32"]))
    good = site.ours()
    assert next_change(site, 0.7) is None
    site.machine.command("iptables-legacy-restore", stdin=saved)
    assert site.ours() != good
    assert next_change(site) == Change("firewall")
    site.do(site.host.reset_firewall(site.ruleset()))
    assert site.ours() == good
    assert (reach if former else unreachable)(site.outside, UPLINK, 8080)


def test_what_others_change_beside_netds_chains_is_no_damage(site: Site, web: Pair) -> None:
    site.publish(port(8080, web, 80))
    for words in ("-N THEIRS", "-A PREROUTING -j THEIRS", "-I PREROUTING -p udp -j THEIRS", "-A THEIRS -j RETURN"):
        site.machine.command("iptables-legacy", "-t", "nat", *words.split())
    assert next_change(site, 1.2) is None
    site.machine.command("iptables-legacy", "-t", "nat", "-D", "PREROUTING", "-j", "NETD-PREROUTING")
    assert next_change(site) == Change("firewall")


def test_the_other_backends_rules_are_deleted_as_soon_as_the_lock_is_free(site: Site, web: Pair, lock: Path) -> None:
    site.publish(port(8080, web, 80))
    assert site.ours()
    site.do(site.host.close())
    site.backend = "nftables"
    with held(lock):
        site.host = site.open()
        site.publish()
        assert next_change(site, 0.1) is None
        assert any("NETD-" in line for line in site.machine.legacy())
    for _ in range(5):
        next_change(site, 1.2)
        if not site.machine.legacy():
            break
    assert site.machine.legacy() == []
    assert reach(site.outside, UPLINK, 8080) == OUTSIDE


FOREIGN = [
    "-t nat -A PREROUTING -m comment --comment theirs -j NETD-PREROUTING",
    "-t nat -I PREROUTING -p udp -j NETD-PUBLISHED",
    "-t nat -A OUTPUT -g NETD-OUTPUT",
    "-t mangle -A FORWARD -s 192.0.2.0/24 -g NETD-FORWARD",
    "-t mangle -I INPUT -j NETD-ARRIVING",
    "-t mangle -A THEIRS -j NETD-LEAVING",
    "-t mangle -I POSTROUTING -o eth9 -j NETD-POSTROUTING",
]


def test_rules_of_others_that_jump_to_netds_chains_are_left_and_named(
    site: Site, web: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    site.publish(port(8080, web, 80))
    site.machine.command("iptables-legacy", "-t", "mangle", "-N", "THEIRS")
    for words in FOREIGN:
        site.machine.command("iptables-legacy", *words.split())

    def theirs() -> list[str]:
        listed = [site.machine.command("iptables-legacy", "-t", table, "-S") for table in ("nat", "mangle")]
        lines = "".join(listed).splitlines()
        own = [f"-A {hook} -j NETD-{hook}" for hook in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")]
        return [line for line in lines if not line.startswith(("-A NETD-", "-N NETD-")) and line not in own]

    before = theirs()
    assert len(before) == len(FOREIGN) + 10  # with the policies and the chain THEIRS
    site.publish(port(8081, web, 80))
    site.do(site.host.reset_firewall(site.ruleset()))
    assert theirs() == before
    assert reach(site.outside, UPLINK, 8081) == OUTSIDE
    site.do(site.host.remove_everything())
    assert theirs() == before
    left = [line for line in site.machine.legacy() if " :NETD-" in line]
    assert {line.split(":")[1].split()[0] for line in left} == {words.split()[-1] for words in FOREIGN}
    assert not any("-A NETD-" in line for line in site.machine.legacy())
    assert "rule=IPv4 mangle THEIRS rule 1 jumps to NETD-LEAVING" in caplog.text
    site.machine.command("iptables-legacy", "-t", "nat", "-F")
    site.machine.command("iptables-legacy", "-t", "mangle", "-F")
    site.do(site.host.remove_everything())
    assert not any("NETD-" in line for line in site.machine.legacy())


@pytest.mark.parametrize("family", [4, 6])
def test_a_second_jump_of_netds_own_form_is_removed(site: Site, family: int) -> None:
    site.network("front", "172.18.0.1/16", "fd00:18::1/64")
    site.publish()
    good = site.ours()
    for table, hook in (("nat", "OUTPUT"), ("mangle", "FORWARD")):
        site.machine.command(PROGRAMS[family], "-t", table, "-A", hook, "-j", f"NETD-{hook}")
        site.machine.command(PROGRAMS[family], "-t", table, "-I", hook, "-j", f"NETD-{hook}")
    site.do(site.host.reset_firewall(site.ruleset()))
    assert site.ours() == good


def test_a_rule_of_others_that_makes_the_kernel_refuse_a_change_is_named(site: Site) -> None:
    """The kernel accepts MASQUERADE only in chains that are reached from POSTROUTING alone."""
    site.network("front", "172.18.0.1/16")
    site.publish()
    for words in ("-F NETD-HIDE", "-A OUTPUT -p udp -j NETD-HIDE"):
        site.machine.command("iptables-legacy", "-t", "nat", *words.split())
    with pytest.raises(KernelRefused, match="IPv4 nat OUTPUT rule 2 jumps to NETD-HIDE"):
        site.do(site.host.reset_firewall(site.ruleset()))
    site.machine.command("iptables-legacy", "-t", "nat", "-D", "OUTPUT", "2")
    site.do(site.host.reset_firewall(site.ruleset()))
