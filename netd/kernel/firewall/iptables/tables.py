"""netd's chains in the kernel's legacy tables: one commit per table, under the lock that all iptables programs share.

Owns the chains with netd's prefix and one rule in each built-in chain that jumps to them, without a match; must not
change other rules, also not those that jump to netd's chains.  The first access to a table creates it, empty, as with
iptables itself.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

from netd.common.addresses import Family
from netd.common.errors import KernelRefused
from netd.kernel.firewall.iptables import iptc_loader, table_entries
from netd.kernel.firewall.iptables.entry import Rule, pack
from netd.kernel.firewall.iptables.layout import MARKING, PREFIX, Content

T = TypeVar("T")
_LOCK = Path("/run/xtables.lock")
_LOCK_TIMEOUT = 5.0
"""Seconds to wait for another program that holds the lock."""
_LOCK_RETRY = 0.01
_ATTEMPTS = 5


def write(family: Family, name: str, content: Content, *, lock: bool = True, wait: bool = True) -> list[str]:
    """Replace netd's chains in the table with *content*.  On KernelRefused the table is unchanged.

    Returns descriptions of other programs' rules that jump to chains which *content* lacks; such chains stay, empty.
    With *wait*, waits some seconds for other programs.  Without *lock*, for a namespace in which no other program uses
    the table.
    """
    with _locked(_LOCK_TIMEOUT if wait else 0) if lock else nullcontext():
        return _commit(family, name, lambda table: _replace(table, family, name, content))


def replace_commented(family: Family, name: str, chain: str, comment: str, new: Rule | None) -> None:
    """Delete the rules with *comment* from a built-in chain of another program, and insert *new* at its head.

    Does not wait for the lock.  On KernelRefused the table is unchanged.
    """

    def change(table: Any) -> None:
        marked = [comment.encode() + b"\0" in _bytes(rule) for rule in _rules(table, chain)]
        for position in reversed([position for position, own in enumerate(marked) if own]):
            table._iptc.iptc_delete_num_entry(chain.encode(), position, table._handle)
        if new is not None:
            table.insert_entry(chain, pack(new, family), 0)

    with _locked(0):
        _commit(family, name, change)


def match(family: Family, name: str, content: Content) -> bool:
    """Return whether the table has netd's chains with exactly the rules of *content*, and the jumps to them.

    Ignores empty chains, which are harmless.  Takes no lock.  Raises OSError if the table cannot be read.
    """
    chains = table_entries.read(family, name)
    own = {chain: found.entries for chain, found in chains.items() if chain.startswith(PREFIX)}
    if any(chain not in own for chain in content.chains):
        return False
    if any(table_entries.digest(found) != _digest(content, chain, family) for chain, found in own.items()):
        return False
    return all(
        table_entries.expected([Rule(target=PREFIX + hook)], family)[0] in chains[hook].entries
        for hook in content.hooks
    )


def _digest(content: Content, chain: str, family: Family) -> bytes:
    return table_entries.digest(table_entries.expected(content.chains.get(chain, ()), family))


def has_marking(family: Family) -> bool:
    """Return whether packets are marked for the egress barriers now."""
    name, hook = MARKING
    chain = PREFIX + hook
    with _locked(_LOCK_TIMEOUT), _opened(iptc_loader.load(), family, name) as table:
        jumps = any(_is_own_jump(table, family, hook, rule) for rule in _rules(table, hook))
        return jumps and table.first_rule(chain) is not None


def _commit(family: Family, name: str, change: Callable[[Any], T]) -> T:
    """Apply *change* to the table and commit it; return what *change* returned."""
    iptc = iptc_loader.load()
    attempt = 0
    while True:
        try:
            with _opened(iptc, family, name) as table:
                result = change(table)
                table.commit()
            return result
        except iptc.IPTCError as problem:
            attempt += 1
            # EAGAIN: a program that does not take the lock changed the table in between.
            if attempt == _ATTEMPTS or "again" not in str(problem):
                raise _refused(iptc, family, name, problem) from problem


def _refused(iptc: Any, family: Family, name: str, problem: Exception) -> KernelRefused:
    """Return the error for a refused change; it names rules of other programs that may be the reason."""
    message = f"iptables refused the change of table {name} for IPv{family} ({problem})"
    with suppress(iptc.IPTCError), _opened(iptc, family, name) as table:
        names = [chain.name for chain in table.chains]
        own = {name for name in names if name.startswith(PREFIX)}
        if found := _foreign_jumps(table, family, name, (name for name in names if name not in own), own):
            message += f": delete the rules of other programs that refer to netd's chains: {', '.join(found)}"
    return KernelRefused(message)


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


def _replace(table: Any, family: Family, name: str, content: Content) -> list[str]:
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
    kept = set()
    for chain in own - content.chains.keys():
        if _is_referenced(table, chain):
            kept.add(chain)
        else:
            table.delete_chain(chain)
    return _foreign_jumps(table, family, name, (name for name in names if name not in own), kept) if kept else []


def _is_referenced(table: Any, chain: str) -> bool:
    count = ctypes.c_uint()
    table._iptc.iptc_get_references(ctypes.byref(count), chain.encode(), table._handle)
    return count.value > 0


def _foreign_jumps(table: Any, family: Family, name: str, chains: Iterable[str], targets: set[str]) -> list[str]:
    """Return descriptions of the rules in *chains* that jump or go to *targets*."""
    found = []
    for chain in chains:
        for position, rule in enumerate(_rules(table, chain)):
            target = (table.get_target(rule) or b"").decode(errors="replace")
            if target in targets and not _is_own_jump(table, family, chain, rule):
                found.append(f"IPv{family} {name} {chain} rule {position + 1} jumps to {target}")
    return sorted(found)


def _set_jump(table: Any, family: Family, hook: str, *, wanted: bool, last: bool) -> None:
    """Keep exactly one jump from a built-in chain to netd's chain, as first or *last* rule; none unless *wanted*."""
    jump = pack(Rule(target=PREFIX + hook), family)
    found = [_is_own_jump(table, family, hook, rule) for rule in _rules(table, hook)]
    positions = [position for position, own in enumerate(found) if own]
    if wanted and positions == [len(found) - 1 if last else 0]:
        return
    for position in reversed(positions):
        table._iptc.iptc_delete_num_entry(hook.encode(), position, table._handle)
    if wanted and last:
        table.append_entry(hook, jump)
    elif wanted:
        table.insert_entry(hook, jump, 0)


