"""Copies changed files of the disk into the containers of a service, and deletes those that were removed."""

from __future__ import annotations

import os

from netd.cli.errors import ApiFault, Fault
from netd.cli.files import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from netd.cli.transport.http import Client
    from netd.compose.plan.existing import ExistingContainer

_MOST_REMOVED = 500
"""Paths that one command removes."""


def sync(engine: Client, container: ExistingContainer, files: Mapping[str, str], warn: Callable[[str], None]) -> None:
    """Make *files*, paths on the disk by absolute paths in the container, the same in a container.

    Folders are created without their content.  Removed files are deleted by ``rm`` of the container, which must run for
    it.  Raises Fault.
    """
    present = {target: path for target, path in files.items() if os.path.lexists(path)}
    removed = sorted(files.keys() - present.keys())
    if present:
        query = (("path", "/"), ("copyUIDGID", "1"))
        path = f"/containers/{container.id}/archive"
        try:
            engine.upload(path, query, _archive(present, warn), method="PUT").read()
        except ApiFault as fault:
            raise Fault(f"copying files to {container.name}: {fault.message}") from None
    for start in range(0, len(removed) if container.running else 0, _MOST_REMOVED):
        _remove(engine, container, removed[start : start + _MOST_REMOVED])


def _archive(files: Mapping[str, str], warn: Callable[[str], None]) -> Iterator[bytes]:
    links: dict[tuple[int, int], str] = {}
    for target, path in sorted(files.items()):
        try:
            yield from pack.member_of(path, target.lstrip("/"), links)
        except FileNotFoundError:
            continue  # It was removed meanwhile, which the next batch reports.
        except PermissionError as error:
            warn(f"{path} is not copied: {error.strerror}")
    yield pack.end()


def _remove(engine: Client, container: ExistingContainer, targets: list[str]) -> None:
    from netd.cli.compose.acting.hooks import run_hook
    from netd.compose.model import LifecycleHook

    hook = LifecycleHook(command=["rm", "-rf", "--", *targets])
    lines: list[str] = []
    try:
        run_hook(engine, container.id, container.name, hook, lines.append)
    except Fault as fault:
        reason = " ".join(lines) or fault.message
        raise Fault(f"deleting files in {container.name}: {reason}") from None
