"""Reads tar archives as a stream of headers and file contents.

Not the standard library's tarfile, because archives are untrusted: sizes, names and extended headers are checked
against limits before use, names stay bytes, and no file system is accessed.  Formats: v7, ustar, GNU long names, pax.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Protocol, runtime_checkable

import msgspec

from netd.common.errors import BadRequest
from runtime.images import sparse
from runtime.images.sparse import BadSparse, Regions

BLOCK = 512
_LONGEST_EXTENDED = 1 << 20
_LARGEST_GLOBAL = 1 << 16
_MOST_ENTRIES = 1_000_000
_LONGEST_NAME, _LONGEST_PART, _DEEPEST = 4096, 255, 128
_LONGEST_SHOWN = 200
_KINDS = {
    b"0": "file",
    b"S": "file",
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
_USED = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"})
_USED_PREFIXES = (b"SCHILY.xattr.", b"GNU.sparse.")
_DECIMAL = re.compile(rb"-?\d{1,20}\Z")
_MOMENT = re.compile(rb"(-?)(\d{1,20})(?:\.(\d*))?\Z")
_NANOSECONDS = 10**9
_LATEST = (1 << 62) * _NANOSECONDS
_NEWLINE = 0x0A
_ZEROS = bytes(BLOCK)
_SHOWN_TEXT = 40
COMPRESSIONS = "gzip, bzip2, xz or zstd"
_OTHER_KINDS = {
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"!<arch>": "an ar archive, such as a Debian package",
    b"070701": "a cpio archive",
    b"\xed\xab\xee\xdb": "an RPM package",
    b"hsqs": "a squashfs file system",
    b"QFI\xfb": "a qcow2 disk image",
    b"\x7fELF": "an ELF program",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"SQLite format 3": "an SQLite database",
}
"""Kinds of files by their first bytes."""
_SPARSE_PAIR = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")


class ByteSource(Protocol):
    def read(self, size: int, /) -> bytes: ...


@runtime_checkable
class Skipping(Protocol):
    """A source that can pass over bytes without reading them."""

    def skip(self, size: int, /) -> bool:
        """Pass over *size* bytes; return whether there are that many."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One member of an archive.  ``parts`` is its path below the root, empty for the root itself."""

    parts: tuple[bytes, ...]
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    """Of a sparse file, including its holes."""
    mtime: int
    """Nanoseconds since 1970."""
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = {}
    regions: Regions | None = None
    """Of a sparse file, where the bytes of :meth:`TarStream.packed` belong."""

    @property
    def shown(self) -> str:
        return shown(b"/".join(self.parts)) or "/"


class BadArchive(BadRequest):
    """The archive is no tar archive, is cut short, or has entries that are not allowed in a layer."""


class NotAnArchive(BadArchive):
    """The data does not begin as a tar archive does.

    *found* says what it is, *remedy* what to do instead; the message names the compressions that are understood.
    """

    def __init__(self, found: str, remedy: str = "send a tar archive") -> None:
        self.found = found
        super().__init__(f"the data is {found}, not a tar archive: {remedy}, plain or compressed with {COMPRESSIONS}")


