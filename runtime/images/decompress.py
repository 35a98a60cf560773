"""Decompresses archives in this process, with bounds on memory and expansion.

The format is recognized by the first bytes, not by a file name or a declared type.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import queue
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from runtime.images.tarstream import BadArchive, ByteSource

_CHUNK = 1 << 19
_BLOCKS_AHEAD = 4
_PACKED_CHUNK = 1 << 14
"""Smaller than _CHUNK, because the rest of a chunk is copied at the end of each member, and members can be tiny."""
_MEMORY = 256 << 20
_ZSTD_WINDOW_LOG = 27
"""128 MiB, the largest window that zstd decompresses without being asked to."""
_FAULTS = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
_LARGEST_RATIO = 1000
_RATIO_FREE_SIZE = 16 << 20


class _Decompressor(Protocol):
    def decompress(self, data: bytes, max_length: int) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface of those of lzma and bz2, which keep unconsumed input themselves."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


def _zstd() -> _Decompressor:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


_FORMATS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": _Gzip,
    b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(memlimit=_MEMORY),
    b"BZh": bz2.BZ2Decompressor,
    b"\x28\xb5\x2f\xfd": _zstd,
    **{bytes([kind]) + b"\x2a\x4d\x18": _zstd for kind in range(0x50, 0x60)},
}
"""The last are skippable frames, with which archives of some tools begin (RFC 8878, section 3.1.2)."""


def is_compressed(start: bytes) -> bool:
    """Return whether data that begins with *start* is compressed in a known format."""
    return any(start.startswith(magic) for magic in _FORMATS)


class Inflated:
    """The decompressed bytes of *raw*, with their SHA-256 and their number.

    Reading raises BadArchive if the compressed data is damaged, or if it expands to more than 16 MiB and more than
    _LARGEST_RATIO times its size.
    """

    def __init__(self, raw: ByteSource, *, digest: bool = True) -> None:
        """Without *digest*, the SHA-256 is not computed."""
        self._with_digest = digest
        self._raw = raw
        self._consumed = 0
        self._chunk = _PACKED_CHUNK
        self._pending = self._more()
        self._make = self._format()
        if self._make is None:
            self._chunk = _CHUNK
        self._inner = self._make() if self._make else None
        self._hash = hashlib.sha256()
        self._block = b""
        self._position = 0
        self.size = 0
        """The number of bytes decompressed so far."""

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes decompressed so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes, b"" at the end only."""
        if self._position >= len(self._block):
            self._block, self._position = self.block(), 0
        data = self._block[self._position : self._position + size]
        self._position += len(data)
        return data

    def block(self) -> bytes:
        """Return the next bytes, at most _CHUNK, instead of :meth:`read`; b"" at the end only."""
        data = self._inflate(_CHUNK) if self._make else self._plain()
        if self._with_digest:
            self._hash.update(data)
        self.size += len(data)
        if self.size > _RATIO_FREE_SIZE and self.size > self._consumed * _LARGEST_RATIO:
            raise BadArchive(f"the archive grows to more than {_LARGEST_RATIO} times its size when unpacked")
        return data

    def _format(self) -> Callable[[], _Decompressor] | None:
        return next((make for magic, make in _FORMATS.items() if self._pending.startswith(magic)), None)

    def _more(self) -> bytes:
        data = self._raw.read(self._chunk)
        self._consumed += len(data)
        return data

    def _plain(self) -> bytes:
        data, self._pending = self._pending or self._more(), b""
        return data

    def _inflate(self, size: int) -> bytes:
        try:
            while self._inner is not None:
                if not self._inner.eof and (data := self._inner.decompress(self._pending, size)):
                    self._pending = b""
                    return data
                self._advance()
        except BadArchive:
            raise
        except Exception as error:
            if not isinstance(error, _FAULTS) and type(error).__name__ != "ZstdError":
                raise
            raise BadArchive(f"the archive's compression is broken: {error}") from None
        return b""

    def _advance(self) -> None:
        """Read the next bytes, or start the next member: compressed files may be concatenated."""
        assert self._inner is not None and self._make is not None
        if self._inner.eof:
            rest = self._inner.unused_data or self._more()
            self._pending = rest if rest.strip(b"\0") else b""
            self._inner = self._make() if self._pending else None
            return
        self._pending = self._more()
        if not self._pending:
            raise BadArchive("the archive is cut short")


class ReadAhead:
    """What *source* decompresses, read by a thread of its own, which hashes the bytes while others are unpacked."""

    def __init__(self, source: Inflated) -> None:
        self._source = source
        self._queue: queue.Queue[bytes] = queue.Queue(_BLOCKS_AHEAD)
        self._block = b""
        self._position = 0
        self._ended = self._closed = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def read(self, size: int, /) -> bytes:
        """Return up to *size* bytes, b"" at the end only.  Raises what the source has raised."""
        if self._position >= len(self._block):
            self._block, self._position = self._next(), 0
            if not self._block and self._failure is not None:
                raise self._failure
        data = self._block[self._position : self._position + size]
        self._position += len(data)
        return data

    def close(self) -> None:
        """End the thread; the rest of the source is not read."""
        self._closed = True
        while self._next():
            pass
        self._thread.join()

    def _next(self) -> bytes:
        if not self._ended:
            block = self._queue.get()
            self._ended = not block
            return block
        return b""

    def _run(self) -> None:
        try:
            while not self._closed and (block := self._source.block()):
                self._queue.put(block)
        except BaseException as error:
            self._failure = error
        finally:
            self._queue.put(b"")


@contextmanager
def read_ahead(source: Inflated) -> Iterator[ReadAhead]:
    """Yield a reader of *source*, whose ``digest`` and ``size`` are final when the reader has returned b""."""
    reader = ReadAhead(source)
    try:
        yield reader
    finally:
        reader.close()
