"""Platforms of images, as ``linux/arm64/v8``: parsing, normalization, and which platforms a host can run.  Pure.

Names are Go's (GOOS, GOARCH); the rules are those of containerd's package ``platforms``, which Docker uses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from netd.common.errors import BadRequest

_PART = re.compile(r"[A-Za-z0-9_-]{1,64}\Z", re.ASCII)
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "i486": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armhf": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "armel": "arm",
}
_SYSTEMS = ("linux", "windows", "darwin", "freebsd")
_FALLBACKS = {
    "amd64": (("386", ""),),
    "arm64": (("arm", "v8"), ("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
    "arm": (("arm", "v7"), ("arm", "v6"), ("arm", "v5")),
}


@dataclass(frozen=True, slots=True)
class Platform:
    os: str
    architecture: str
    variant: str = ""
    """Empty for the usual variant of an architecture: v8 of arm64, v1 of amd64, v7 of arm."""

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))

    def fits(self, other: Platform) -> bool:
        """Return whether *other* is the same platform."""
        return normalized(self) == normalized(other)


def parse(text: str, host: Platform) -> Platform:
    """Parse ``os/architecture[/variant]``, ``os`` or ``architecture``; missing parts are those of *host*.

    Raises BadRequest with Docker's text.
    """
    parts = text.strip().split("/")
    if len(parts) > 3:
        raise BadRequest(f'"{text[:80]}": cannot parse platform specifier: invalid argument')
    if not all(_PART.match(part) for part in parts):
        raise BadRequest(f'"{text[:80]}": unknown operating system or architecture: invalid argument')
    if len(parts) > 1:
        return normalized(Platform(parts[0].lower(), *parts[1:]))
    name = parts[0].lower()
    if name in _SYSTEMS:
        return normalized(Platform(name, host.architecture, host.variant))
    known = {*_ARCHITECTURES, *_ARCHITECTURES.values(), "ppc64le", "s390x", "riscv64", "mips64le", "loong64"}
    if name not in known:
        raise BadRequest(f'"{text[:80]}": unknown operating system or architecture: invalid argument')
    return normalized(Platform(host.os, name))


def normalized(platform: Platform) -> Platform:
    architecture = platform.architecture.lower()
    architecture, variant = _ARCHITECTURES.get(architecture, architecture), platform.variant.lower()
    if variant and not variant.startswith("v"):
        variant = f"v{variant}"
    if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1"), ("arm", "v7")):
        variant = ""
    return Platform(platform.os.lower(), architecture, variant)


def best(found: Sequence[Platform | None], wanted: Platform) -> int | None:
    """Return the index of the platform that suits *wanted* best, None if none does; entries may have no platform."""
    known = [normalized(platform) if platform else None for platform in found]
    for candidate in _candidates(normalized(wanted)):
        if candidate in known:
            return known.index(candidate)
    return None


def _candidates(wanted: Platform) -> list[Platform]:
    """Return *wanted*, then platforms whose programs it runs too."""
    fallbacks = _FALLBACKS.get(wanted.architecture, ()) if wanted.variant in ("", "v8") else ()
    others = [normalized(Platform(wanted.os, architecture, variant)) for architecture, variant in fallbacks]
    plain = [Platform(wanted.os, wanted.architecture)] if wanted.variant and wanted.architecture != "arm" else []
    return [wanted, *plain, *others]
