"""The system call bpf(2): programs and maps by descriptor.

Owns nothing; the caller closes the descriptors.  Errors are raised as OSError.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}
"""The number of the system call by machine."""
# linux/bpf.h
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _PROGRAM_LOAD = range(6)
_PROGRAM_BY_ID, _MAP_BY_ID, _INFO = 13, 14, 15
_PERCPU_HASH, _NO_PREALLOCATION = 5, 1
_CLASSIFIER = 3
_CREATE = struct.Struct("=7I16s")
_LOAD = struct.Struct("=2I2Q2IQ2I16s")
_ELEMENT = struct.Struct("=I4xQQQ")
_INFO_REQUEST = struct.Struct("=IIQ")
_PROGRAM_INFO = struct.Struct("=II8sII3QIIQ16s")
"""``struct bpf_prog_info`` up to its name."""
_MOST_MAPS = 4
_INSTRUCTION = 8

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    identifier: int
    tag: bytes
    """The kernel's digest of the instructions, without the descriptors of maps."""
    maps: tuple[int, ...]
    """The ids of its maps."""


def create_map(name: str, key_size: int, value_size: int, entries: int) -> int:
    """Return the descriptor of a hash map with a value per processor, which takes memory per element."""
    attributes = _CREATE.pack(_PERCPU_HASH, key_size, value_size, entries, _NO_PREALLOCATION, 0, 0, name.encode())
    return _bpf(_MAP_CREATE, attributes)


def load_classifier(name: str, instructions: bytes) -> int:
    """Return the descriptor of a program for tc(8)."""
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"GPL")
    count = len(instructions) // _INSTRUCTION
    addresses = ctypes.addressof(code), ctypes.addressof(licence)
    return _bpf(_PROGRAM_LOAD, _LOAD.pack(_CLASSIFIER, count, *addresses, 0, 0, 0, 0, 0, name.encode()))


def program_by_id(identifier: int) -> int:
    return _bpf(_PROGRAM_BY_ID, struct.pack("=3I", identifier, 0, 0))


def map_by_id(identifier: int) -> int:
    return _bpf(_MAP_BY_ID, struct.pack("=3I", identifier, 0, 0))


def program_info(fd: int) -> ProgramInfo:
    maps = (ctypes.c_uint32 * _MOST_MAPS)()
    empty = _PROGRAM_INFO.pack(0, 0, b"", 0, 0, 0, 0, 0, 0, _MOST_MAPS, ctypes.addressof(maps), b"")
    found = ctypes.create_string_buffer(empty, len(empty))
    _bpf(_INFO, _INFO_REQUEST.pack(fd, len(empty), ctypes.addressof(found)))
    fields = _PROGRAM_INFO.unpack(found.raw)
    return ProgramInfo(fields[1], fields[2], tuple(maps[: min(fields[9], _MOST_MAPS)]))


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set an element; *value* holds the values of all possible processors, each padded to 8 bytes."""
    held, content = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_UPDATE, _ELEMENT.pack(fd, ctypes.addressof(held), ctypes.addressof(content), 0))


def delete(fd: int, key: bytes) -> None:
    """Delete an element, if it exists."""
    held = ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(_DELETE, _ELEMENT.pack(fd, ctypes.addressof(held), 0, 0))
    except OSError as problem:
        if problem.errno != errno.ENOENT:
            raise


def lookup(fd: int, key: bytes, size: int) -> bytes | None:
    """Return the values of all possible processors, *size* bytes; None if there is no such element."""
    held, content = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size)
    try:
        _bpf(_LOOKUP, _ELEMENT.pack(fd, ctypes.addressof(held), ctypes.addressof(content), 0))
    except OSError as problem:
        if problem.errno != errno.ENOENT:
            raise
        return None
    return content.raw


def keys(fd: int, key_size: int) -> Iterator[bytes]:
    """Yield the keys of a map that nothing changes meanwhile."""
    last: ctypes.Array[ctypes.c_char] | None = None
    while True:
        following = ctypes.create_string_buffer(key_size)
        address = ctypes.addressof(last) if last is not None else 0
        try:
            _bpf(_NEXT_KEY, _ELEMENT.pack(fd, address, ctypes.addressof(following), 0))
        except OSError as problem:
            if problem.errno != errno.ENOENT:
                raise
            return
        yield following.raw
        last = following


def _bpf(command: int, attributes: bytes) -> int:
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(errno.ENOSYS, f"bpf: unknown machine {platform.machine()}")
    held = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = _libc.syscall(
        ctypes.c_long(number), ctypes.c_int(command), ctypes.byref(held), ctypes.c_uint(len(attributes))
    )
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"bpf: {os.strerror(code)}")
    return result
