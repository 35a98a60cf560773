"""netd's chains in the kernel's legacy tables: one commit per table, under the lock that all iptables programs share.

Owns the chains with netd's prefix and one rule in each built-in chain that jumps to them; must not change other
chains.  The first access to a table creates it, empty, as with iptables itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.kernel.firewall.iptables import iptc_loader
from netd.kernel.firewall.iptables.entry import Rule, pack
from netd.kernel.firewall.iptables.layout import MARKING, PREFIX, Content

_LOCK = Path("/run/xtables.lock")
_LOCK_TIMEOUT = 5.0
"""Seconds to wait for another program that holds the lock."""
_LOCK_RETRY = 0.01
_ATTEMPTS = 5


def write(family: Family, name: str, content: Content) -> None:
    """Replace netd's chains in the table with *content*.  On KernelRefused the table is unchanged."""
    iptc = iptc_loader.load()
    with _locked():
        for attempt in range(_ATTEMPTS):
            try:
                with _opened(iptc, family, name) as table:
                    _replace(table, family, name, content)
                    table.commit()
                return
            except iptc.IPTCError as problem:
                # EAGAIN: a program that does not take the lock changed the table in between.
                if attempt + 1 == _ATTEMPTS or "again" not in str(problem):
                    raise _refused(family, name, problem) from problem


def match(family: Family, name: str, content: Content) -> bool:
    """Return whether the built-in chains jump to netd's chains, and these have as many rules as in *content*."""
    with _locked(), _opened(iptc_loader.load(), family, name) as table:
        names = {chain.name for chain in table.chains}
        if {name for name in names if name.startswith(PREFIX)} != content.chains.keys():
            return False
        jumps = all((PREFIX + hook).encode() in _targets(table, hook) for hook in content.hooks)
        return jumps and all(
            sum(1 for _ in _targets(table, chain)) == len(rules) for chain, rules in content.chains.items()
        )


def has_marking(family: Family) -> bool:
    """Return whether packets are marked for the egress barriers now."""
    name, hook = MARKING
    chain = PREFIX + hook
    with _locked(), _opened(iptc_loader.load(), family, name) as table:
        return chain.encode() in _targets(table, hook) and table.first_rule(chain) is not None


def _refused(family: Family, name: str, problem: Exception) -> KernelRefused:
    return KernelRefused(f"iptables refused the change of table {name} for IPv{family} ({problem})")


@contextmanager
def _opened(iptc: Any, family: Family, name: str) -> Iterator[Any]:
    """Yield the current table of the calling thread's namespace; python-iptables' constructor returns cached tables."""
    kind = iptc.Table if family == 4 else iptc.Table6
    table = object.__new__(kind)
    table._init(name, False)
    try:
        yield table
    finally:
        table.close()


def _replace(table: Any, family: Family, name: str, content: Content) -> None:
    names = [chain.name for chain in table.chains]
    own = {name for name in names if name.startswith(PREFIX)}
    for chain in content.chains.keys() - own:
        table.create_chain(chain)
    for hook in names:
        if hook not in own and table.builtin_chain(hook):
            _set_jump(table, family, hook, wanted=hook in content.hooks, last=(name, hook) == MARKING)
    for chain in own:
        table.flush_entries(chain)
    for chain, rules in content.chains.items():
        for rule in rules:
            table.append_entry(chain, pack(rule, family))
    for chain in own - content.chains.keys():
        table.delete_chain(chain)


def _set_jump(table: Any, family: Family, hook: str, *, wanted: bool, last: bool) -> None:
    """Keep exactly one jump from a built-in chain to netd's chain, as first or *last* rule; none unless *wanted*."""
    target = PREFIX + hook
    targets = list(_targets(table, hook))
    positions = [position for position, found in enumerate(targets) if found == target.encode()]
    if wanted and positions == [len(targets) - 1 if last else 0]:
        return
    jump = pack(Rule(target=target), family)
    for _ in positions:
        table.delete_entry(hook, jump, b"\xff" * len(jump))
    if wanted and last:
        table.append_entry(hook, jump)
    elif wanted:
        table.insert_entry(hook, jump, 0)


def _targets(table: Any, chain: str) -> Iterator[bytes | None]:
    """Yield the target of each rule of the chain."""
    rule = table.first_rule(chain)
    while rule:
        yield table.get_target(rule)
        rule = table.next_rule(rule)


@contextmanager
def _locked() -> Iterator[None]:
    fd = os.open(_LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    deadline = time.monotonic() + _LOCK_TIMEOUT
    waiting = threading.Event()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"another program has held {_LOCK} for {_LOCK_TIMEOUT:.0f} seconds"
                raise KernelRefused(message, errno.EAGAIN) from None
        waiting.wait(_LOCK_RETRY)
