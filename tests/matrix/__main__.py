"""Measure the tables and print them.

``sudo tools/apart .venv/bin/python -m tests.matrix [nftables|iptables]``
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.lab import Lab
from tests.matrix.tables import cells
from tests.matrix.topology import Topology


def main() -> int:
    backend = sys.argv[1] if len(sys.argv) > 1 else "nftables"
    lab = Lab()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        topology = Topology(lab, Path(folder) / "run", backend)
        for cell in sorted(cells(), key=lambda cell: (cell.table, cell.to)):
            found = topology.attempt(cell)
            wrong += found is not cell.must
            note = "" if found is cell.must else f"   WRONG: must be {cell.must}"
            where = f"{cell.protocol}/IPv{cell.family}"
            print(f"{cell.table:10} {cell.to:30} {where:9} from {cell.client:44} {found}{note}")
        topology.close()
    lab.close()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
