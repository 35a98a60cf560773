"""``--chown``: user and group by number, or by name in the image's /etc/passwd and /etc/group."""

from __future__ import annotations

from netd.common.errors import BadRequest
from runtime.init import users


def resolve(text: str, root: int) -> tuple[int, int]:
    """Return (uid, gid) of ``user``, ``user:group`` or ``:group`` in the image *root*.

    Without a group, it is the one with the user's name or number.  Raises BadRequest with Docker's words.
    """
    user, colon, group = text.partition(":")
    try:
        identity = users.lookup(user or "0", (), root)
        if colon and group:
            return identity.uid, users.lookup(f"0:{group}", (), root).gid
        return identity.uid, identity.uid if user.isdigit() else _group_of(user, identity.gid, root)
    except users.UnknownUser as error:
        raise BadRequest(f"unable to convert uid/gid chown string to host mapping: {error}") from None


def _group_of(user: str, primary: int, root: int) -> int:
    try:
        return users.lookup(f"0:{user}", (), root).gid
    except users.UnknownUser:
        return primary
