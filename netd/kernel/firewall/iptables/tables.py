"""Our chains in the tables of the kernel: one commit per table, under the lock that all users of iptables share.

Owns the chains whose names begin as ours do and one rule in each built-in chain that leads to them; nothing else is
changed.  A table that is touched for the first time comes to be, empty, as with iptables itself.
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
_PATIENCE = 5.0
"""Seconds for which another program may keep the lock."""
_PAUSE = 0.01
_TRIES = 5


def write(family: Family, name: str, content: Content) -> None:
    """Make our chains in the table exactly *content*.  Raises KernelRefused; then nothing has changed."""
    iptc = iptc_loader.load()
    with _locked():
        for attempt in range(_TRIES):
            try:
                with _opened(iptc, family, name) as table:
                    _replace(table, family, name, content)
                    table.commit()
                return
            except iptc.IPTCError as problem:
                # Somebody who does not know of the lock was faster.
                if attempt + 1 == _TRIES or "again" not in str(problem):
                    raise _refused(family, name, problem) from problem


def match(family: Family, name: str, content: Content) -> bool:
    """Tell whether the table still leads to our chains, and these are as long as they were made."""
    with _locked(), _opened(iptc_loader.load(), family, name) as table:
        names = {chain.name for chain in table.chains}
        if {one for one in names if one.startswith(PREFIX)} != content.chains.keys():
            return False
        led = all((PREFIX + hook).encode() in _targets(table, hook) for hook in content.hooks)
        return led and all(
            sum(1 for _ in _targets(table, chain)) == len(rules) for chain, rules in content.chains.items()
        )


def has_marking(family: Family) -> bool:
    """Tell whether packets pass the barriers now."""
    name, hook = MARKING
    chain = PREFIX + hook
    with _locked(), _opened(iptc_loader.load(), family, name) as table:
        return chain.encode() in _targets(table, hook) and table.first_rule(chain) is not None


def _refused(family: Family, name: str, problem: Exception) -> KernelRefused:
    return KernelRefused(f"iptables refused the change of table {name} for IPv{family} ({problem})")


@contextmanager
def _opened(iptc: Any, family: Family, name: str) -> Iterator[Any]:
    """The table as it is now in the calling thread's namespace; python-iptables would give one that it had before."""
    kind = iptc.Table if family == 4 else iptc.Table6
    table = object.__new__(kind)
    table._init(name, False)
    try:
        yield table
    finally:
        table.close()


def _replace(table: Any, family: Family, name: str, content: Content) -> None:
    names = [chain.name for chain in table.chains]
    ours = {name for name in names if name.startswith(PREFIX)}
    for chain in content.chains.keys() - ours:
        table.create_chain(chain)
    for hook in names:
        if hook not in ours and table.builtin_chain(hook):
            _lead(table, family, hook, wanted=hook in content.hooks, last=(name, hook) == MARKING)
    for chain in ours:
        table.flush_entries(chain)
    for chain, rules in content.chains.items():
        for rule in rules:
            table.append_entry(chain, pack(rule, family))
    for chain in ours - content.chains.keys():
        table.delete_chain(chain)


def _lead(table: Any, family: Family, hook: str, *, wanted: bool, last: bool) -> None:
    """Have exactly one rule at the top of a built-in chain, or at its end, lead to ours, or none."""
    target = PREFIX + hook
    there = list(_targets(table, hook))
    places = [place for place, found in enumerate(there) if found == target.encode()]
    if wanted and places == [len(there) - 1 if last else 0]:
        return
    jump = pack(Rule(then=target), family)
    for _ in places:
        table.delete_entry(hook, jump, b"\xff" * len(jump))
    if wanted and last:
        table.append_entry(hook, jump)
    elif wanted:
        table.insert_entry(hook, jump, 0)


def _targets(table: Any, chain: str) -> Iterator[bytes | None]:
    """Return where each rule of the chain leads."""
    rule = table.first_rule(chain)
    while rule:
        yield table.get_target(rule)
        rule = table.next_rule(rule)


@contextmanager
def _locked() -> Iterator[None]:
    fd = os.open(_LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd)
        yield
    finally:
        os.close(fd)


def _take(fd: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    waiting = threading.Event()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"another program has held {_LOCK} for {_PATIENCE:.0f} seconds"
                raise KernelRefused(message, errno.EAGAIN) from None
        waiting.wait(_PAUSE)
