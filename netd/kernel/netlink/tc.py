"""BPF programs on links, the antispoof program of a port and the egress barrier of a bridge: requests and replies.

Pure: builds requests and decodes replies; sends nothing.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from netd.kernel.netlink.link_reading import number
from netd.kernel.netlink.messages import CREATE, REPLACE, Message, Request, attribute, attributes, nest, text, u32
from netd.kernel.netlink.pyroute2_parts import rtnl

# linux/pkt_sched.h, linux/pkt_cls.h
_TCMSG = struct.Struct("=BxxxiIII")
_QDISC, _QDISC_PARENT, INGRESS, EGRESS = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF2, 0xFFFFFFF3
_FIRST, _EVERY_PROTOCOL = 1 << 16, 0x0300
_LAST = 0xFFFF << 16
"""The priority of the filter that other programs' filters precede."""
_HANDLE = 1
_KIND, _OPTIONS = 1, 2
_CLASS, _OPS_LEN, _OPS, _DESCRIPTOR, _NAME, _FLAGS, _IDENTIFIER, _DIRECT_ACTION = 3, 4, 5, 6, 7, 8, 11, 1
_INSTRUCTION = 8
_ACTIONS, _ACTION_KIND, _ACTION_OPTIONS, _MIRRED_PARAMETERS = 1, 1, 2, 2
_STOLEN, _INGRESS_REDIRECT = 4, 3
"""TC_ACT_STOLEN of linux/pkt_cls.h, TCA_INGRESS_REDIR of linux/tc_act/tc_mirred.h."""
_MATCH_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0xFFFFFFFF)
_NONE = (errno.ENOENT, errno.EINVAL, errno.ENODEV)


@dataclass(frozen=True, slots=True)
class Programs:
    """The BPF programs on one direction of a link."""

    first: bytes = b""
    """The first classic program in direct-action mode; b"" if there is none."""
    last: tuple[int, int] | None = None
    """Id of the program and class id of the filter of ``attach_last``; None if there is none."""


def attach(index: int, program: bytes, direction: int = INGRESS) -> tuple[Request, Request]:
    """Attach *program* to the link's ingress or egress, in place of an earlier program of netd."""
    qdisc = Request(
        rtnl.RTM_NEWQDISC,
        _TCMSG.pack(0, index, _QDISC, _QDISC_PARENT, 0) + text(_KIND, "clsact"),
        CREATE,
        tolerate=(errno.EEXIST,),
    )
    options = nest(
        _OPTIONS,
        attribute(_OPS_LEN, struct.pack("=H", len(program) // _INSTRUCTION)),
        attribute(_OPS, program),
        text(_NAME, "netd"),
        u32(_FLAGS, _DIRECT_ACTION),
    )
    header = _TCMSG.pack(0, index, _HANDLE, direction, _FIRST | _EVERY_PROTOCOL)
    return qdisc, Request(rtnl.RTM_NEWTFILTER, header + text(_KIND, "bpf") + options, CREATE | REPLACE)


def attach_last(index: int, descriptor: int, name: str, scope: int) -> Request:
    """Attach a loaded program as last filter of the link's ingress, in place of an earlier one.

    *scope* is the class id of the filter.

    The link must have the qdisc of ``attach``.
    """
    options = nest(
        _OPTIONS, u32(_CLASS, scope), u32(_DESCRIPTOR, descriptor), text(_NAME, name), u32(_FLAGS, _DIRECT_ACTION)
    )
    header = _TCMSG.pack(0, index, _HANDLE, INGRESS, _LAST | _EVERY_PROTOCOL)
    return Request(rtnl.RTM_NEWTFILTER, header + text(_KIND, "bpf") + options, CREATE | REPLACE)


def detach_last(index: int) -> Request:
    """Delete the filter of ``attach_last``, if there is one."""
    header = _TCMSG.pack(0, index, _HANDLE, INGRESS, _LAST | _EVERY_PROTOCOL)
    return Request(rtnl.RTM_DELTFILTER, header + text(_KIND, "bpf"), tolerate=_NONE)


def _read_last(message: Message) -> tuple[int, int] | None:
    """Return the id of the program and the class id of a filter of ``attach_last``; None for other filters."""
    if _TCMSG.unpack_from(message.body)[4] & 0xFFFF0000 != _LAST:
        return None
    options = attributes(attributes(message.body, _TCMSG.size).get(_OPTIONS, b""))
    if _IDENTIFIER not in options:
        return None
    return number(options[_IDENTIFIER]), number(options.get(_CLASS))


def redirect_ingress(index: int, to: int) -> tuple[Request, Request]:
    """Make all packets that arrive by the link *index* arrive by the link *to* instead."""
    action = struct.pack("=IIiiiiI", 0, 0, _STOLEN, 0, 0, _INGRESS_REDIRECT, to)
    mirred = nest(1, text(_ACTION_KIND, "mirred"), nest(_ACTION_OPTIONS, attribute(_MIRRED_PARAMETERS, action)))
    options = nest(
        _OPTIONS,
        nest(_ACTIONS, mirred),
        attribute(_OPS_LEN, struct.pack("=H", 1)),
        attribute(_OPS, _MATCH_ALL),
        text(_NAME, "netd"),
    )
    header = _TCMSG.pack(0, index, _HANDLE, INGRESS, _FIRST | _EVERY_PROTOCOL)
    filter_ = Request(rtnl.RTM_NEWTFILTER, header + text(_KIND, "bpf") + options, CREATE | REPLACE)
    return attach(index, b"")[0], filter_


def redirects(message: Message) -> bool:
    """Return whether a filter is one of ``redirect_ingress``."""
    options = attributes(attributes(message.body, _TCMSG.size).get(_OPTIONS, b""))
    return options.get(_OPS) == _MATCH_ALL and b"mirred" in options.get(_ACTIONS, b"")


def detach(index: int) -> Request:
    return Request(rtnl.RTM_DELQDISC, _TCMSG.pack(0, index, _QDISC, _QDISC_PARENT, 0), tolerate=_NONE)


def list_programs(index: int, direction: int = INGRESS) -> Request:
    return Request(rtnl.RTM_GETTFILTER, _TCMSG.pack(0, index, 0, direction, 0))


def read_programs(messages: Iterable[Message]) -> Programs:
    """Return the programs of a dump of filters."""
    found = list(messages)
    first = next(filter(None, map(_read_program, found)), b"")
    return Programs(first, next(filter(None, map(_read_last, found)), None))


def _read_program(message: Message) -> bytes:
    """Return the program of a filter; b"" if the filter is not BPF in direct-action mode."""
    options = attributes(attributes(message.body, _TCMSG.size).get(_OPTIONS, b""))
    direct_action = int.from_bytes(options.get(_FLAGS, b""), "little") & _DIRECT_ACTION
    return options.get(_OPS, b"") if direct_action else b""
