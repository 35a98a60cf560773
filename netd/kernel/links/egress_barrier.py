"""The classic BPF program on a bridge's egress: it drops the host's IP packets without the firewall's mark.

Pure except for ``wait_for_packets``; tc.py attaches the program.  The last chain of the firewall marks packets that
leave by a bridge of netd.  If another program flushes the rules, no packet is marked, so the bridge is closed to
forwarded packets until the rules are restored.  ``tc filter show dev BRIDGE egress`` shows the program.
"""

from __future__ import annotations

import socket
import struct

MARK = 0x20000000
"""The bit of the packet mark: set after all other rules of the host, cleared when the packet enters a container."""
_INSTRUCTION = struct.Struct("=HBBI")
# linux/filter.h, linux/bpf_common.h
_LOAD_WORD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_PROTOCOL_OF, _MARK_OF = 0xFFFFF000 + 0, 0xFFFFF000 + 20
_IPV4, _IPV6 = 0x0800, 0x86DD
_PASS, _DROP = 0xFFFFFFFF, 2
"""TC_ACT_UNSPEC and TC_ACT_SHOT."""

PROGRAM = b"".join(
    _INSTRUCTION.pack(*instruction)
    for instruction in (
        (_LOAD_WORD, 0, 0, _PROTOCOL_OF),
        (_EQUAL, 1, 0, _IPV4),
        (_EQUAL, 0, 2, _IPV6),
        (_LOAD_WORD, 0, 0, _MARK_OF),
        (_ANY_BIT, 0, 1, MARK),
        (_RETURN, 0, 0, _PASS),
        (_RETURN, 0, 0, _DROP),
    )
)


def wait_for_packets() -> None:
    """Return when every packet that is in the host's chains now has left them.

    A packet passes the filters before the marking rule: when both are missing, the marking rule must be added only
    after this wait.  Closing a packet socket makes the kernel wait so (``synchronize_net``), for 10 to 30 ms.
    """
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC).close()
