"""The classic BPF program on a bridge's egress: it drops what the host sends there without the firewall's mark.

The last chain of the firewall marks what leaves by a bridge of ours.  Where others flush the rules, nothing is
marked, so the bridge is closed to forwarded packets until the rules are restored.  ``tc filter show dev BRIDGE egress``
shows it.
"""

from __future__ import annotations

import socket
import struct

MARK = 0x20000000
"""The bit of a packet's mark: set after all other rules of the host, cleared where the packet enters a container."""
_INSTRUCTION = struct.Struct("=HBBI")
# linux/filter.h, linux/bpf_common.h
_LOAD_WORD, _EQUAL, _ANY_OF, _RETURN = 0x20, 0x15, 0x45, 0x06
_PROTOCOL_OF, _MARK_OF = 0xFFFFF000 + 0, 0xFFFFF000 + 20
_IPV4, _IPV6 = 0x0800, 0x86DD
_PASS, _DROP = 0xFFFFFFFF, 2
"""TC_ACT_UNSPEC and TC_ACT_SHOT."""

PROGRAM = b"".join(
    _INSTRUCTION.pack(*each)
    for each in (
        (_LOAD_WORD, 0, 0, _PROTOCOL_OF),
        (_EQUAL, 1, 0, _IPV4),
        (_EQUAL, 0, 2, _IPV6),
        (_LOAD_WORD, 0, 0, _MARK_OF),
        (_ANY_OF, 0, 1, MARK),
        (_RETURN, 0, 0, _PASS),
        (_RETURN, 0, 0, _DROP),
    )
)


def wait_for_packets() -> None:
    """Return when every packet that is on its way through the host's rules now has left them.

    Rules that filter and rules that mark are passed one after the other: where neither were, those that mark come only
    after this.  The kernel waits so (``synchronize_net``) when it closes a packet socket, some 10 to 30 ms.
    """
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC).close()
