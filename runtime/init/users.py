"""User and groups of a process in a container, looked up in the image's own /etc/passwd and /etc/group.

Does not use the C library's name services (NSS), which would load libraries named by the image.  A line that does not
parse is skipped, so that an invalid number is never taken for 0.
"""

from __future__ import annotations

import os
import stat

from runtime.kernel import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST = 2147483647
"""Other runtimes have converted some larger numbers to 0."""
_FILE_LIMIT = 1 << 20
_PSEUDO = frozenset({0x9FA0, 0x62656572})
"""Magic numbers of procfs and sysfs, whose regular files can block or have effects when they are read."""

Passwd = list[tuple[str, int, int, str]]
"""(name, uid, gid, home)."""
Groups = list[tuple[str, int, tuple[str, ...]]]
"""(name, gid, members)."""


class UnknownUser(Exception):
    """The image has no such user or group; the message names it."""


class Identity:
    """The arguments of setgroups, setgid and setuid, and the home directory."""

    __slots__ = ("gid", "groups", "home", "uid")

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...], home: str) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.home = home


def lookup(user: str, group_add: Sequence[str], root: int) -> Identity:
    """Return the identity that *user* (``user``, ``uid``, each with ``:group`` or ``:gid``) has in the tree *root*.

    A file that cannot be read counts as empty if *user* and *group_add* are numbers.  Raises UnknownUser.
    """
    name, _colon, group = user.partition(":")
    passwd = parse_passwd(_read(root, "/etc/passwd", (name,)))
    groups = parse_group(_read(root, "/etc/group", (group, *group_add)))
    return resolve(user, group_add, passwd, groups)


def _read(root: int, path: str, wanted: Sequence[str]) -> str:
    try:
        return read_file(root, path)
    except UnknownUser:
        if any(text and _number(text) is None for text in wanted):
            raise
        return ""


def resolve(user: str, group_add: Sequence[str], passwd: Passwd, groups: Groups) -> Identity:
    """Return the identity from the parsed files.  Pure.  Raises UnknownUser."""
    user_text, colon, group = user.partition(":")
    name, uid, gid, home = _user(user_text or "0", passwd)
    if colon and group:
        gid = _group(group, groups)
        supplementary = [gid]
    else:
        supplementary = [gid, *(number for _name, number, members in groups if name and name in members)]
    supplementary += [_group(text, groups) for text in group_add]
    return Identity(uid, gid, tuple(dict.fromkeys(supplementary)), home)


def check(user: str, group_add: Sequence[str]) -> None:
    """Raise UnknownUser for a text that is neither a name nor a valid number; reads no files."""
    name, _colon, group = user.partition(":")
    for text in (name, group, *group_add):
        _number(text)


def _user(text: str, passwd: Passwd) -> tuple[str, int, int, str]:
    uid = _number(text)
    if uid is not None:
        return next((entry for entry in passwd if entry[1] == uid), ("", uid, 0, "/"))
    for entry in passwd:
        if entry[0] == text:
            return entry
    raise UnknownUser(f"unable to find user {text}: no matching entries in passwd file")


def _group(text: str, groups: Groups) -> int:
    gid_given = _number(text)
    if gid_given is not None:
        return gid_given
    for name, gid, _members in groups:
        if name == text:
            return gid
    raise UnknownUser(f"unable to find group {text}: no matching entries in group file")


def _number(text: str) -> int | None:
    """Return *text* as a number; None for a name.

    Digits are never a name: an image could give the name ``1000`` to root.  Raises UnknownUser for numbers out of
    range and for other spellings that int() accepts, such as ``+7``, ``1_000`` and digits of other scripts.
    """
    if text.isascii() and text.isdigit():
        if len(text) > 10 or int(text) > LARGEST:
            raise UnknownUser(f"user and group numbers must be in the range 0-{LARGEST}, not {_shown(text)}")
        return int(text)
    if _is_number(text) or "\0" in text:
        raise UnknownUser(
            f"user and group numbers must be in the range 0-{LARGEST} and written in the digits 0 to 9 alone,"
            f" not {_shown(text)}"
        )
    return None


def _is_number(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True


def _shown(text: str) -> str:
    return repr(text if len(text) <= 32 else f"{text[:32]}...")


def parse_passwd(text: str) -> Passwd:
    found: Passwd = []
    for fields in _lines(text, 4, 7):
        uid, gid = _strict(fields[2]), _strict(fields[3])
        if uid is not None and gid is not None:
            found.append((fields[0], uid, gid, fields[5] or "/"))
    return found


def parse_group(text: str) -> Groups:
    found: Groups = []
    for fields in _lines(text, 3, 4):
        gid = _strict(fields[2])
        if gid is not None:
            found.append((fields[0], gid, tuple(filter(None, fields[3].split(",")))))
    return found


def _lines(text: str, least: int, full: int) -> list[list[str]]:
    split = [line.strip().split(":") for line in text.split("\n") if line.strip() and not line.startswith("#")]
    return [fields + [""] * (full - len(fields)) for fields in split if len(fields) >= least and fields[0]]


def _strict(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= LARGEST else None


def read_file(root: int, path: str) -> str:
    """Return the text of a file of the image; "" if it does not exist.

    Raises UnknownUser for anything but a regular file of at most 1 MiB: reading a pipe would block, and reading a
    device could have effects.
    """
    try:
        # Checked by O_PATH first, because opening a device can have effects.
        os.close(_open_plain(root, path, os.O_PATH))
        descriptor = _open_plain(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as problem:
        raise UnknownUser(f"cannot read {path} of the image: {os.strerror(problem.errno or 0)}") from None
    try:
        return os.read(descriptor, _FILE_LIMIT).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)


def _open_plain(root: int, path: str, flags: int) -> int:
    descriptor = linux.openat2(root, path, flags, linux.IN_ROOT | linux.NO_MAGICLINKS)
    status = os.fstat(descriptor)
    plain = stat.S_ISREG(status.st_mode) and linux.filesystem_type(descriptor) not in _PSEUDO
    if plain and status.st_size <= _FILE_LIMIT:
        return descriptor
    os.close(descriptor)
    raise UnknownUser(f"{path} of the image is not a regular file of at most 1 MiB")
