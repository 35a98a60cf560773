"""The files that the runtime creates in the root of every container: neither the image's nor the user's.  Pure.

They are not changes of the container, and not part of an image that is made from it.
"""

from __future__ import annotations

FILES = frozenset({b"/.dockerenv", b"/etc/hostname", b"/etc/hosts", b"/etc/mtab", b"/etc/resolv.conf"})
"""Empty files, which are mount points, and the link /etc/mtab."""

SYSTEM_FOLDERS = (b"/proc", b"/sys", b"/dev")
"""Mount points of every container."""

FOLDERS = frozenset({b"/dev", b"/etc", b"/proc", b"/sys"})
"""Directories that are created if the image has none; the time of /etc changes when files are created in it."""