class TarStream:
    """Iterating yields the entries; :meth:`content` yields the bytes of the latest entry, once."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._skip = source.skip if isinstance(source, Skipping) else self._read_over
        self._left = 0
        self._padding = 0
        self._sparse: tuple[int, Regions] | None = None
        self._begun = False

    def __iter__(self) -> Iterator[Entry]:
        defaults: dict[str, bytes] = {}
        count = 0
        while (header := self._header()) is not None:
            extended, limit = dict(defaults), _LONGEST_EXTENDED
            while header[156:157] in (b"x", b"g", b"L", b"K"):
                limit -= self._extend(header, extended, defaults, limit)
                if (following := self._header()) is None:
                    raise BadArchive("the archive ends after an extended header")
                header = following
            count += 1
            if count > _MOST_ENTRIES:
                raise BadArchive(f"the archive has more than {_MOST_ENTRIES} entries")
            yield self._entry(header, extended)

    def content(self) -> Iterator[bytes]:
        """Yield the bytes of the entry that was yielded last, with the zeros of a sparse file."""
        if self._sparse is None:
            yield from self.packed()
            return
        size, regions = self._sparse
        for zeros, length in sparse.holes(regions, size):
            for start in range(0, zeros, 1 << 18):
                yield bytes(min(zeros - start, 1 << 18))
            yield from self._next(length)

    def packed(self) -> Iterator[bytes]:
        """Yield the bytes of the entry that the archive holds: of a sparse file only those of its regions."""
        return self._next(self._left)

    def _next(self, size: int) -> Iterator[bytes]:
        """Yield the next *size* bytes of the entry."""
        end = self._left - size
        while self._left > end:
            data = self._source.read(min(self._left - end, 1 << 18))
            if not data:
                raise _cut_short()
            self._left -= len(data)
            yield data

    def drain(self) -> None:
        """Read the bytes after the end of the archive, which are part of its checksum."""
        while self._source.read(1 << 18):
            pass

    def _header(self) -> bytes | None:
        self._sparse = None
        if self._left and not self._skip(self._left):
            raise _cut_short()
        padding, self._left, self._padding = self._padding, 0, 0
        block = self._up_to(padding + BLOCK)
        if len(block) < padding:
            raise _cut_short()
        block = block[padding:]
        if not block or block == _ZEROS:
            return None
        if not self._begun:
            _recognize(block)
            self._begun = True
        if len(block) < BLOCK:
            raise _cut_short()
        _verify(block)
        return block

    def _read_over(self, size: int) -> bool:
        while size and (data := self._source.read(min(size, 1 << 18))):
            size -= len(data)
        return not size

    def _extend(self, header: bytes, extended: dict[str, bytes], defaults: dict[str, bytes], limit: int) -> int:
        """Read one extended header of at most *limit* bytes; return the size of its blocks."""
        kind, size = header[156:157], _number(header[124:136], "size")
        if not 0 <= size <= limit:
            raise BadArchive(
                f"the archive has extended headers of more than {_LONGEST_EXTENDED} bytes for one entry"
                if size >= 0
                else "the archive has an extended header of negative size"
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
            found = _pax(data)
            defaults.update(found)
            extended.update(found)
            if sum(len(key) + len(value) for key, value in defaults.items()) > _LARGEST_GLOBAL:
                raise BadArchive(f"the archive has global extended headers of more than {_LARGEST_GLOBAL} bytes")
        return BLOCK + size

    def _entry(self, header: bytes, extended: Mapping[str, bytes]) -> Entry:
        name = extended.get("path") or _name(header)
        kind = _KINDS.get(header[156:157])
        if kind is None:
            raise BadArchive(f"the archive has an entry of unknown type {header[156:157]!r}")
        if kind == "file" and name.endswith(b"/"):
            kind = "directory"
        size = self._size(header, extended) if kind == "file" else 0
        self._left, self._padding = size, -size % BLOCK
        if kind == "file" and ((extended and sparse.is_pax(extended)) or header[156:157] == b"S"):
            size, name = self._read_map(header, extended, name)
        return Entry(
            parts=split(name),
            kind=kind,
            mode=_number(header[100:108], "mode") & 0o7777,
            uid=_decimal(extended, "uid", header[108:116]),
            gid=_decimal(extended, "gid", header[116:124]),
            size=size,
            mtime=_mtime(header, extended),
            link=extended.get("linkpath") or _until_nul(header[157:257]),
            device=(_number(header[329:337], "device"), _number(header[337:345], "device"))
            if kind in ("char", "block")
            else (0, 0),
            xattrs={key.removeprefix(_XATTR): value for key, value in extended.items() if key.startswith(_XATTR)}
            if extended
            else {},
            regions=self._sparse[1] if self._sparse else None,
        )

    def _read_map(self, header: bytes, extended: Mapping[str, bytes], name: bytes) -> tuple[int, bytes]:
        """Read the map of a sparse file; return its size and name."""
        try:
            if header[156:157] == b"S":
                size, regions = sparse.of_gnu(header, lambda digits: _number(digits, "sparse map"), self._exactly)
            else:
                size, regions, consumed = sparse.of_pax(extended, self._exactly)
                self._left -= consumed
                name = sparse.pax_name(extended) or name
        except BadSparse:
            raise BadArchive(f"the archive has a sparse file with an invalid map: {shown(name)}") from None
        if sum(length for _, length in regions) != self._left:
            raise BadArchive(f"the archive has a sparse file with an invalid map: {shown(name)}")
        self._sparse = (size, regions)
        return size, name

    def _size(self, header: bytes, extended: Mapping[str, bytes]) -> int:
        size = _decimal(extended, "size", header[124:136])
        if size < 0:
            raise BadArchive("the archive has an entry of negative size")
        return size

    def _up_to(self, size: int) -> bytes:
        first = self._source.read(size) if size else b""
        if len(first) == size:
            return first
        data_read = bytearray(first)
        while len(data_read) < size and (more := self._source.read(size - len(data_read))):
            data_read += more
        return bytes(data_read)

    def _exactly(self, size: int) -> bytes:
        data = self._up_to(size)
        if len(data) < size:
            raise _cut_short()
        return data


def shown(path: bytes) -> str:
    """Return a path for a message: one line of at most 200 characters, control characters escaped."""
    text = path[:_LONGEST_SHOWN].decode(errors="backslashreplace")
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return escaped if len(path) <= _LONGEST_SHOWN and len(escaped) <= _LONGEST_SHOWN else f"{escaped[:_LONGEST_SHOWN]}…"


def split(name: bytes) -> tuple[bytes, ...]:
    """Return a path's components below the root.  Raises BadArchive for ``..`` and names too long for a file system."""
    above, slash, last = name.rpartition(b"/")
    if slash and last not in (b"", b".", b"..") and b"\0" not in last and len(last) <= _LONGEST_PART:
        parts = _split(above)
        if len(name) <= _LONGEST_NAME and len(parts) < _DEEPEST:
            return (*parts, last)
    return _split(name)


