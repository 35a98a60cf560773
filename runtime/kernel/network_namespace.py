"""Creation and preparation of network namespaces without interfaces of netd, by short-lived threads.

Must not change the namespace of a long-lived thread: a failed return would leave it in the wrong namespace.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterable

from netd.new_thread import in_new_thread
from runtime.kernel import linux, proc

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_IFREQ = "16sH22x"


def create(sysctls: Iterable[tuple[str, str]]) -> int:
    """Return a descriptor of a new namespace with ``lo`` up and the sysctls set.  Raises OSError."""

    def body() -> int:
        linux.unshare(linux.CLONE_NEWNET)
        _prepare(sysctls)
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    return in_new_thread(body)


def prepare(path: str, sysctls: Iterable[tuple[str, str]]) -> int:
    """Bring ``lo`` up and set the sysctls in the namespace at *path*; return a descriptor of it.  Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def body() -> None:
        linux.setns(descriptor, linux.CLONE_NEWNET)
        _prepare(sysctls)

    try:
        in_new_thread(body)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def open_of(pid: int) -> int:
    """Return a descriptor of a process's namespace.  Raises FileNotFoundError if the process has ended."""
    return os.open(proc.namespace_path(pid, "net"), os.O_RDONLY | os.O_CLOEXEC)


def _prepare(sysctls: Iterable[tuple[str, str]]) -> None:
    """Bring ``lo`` up and set sysctls of the calling thread's namespace, netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        answer = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack(_IFREQ, b"lo", 0))
        flags: int = struct.unpack(_IFREQ, answer)[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack(_IFREQ, b"lo", flags | _IFF_UP))
    for name, value in sysctls:
        _write_sysctl(name, value)


def _write_sysctl(name: str, value: str) -> None:
    path = f"/proc/sys/{name.replace('.', '/')}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OSError(error.errno, f"cannot set the sysctl {name} to {value!r}: {error.strerror}") from None
