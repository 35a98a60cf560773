"""What repair leaves alone: the inside of a running container belongs to its programs, as in Docker.  Pure.

A program with the right to do so may replace the default route (a VPN client), addresses or the MAC.  netd restores
them only together with links of the same sandbox, which a failed or interrupted change of netd always involves, and in
sandboxes whose last change failed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from netd.facts import DefaultRoute, Macvlan, Pair, PluginLink, Step


def left_alone(steps: Sequence[Step], unsettled: Collection[str]) -> tuple[Step, ...]:
    """Return the steps without those that only change the inside of a sandbox; all steps of *unsettled* ones stay."""
    touched = {_sandbox(step) for step in steps if not _is_inside(step)} | set(unsettled)
    return tuple(step for step in steps if not _is_inside(step) or _sandbox(step) in touched)


def _sandbox(step: Step) -> str:
    """Return the sandbox of the step's fact; "" for a fact of the host."""
    return getattr(step.fact, "sandbox", "")


def _is_inside(step: Step) -> bool:
    match step.fact, step.previous:
        case DefaultRoute(), _:
            return True
        case Pair() as wanted, Pair() as found:
            # The BPF program on the host side is compared with the MAC and the addresses that were found inside.
            same = replace(found, mac=wanted.mac, addresses=wanted.addresses, antispoof=wanted.antispoof)
            return same == wanted and (found.mac, found.addresses) != (wanted.mac, wanted.addresses)
        case Macvlan() as wanted, Macvlan() as found:
            return replace(found, mac=wanted.mac, addresses=wanted.addresses) == wanted
        case PluginLink() as wanted, PluginLink() as found:
            same_link = replace(found, mac=wanted.mac, addresses=wanted.addresses, routes=wanted.routes)
            return same_link == wanted
    return False