@lru_cache(maxsize=128)
def _split(name: bytes) -> tuple[bytes, ...]:
    if b"\0" in name or len(name) > _LONGEST_NAME:
        raise BadArchive(f"the archive has an impossible name of {len(name)} bytes")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise BadArchive(f"the archive has a name that leaves its root: {shown(name)}")
    if len(parts) > _DEEPEST or any(len(part) > _LONGEST_PART for part in parts):
        raise BadArchive(f"the archive has a name that is too long or too deep: {shown(name)}")
    return parts


def _cut_short() -> BadArchive:
    return BadArchive("the archive is cut short")


def _recognize(block: bytes) -> None:
    """Raise NotAnArchive if *block*, the first of the data, is no header, or the beginning of one that is cut short."""
    try:
        if len(block) == BLOCK:
            _verify(block)
            return
    except BadArchive:
        pass
    if found := next((kind for start, kind in _OTHER_KINDS.items() if block.startswith(start)), ""):
        raise NotAnArchive(found)
    if text := _beginning(block):
        raise NotAnArchive(f"text that begins with {text}")
    if len(block) == BLOCK:
        raise NotAnArchive("of an unknown kind")


def _beginning(block: bytes) -> str:
    """Return the first words of a text in quotes; empty for other data."""
    text = block.decode(errors="ignore")
    plain = all(c.isprintable() or c in "\t\r\n\f" for c in text) and len(text.encode()) > len(block) - 4
    return repr(text.strip().partition("\n")[0][:_SHOWN_TEXT]) if plain else ""


def _verify(block: bytes) -> None:
    wanted = _number(block[148:156], "checksum")
    plain = sum(block) - sum(block[148:156]) + 8 * 32
    if wanted != plain:
        raise BadArchive("not a tar archive: the checksum of a header is wrong")


def _name(header: bytes) -> bytes:
    name = _until_nul(header[:100])
    if header[345] and header[257:263] == b"ustar\0":
        return _until_nul(header[345:500]) + b"/" + name
    return name


def _until_nul(text: bytes) -> bytes:
    end = text.find(b"\0")
    return text[:end] if end >= 0 else text


def _number(digits: bytes, what: str) -> int:
    if digits[0] & 0x80:
        return int.from_bytes(digits[1:], "big") if digits[0] == 0x80 else int.from_bytes(digits, "big", signed=True)
    text = digits.strip(b" \0")
    try:
        return int(text, 8) if text else 0
    except ValueError:
        raise BadArchive(f"not a tar archive: the {what} {text!r} is not an octal number") from None


def _decimal(extended: Mapping[str, bytes], key: str, fallback: bytes) -> int:
    if key not in extended:
        return _number(fallback, key)
    if not _DECIMAL.match(extended[key]):
        raise BadArchive(f"the archive has a {key} that is not a number")
    return int(extended[key])


def _mtime(header: bytes, extended: Mapping[str, bytes]) -> int:
    if "mtime" not in extended:
        moment = _number(header[136:148], "mtime") * _NANOSECONDS
    elif found := _MOMENT.match(extended["mtime"]):
        sign, whole, fraction = found.groups(default=b"")
        moment = int(whole) * _NANOSECONDS + int(fraction[:9].ljust(9, b"0"))
        moment = -moment if sign else moment
    else:
        raise BadArchive("the archive has an mtime that is not a number")
    if not -_LATEST <= moment <= _LATEST:
        raise BadArchive("the archive has an mtime that is out of range")
    return moment


def _pax(data: bytes) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + 8)
        digits = data[start : max(space, start)]
        end = start + int(digits) if digits.isdigit() else 0
        if not space + 1 < end <= len(data) or data[end - 1] != _NEWLINE:
            raise BadArchive("the archive has an extended header that cannot be read")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise BadArchive("the archive has an extended header that cannot be read")
        start = end
        if key in _SPARSE_PAIR:
            # The pax form 0.0 repeats both keys; 0.1 has the same numbers in one value.
            known = found.get("GNU.sparse.map")
            found["GNU.sparse.map"] = known + b"," + value if known is not None else value
        elif key in _USED or key.startswith(_USED_PREFIXES):
            found[key.decode(errors="replace")] = value
    return found
