"""nftables in this process by libnftables: one script is one transaction.

Owns a libnftables context in the network namespace of the thread that creates it.  Scripts are text, which is
readable, and which libnftables parses in half the time of JSON.  Callers must check names before they put them into
scripts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket

from netd.common.errors import KernelRefused

_LIBRARY = "libnftables.so.1"
_NETLINK_NETFILTER = 12
_HANDLES, _JSON, _TERSE = 1 << 3, 1 << 4, 1 << 11
"""NFT_CTX_OUTPUT_* of nftables/libnftables.h."""
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
    library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


def _probe() -> None:
    """Raise KernelRefused if no netlink socket below FD_SETSIZE can be opened: libnftables would abort the process."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as sock:
            if sock.fileno() >= _SELECTABLE:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    except OSError as problem:
        raise KernelRefused(f"nftables cannot be reached: {problem.strerror}", problem.errno or 0) from problem


class Nft:
    """Use it in the thread that creates it."""

    def __init__(self, *, json: bool = False) -> None:
        """*json*: scripts and output are JSON (libnftables-json(5)), without the elements of named sets."""
        self._library = _load()
        self._flags = _JSON | _HANDLES | _TERSE if json else 0
        self._context: int | None = None
        self._open()

    def _open(self) -> None:
        _probe()
        self._context = self._library.nft_ctx_new(0)
        self._library.nft_ctx_output_set_flags(self._context, self._flags)
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
        """Run the script as one transaction and return the output of its list commands.

        Raises KernelRefused with libnftables' message.
        """
        if self._context is None:
            self._open()
        failed = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
        errors = self._library.nft_ctx_get_error_buffer(self._context).decode(errors="replace")
        if failed:
            # The socket may hold replies to the failed command.  The library would read them as replies to the next
            # command and abort the process.
            self.close()
            raise KernelRefused(_message(errors))
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        return output.decode(errors="replace")


def _message(errors: str) -> str:
    reason = errors.strip().splitlines()[0].removeprefix("Error: ") if errors.strip() else "no reason given"
    hint = ""
    if "not supported" in reason or ("cache initialization" in reason and not any(map(reason.count, _SHORTAGES))):
        hint = ": this kernel or network namespace has no nftables with nat and fib"
    return f"nftables refused the change ({reason}){hint}"
