"""Sparse files in tar archives: where the bytes that the archive holds belong in the file.  Pure.

Forms: GNU's old header (type ``S``), and the pax forms 0.0, 0.1 and 1.0 of GNU tar's manual, appendix "Sparse Formats".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

BLOCK = 512
_MOST_REGIONS = 1 << 17
_LARGEST = (1 << 63) - 1
_PREFIX = "GNU.sparse."

Regions = tuple[tuple[int, int], ...]
"""(offset, size) of the regions with data, ascending; the rest of the file is zeros."""


class BadSparse(Exception):
    """The map of a sparse file is invalid."""


def is_pax(extended: Mapping[str, bytes]) -> bool:
    return any(key.startswith(_PREFIX) for key in extended)


def pax_name(extended: Mapping[str, bytes]) -> bytes | None:
    return extended.get(f"{_PREFIX}name")


def of_pax(extended: Mapping[str, bytes], read: Callable[[int], bytes]) -> tuple[int, Regions, int]:
    """Return (size of the file, regions, bytes of the map that were read from the content by *read*)."""
    if extended.get(f"{_PREFIX}major") == b"1":
        size = _number(extended.get(f"{_PREFIX}realsize", b""))
        numbers, consumed = _map_in_content(read)
    else:
        size = _number(extended.get(f"{_PREFIX}size", b""))
        text = extended.get(f"{_PREFIX}map", b"")
        numbers, consumed = [_number(part) for part in text.split(b",")] if text else [], 0
    return size, _checked(numbers, size), consumed


def _map_in_content(read: Callable[[int], bytes]) -> tuple[list[int], int]:
    """Read the map of form 1.0: a count and then pairs, decimal, one a line, padded to whole blocks."""
    data, consumed = b"", 0
    numbers: list[int] = []
    wanted = 1
    while len(numbers) < wanted:
        line, newline, rest = data.partition(b"\n")
        if not newline:
            if len(data) > BLOCK:
                raise BadSparse
            data += read(BLOCK)
            consumed += BLOCK
            continue
        data = rest
        numbers.append(_number(line))
        if len(numbers) == 1:
            wanted = 1 + 2 * numbers[0]
            if numbers[0] > _MOST_REGIONS:
                raise BadSparse
    return numbers[1:], consumed


def of_gnu(header: bytes, number: Callable[[bytes], int], read: Callable[[int], bytes]) -> tuple[int, Regions]:
    """Return (size of the file, regions) of an entry of type ``S``; *read* reads the blocks after its header."""
    numbers = _pairs(header, 386, 4, number)
    more = header[482:483]
    while more.strip(b"\0"):
        block = read(BLOCK)
        numbers += _pairs(block, 0, 21, number)
        more = block[504:505]
        if len(numbers) > 2 * _MOST_REGIONS:
            raise BadSparse
    size = number(header[483:495])
    return size, _checked(numbers, size)


def _pairs(block: bytes, start: int, count: int, number: Callable[[bytes], int]) -> list[int]:
    found: list[int] = []
    for position in range(start, start + 24 * count, 24):
        offset, size = block[position : position + 12], block[position + 12 : position + 24]
        if not size.strip(b"\0 "):
            break
        found += [number(offset), number(size)]
    return found


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise BadSparse
    return int(text)


def _checked(numbers: list[int], size: int) -> Regions:
    if len(numbers) % 2 or len(numbers) > 2 * _MOST_REGIONS or not 0 <= size <= _LARGEST:
        raise BadSparse
    regions = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    position = 0
    for offset, length in regions:
        if offset < position or length < 0 or offset + length > size:
            raise BadSparse
        position = offset + length
    return tuple(region for region in regions if region[1])


def holes(regions: Iterable[tuple[int, int]], size: int) -> Iterable[tuple[int, int]]:
    """Yield for each region (zeros before it, its size), and at the end (zeros after the last, 0)."""
    position = 0
    for offset, length in regions:
        yield offset - position, length
        position = offset + length
    yield size - position, 0
