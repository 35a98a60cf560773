"""Values of plain YAML scalars, by the rules of the YAML library of Docker's compose.  Pure.

``yes``, ``no``, ``on`` and ``off`` are strings (YAML 1.2); ``0755`` and ``0o755`` are octal; ``1_000`` is a number;
``12:30`` and dates are strings.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

_CONSTANTS: dict[str, Scalar] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan,
    **{f"{sign}{word}": value for sign, value in (("", math.inf), ("+", math.inf), ("-", -math.inf))
       for word in (".inf", ".Inf", ".INF")},
}  # fmt: skip
_INTEGER = re.compile(r"([-+]?)(?:0b([01_]+)|0x([0-9a-fA-F_]+)|0o?([0-7_]+)|([0-9][0-9_]*))\Z", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z", re.ASCII)
_DIGITS = 64
"""Longest text that is read as a number; longer texts are strings."""


def plain(text: str) -> Scalar:
    """Return the value of a scalar without quotes and without tag."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if len(text) > _DIGITS or text[0] not in "+-.0123456789":
        return text
    found = _INTEGER.match(text)
    if found:
        return _integer(found, text)
    digits = text.replace("_", "")
    return float(digits) if _FLOAT.match(digits) else text


def _integer(found: re.Match[str], text: str) -> Scalar:
    sign = -1 if found[1] == "-" else 1
    for group, base in ((2, 2), (3, 16), (4, 8), (5, 10)):
        digits = (found[group] or "").replace("_", "")
        if digits:
            number = sign * int(digits, base)
            return number if -(2**63) <= number < 2**64 else float(number)
    return 0 if found[4] is not None or text.lstrip("+-") == "0" else text


def as_text(value: Scalar) -> str:
    """Return a scalar as Docker's compose writes it where text is wanted: ``true``, ``1.5``, ``1e+21``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float_text(value)
    return str(value)


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    mantissa, mark, exponent = repr(value).partition("e")
    if not mark:
        return mantissa
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].zfill(2)}"
