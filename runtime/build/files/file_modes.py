"""``--chmod``: octal modes, and symbolic ones such as ``u=rwX,go=rX``.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from netd.common.errors import BadRequest

_CLAUSE = re.compile(r"([ugoa]*)([-+=])([rwxXst]*)\Z")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
_ANY_EXECUTE = 0o111


@dataclass(frozen=True, slots=True)
class ModeChange:
    """An octal mode, or the clauses of a symbolic one."""

    octal: int | None
    clauses: tuple[tuple[str, str, str], ...] = ()

    def apply(self, mode: int, *, is_folder: bool) -> int:
        """Return the mode that a file of *mode* gets."""
        if self.octal is not None:
            return self.octal
        for who, operator, permissions in self.clauses:
            mode = _apply(mode, who or "ugo", operator, permissions, is_folder)
        return mode


def parse(text: str) -> ModeChange:
    """Parse the value of ``--chmod``.  Raises BadRequest."""
    if re.fullmatch(r"[0-7]{1,5}", text, re.ASCII):
        return ModeChange(int(text, 8) & 0o7777)
    found = [_CLAUSE.match(clause) for clause in text.split(",")]
    clauses = tuple((clause[1].replace("a", "ugo"), clause[2], clause[3]) for clause in found if clause is not None)
    if len(clauses) != len(found):
        raise BadRequest(
            f"invalid chmod parameter: {text[:80]!r}: use octal digits such as 0644, or a form such as u=rwX"
        )
    return ModeChange(None, clauses)


def _apply(mode: int, who: str, operator: str, permissions: str, is_folder: bool) -> int:
    bits = mask = 0
    executable = is_folder or bool(mode & _ANY_EXECUTE)
    for letter in set(who):
        mask |= 7 << _SHIFT[letter]
        for permission in permissions:
            bit = int(executable) if permission == "X" else _BITS.get(permission, 0)
            bits |= bit << _SHIFT[letter]
    if "s" in permissions:
        bits |= (0o4000 if "u" in who else 0) | (0o2000 if "g" in who else 0)
    if "t" in permissions:
        bits |= 0o1000
    if operator == "=":
        return mode & ~mask | bits
    return mode | bits if operator == "+" else mode & ~bits
