"""nftables in process: one script, one transaction.

Owns a libnftables context in the network namespace of the thread that makes it.  Scripts are text: it is what
people read, and libnftables takes it in half the time of JSON.  Names in scripts must be checked by
whoever writes them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

from netd.common.errors import KernelRefused

_LIBRARY = "libnftables.so.1"
_NETLINK_NETFILTER = 12
_SELECTABLE = 1024
_SHORTAGES = ("Cannot allocate memory", "Too many open files", "No buffer space")


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as problem:
        raise KernelRefused(f"{_LIBRARY} cannot be loaded: install the package libnftables1") from problem
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_free", "nft_ctx_buffer_output", "nft_ctx_buffer_error"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _probe() -> None:
    """Refuse where the library would end the whole process: it does without a socket of a low number."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as tried:
            if tried.fileno() >= _SELECTABLE:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    except OSError as problem:
        raise KernelRefused(f"nftables cannot be reached: {problem.strerror}", problem.errno or 0) from problem


class Nft:
    """To be used in the thread that makes it."""

    def __init__(self) -> None:
        self._library = _load()
        self._context: int | None = None
        self._open()

    def _open(self) -> None:
        _probe()
        self._context = self._library.nft_ctx_new(0)
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def run(self, script: str) -> str:
        """Carry the script out as a whole or not at all, and return what it lists.

        Raises KernelRefused with nft's own words.
        """
        if self._context is None:
            self._open()
        failed = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
        said = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
        if failed:
            # The socket may hold answers to a command that was broken off.  The library would take them for answers
            # to the next one, and end the process.
            self.close()
            raise KernelRefused(_explain(said))
        listed: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        return listed.decode(errors="replace")


def _explain(said: str) -> str:
    reason = said.strip().splitlines()[0].removeprefix("Error: ") if said.strip() else "no reason given"
    hint = ""
    if "not supported" in reason or ("cache initialization" in reason and not any(map(reason.count, _SHORTAGES))):
        hint = ": this kernel or network namespace has no nftables with nat and fib"
    return f"nftables refused the change ({reason}){hint}"
