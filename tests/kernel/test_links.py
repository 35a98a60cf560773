"""Facts become links, addresses and routes, and are seen again as the same facts."""

from __future__ import annotations

from tests.kernel.conftest import Site


def test_what_was_applied_is_observed_and_needs_no_further_step(site: Site) -> None:
    front = site.network("front", "172.18.0.1/16")
    site.container("web", front, 2)
    site.container("db", front, 3)
    site.converge()
    print(site.machine.ip("-d addr"))
    print(site.inside("web").ip("addr"))
    print(site.inside("web").ip("route"))