def _is_own_jump(table: Any, family: Family, hook: str, rule: Any) -> bool:
    """Return whether a rule of a built-in chain is exactly the jump that netd adds: no match, no ``--goto``."""
    target = table.get_target(rule)
    unmatched = bytes(table_entries.HEADER[family])
    return (
        target == (PREFIX + hook).encode()
        and rule.target_offset == table_entries.ENTRY[family]
        and _bytes(rule).startswith(unmatched)
    )


def _bytes(rule: Any) -> bytes:
    return ctypes.string_at(ctypes.addressof(rule), rule.next_offset)


def _rules(table: Any, chain: str) -> Iterator[Any]:
    """Yield the rules of a chain as ``struct ipt_entry`` or ``ip6t_entry``; do not change the chain meanwhile."""
    rule = table.first_rule(chain)
    while rule:
        yield rule
        rule = table.next_rule(rule)


@contextmanager
def _locked(timeout: float) -> Iterator[None]:
    fd = os.open(_LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(fd, timeout)
        yield
    finally:
        os.close(fd)


def _lock(fd: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    waiting = threading.Event()
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                message = f"another program has held {_LOCK} for {timeout:.0f} seconds"
                raise KernelRefused(message, errno.EAGAIN) from None
        waiting.wait(_LOCK_RETRY)
