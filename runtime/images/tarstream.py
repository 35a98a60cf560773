"""Reads tar archives as a stream: headers and the bytes behind them, nothing else.

A reader of our own, because the archive is hostile: sizes, names and extended headers are bounded before they are
believed, names stay bytes, and nothing here touches a file system.  Formats: v7, ustar, GNU long names, pax.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from netd.common.errors import BadRequest

BLOCK = 512
_LONGEST_EXTENDED = 1 << 20
_MOST_ENTRIES = 1_000_000
_LONGEST_NAME, _LONGEST_PART, _DEEPEST = 4096, 255, 128
_KINDS = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
}
_XATTR = "SCHILY.xattr."


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of an archive.  ``parts`` is its path below the root, empty for the root itself."""

    parts: tuple[bytes, ...]
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        return b"/".join(self.parts).decode(errors="backslashreplace") or "/"


class BadArchive(BadRequest):
    """The archive is not one, is cut short, or asks for what no layer may hold."""


class TarStream:
    """Iterate for the entries; :meth:`content` gives the bytes of the latest, once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Entry]:
        defaults: dict[str, bytes] = {}
        count = 0
        while (header := self._header()) is not None:
            extended = dict(defaults)
            while header[156:157] in (b"x", b"g", b"L", b"K"):
                self._extend(header, extended, defaults)
                if (following := self._header()) is None:
                    raise BadArchive("the archive ends after an extended header")
                header = following
            count += 1
            if count > _MOST_ENTRIES:
                raise BadArchive(f"the archive has more than {_MOST_ENTRIES} entries")
            yield self._entry(header, extended)

    def content(self) -> Iterator[bytes]:
        """Yield the bytes of the entry that was yielded last."""
        while self._left:
            data = self._source.read(min(self._left, 1 << 18))
            if not data:
                raise _cut()
            self._left -= len(data)
            yield data

    def drain(self) -> None:
        """Read what follows the archive's end, as its checksum covers it."""
        while self._source.read(1 << 18):
            pass

    def _header(self) -> bytes | None:
        for _ in self.content():
            pass
        self._exactly(self._padding)
        self._padding = 0
        block = self._some(BLOCK)
        if not block or not any(block):
            return None
        if len(block) < BLOCK:
            raise _cut()
        _verify(block)
        return block

    def _extend(self, header: bytes, extended: dict[str, bytes], defaults: dict[str, bytes]) -> None:
        kind, size = header[156:157], _number(header[124:136], "size")
        if not 0 <= size <= _LONGEST_EXTENDED:
            raise BadArchive(
                f"the archive has an extended header of {size} bytes; at most {_LONGEST_EXTENDED} are allowed"
            )
        data = self._exactly(size)
        self._exactly(-size % BLOCK)
        if kind == b"L":
            extended["path"] = data.rstrip(b"\0")
        elif kind == b"K":
            extended["linkpath"] = data.rstrip(b"\0")
        elif kind == b"x":
            extended.update(_pax(data))
        else:
            defaults.update(_pax(data))
            extended.update(_pax(data))

    def _entry(self, header: bytes, extended: Mapping[str, bytes]) -> Entry:
        if any(key.startswith("GNU.sparse.") for key in extended) or header[156:157] == b"S":
            raise BadArchive("the archive has sparse entries; make it without --sparse")
        name = extended.get("path") or _name(header)
        kind = _KINDS.get(header[156:157])
        if kind is None:
            raise BadArchive(f"the archive has an entry of unknown type {header[156:157]!r}")
        if kind == "file" and name.endswith(b"/"):
            kind = "directory"
        size = self._size(header, extended) if kind == "file" else 0
        self._left, self._padding = size, -size % BLOCK
        return Entry(
            parts=split(name),
            kind=kind,
            mode=_number(header[100:108], "mode") & 0o7777,
            uid=_decimal(extended, "uid", header[108:116]),
            gid=_decimal(extended, "gid", header[116:124]),
            size=size,
            mtime=_mtime(header, extended),
            link=extended.get("linkpath") or header[157:257].split(b"\0")[0],
            device=(_number(header[329:337], "device"), _number(header[337:345], "device"))
            if kind in ("char", "block")
            else (0, 0),
            xattrs={key.removeprefix(_XATTR): value for key, value in extended.items() if key.startswith(_XATTR)},
        )

    def _size(self, header: bytes, extended: Mapping[str, bytes]) -> int:
        size = _decimal(extended, "size", header[124:136])
        if size < 0:
            raise BadArchive("the archive has an entry of negative size")
        return size

    def _some(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        return data

    def _exactly(self, size: int) -> bytes:
        data = self._some(size)
        if len(data) < size:
            raise _cut()
        return data


def split(name: bytes) -> tuple[bytes, ...]:
    """Return a path's parts below the root.  Raises BadArchive for ``..`` and for what no file system takes."""
    if b"\0" in name or len(name) > _LONGEST_NAME:
        raise BadArchive(f"the archive has an impossible name of {len(name)} bytes")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise BadArchive(f"the archive has a name that leaves its root: {name.decode(errors='backslashreplace')}")
    if len(parts) > _DEEPEST or any(len(part) > _LONGEST_PART for part in parts):
        raise BadArchive(
            f"the archive has a name that is too long or too deep: {name[:80].decode(errors='backslashreplace')}…"
        )
    return parts


def _cut() -> BadArchive:
    return BadArchive("the archive is cut short")


def _verify(block: bytes) -> None:
    wanted = _number(block[148:156], "checksum")
    plain = sum(block) - sum(block[148:156]) + 8 * 32
    if wanted != plain:
        raise BadArchive("not a tar archive: the checksum of a header is wrong")


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0")[0]
    prefix = header[345:500].split(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _number(field_: bytes, what: str) -> int:
    if field_[0] & 0x80:
        return int.from_bytes(field_[1:], "big") if field_[0] == 0x80 else int.from_bytes(field_, "big", signed=True)
    text = field_.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise BadArchive(f"not a tar archive: the {what} {text!r} is not an octal number") from None


def _decimal(extended: Mapping[str, bytes], key: str, fallback: bytes) -> int:
    if key not in extended:
        return _number(fallback, key)
    try:
        return int(extended[key])
    except ValueError:
        raise BadArchive(f"the archive has a {key} that is not a number") from None


def _mtime(header: bytes, extended: Mapping[str, bytes]) -> float:
    try:
        return float(extended["mtime"]) if "mtime" in extended else float(_number(header[136:148], "mtime"))
    except ValueError:
        raise BadArchive("the archive has an mtime that is not a number") from None


def _pax(data: bytes) -> dict[str, bytes]:
    found = {}
    while data:
        digits, _, _ = data.partition(b" ")
        if not digits.isdigit() or len(digits) > 7 or not len(digits) + 3 <= int(digits) <= len(data):
            raise BadArchive("the archive has an extended header that cannot be read")
        record, data = data[len(digits) + 1 : int(digits)], data[int(digits) :]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise BadArchive("the archive has an extended header that cannot be read")
        found[key.decode(errors="replace")] = value[:-1]
    return found
