"""The legacy tables of iptables: our chains in them kept equal to the ruleset last published.

Owns those chains and, by way of ``Forwarding``, whether the host forwards; no policy of the host's is touched.
"""

from __future__ import annotations

import logging

from netd.common.addresses import FAMILIES, Family
from netd.kernel.iptables import library, tables
from netd.kernel.iptables.layout import TABLES, Content, layout
from netd.kernel.sysctl import Forwarding
from netd.portmap.rules import Ruleset

logger = logging.getLogger(__name__)


class Iptables:
    """To be used in one thread, whose network namespace is the host."""

    def __init__(self, forwarding: Forwarding) -> None:
        library.load()
        self._forwarding = forwarding
        self._held: dict[tuple[Family, str], Content] = {}
        """What the tables hold by our last word; without those of which it is not known."""
        self.forwards = False

    def close(self) -> None: ...

    def publish(self, rules: Ruleset) -> None:
        """Write the tables of which anything changes, each in one transaction."""
        self._write(rules)

    def reset(self, rules: Ruleset) -> None:
        self._held = {}
        self._write(rules)

    def remove(self) -> None:
        self._held, self.forwards = {}, False
        for family in FAMILIES:
            for table in reversed(TABLES):
                tables.write(family, table, Content())
        self._forwarding.restore()

    def _write(self, rules: Ruleset) -> None:
        wanted = {(family, table): content for family in FAMILIES for table, content in layout(rules, family).items()}
        for (family, table), content in wanted.items():
            if self._held.get((family, table)) != content:
                self._held.pop((family, table), None)
                tables.write(family, table, content)
                self._held[family, table] = content
        self.forwards = any(not bridge.internal for bridge in rules.bridges)
        if self.forwards:
            self._forwarding.enable()
