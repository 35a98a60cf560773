"""The rules of ``develop.watch``: which changed path belongs to which service, and what is done then.  Pure.

``ignore`` and ``include`` have patterns of .dockerignore files, relative to the path of the rule.  Files of editors,
``.git`` and what the build context excludes are ignored always.
"""

from __future__ import annotations

import os.path

from netd import path_patterns
from netd.cli.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from netd.compose.model import ComposeProject, ComposeService, WatchRule
    from netd.path_patterns import Pattern

REBUILD, SYNC, RESTART, SYNC_RESTART, SYNC_EXEC = "rebuild", "sync", "restart", "sync+restart", "sync+exec"
_SYNCING = (SYNC, SYNC_RESTART, SYNC_EXEC)
_TEMPORARY = path_patterns.compile_all(
    ("**/*___jb_old___", "**/*___jb_tmp___", "**/.idea/**", "**/.#*", "**/4913", "**/*~", "**/.*.sw[pxon]", "**/.git")
)
"""Files that editors write beside the edited one, and the repository."""
_NOT_SYNCED_FIRST = path_patterns.compile_all(
    ("**/Dockerfile", "**/compose.y*ml", "**/compose.override.y*ml", "**/docker-compose*.y*ml")
)


class Rule:
    """A rule of a service; ``ignored`` are the patterns of the build context, relative to ``context``."""

    __slots__ = (
        "_ignore",
        "_include",
        "action",
        "context",
        "hook",
        "ignored",
        "initial_sync",
        "path",
        "service",
        "target",
    )

    def __init__(self, service: str, written: WatchRule, context: str, ignored: Sequence[Pattern]) -> None:
        self.service, self.path, self.action = service, written.path.rstrip("/") or "/", written.action
        self.target, self.hook, self.initial_sync = written.target, written.exec, written.initial_sync
        self.context, self.ignored = context, ignored
        self._ignore = path_patterns.compile_all(written.ignore)
        self._include = path_patterns.compile_all(written.include)

    @property
    def syncs(self) -> bool:
        return self.action in _SYNCING

    def matches(self, path: str) -> bool:
        """Return whether a change of *path*, absolute, is one of this rule."""
        name = below(self.path, path)
        if name is None or self._excluded(name, path):
            return False
        return not self._include or not name or path_patterns.excludes(self._include, name)

    def skips(self, folder: str) -> bool:
        """Return whether nothing below *folder* can match, so that it need not be watched."""
        name = below(self.path, folder)
        if name is None:
            return below(folder, self.path) is None
        patterns = (*self._ignore, *self.ignored)
        return bool(name) and not path_patterns.includes_again(patterns) and self._excluded(name, folder)

    def synced_first(self, path: str) -> bool:
        """Return whether an initial sync copies *path*, a file: what builds the image is left out."""
        name = os.path.basename(path)
        return self.matches(path) and not path_patterns.excludes(_NOT_SYNCED_FIRST, name)

    def place(self, path: str) -> str:
        """Return the path in the container of *path*, which matches."""
        name = below(self.path, path) or ""
        return os.path.normpath(os.path.join(self.target, name)) if name else self.target

    def _excluded(self, name: str, path: str) -> bool:
        if name and path_patterns.excludes(self._ignore, name):
            return True
        if path_patterns.excludes(_TEMPORARY, path.lstrip("/")):
            return True
        inside = below(self.context, path) if self.context else None
        return bool(inside) and path_patterns.excludes(self.ignored, inside or "")


class Actions:
    """What one batch of changes asks for, by service."""

    def __init__(self) -> None:
        self.rebuild: dict[str, None] = {}
        self.sync: dict[str, dict[str, str]] = {}
        """By service, paths on the disk by their paths in the container."""
        self.restart: dict[str, None] = {}
        self.execute: list[Rule] = []

    def __bool__(self) -> bool:
        return bool(self.rebuild or self.sync or self.restart)


def actions(rules: Iterable[Rule], changed: Iterable[str]) -> Actions:
    """Return what the changed paths ask for.  A service that is rebuilt needs nothing else."""
    found = Actions()
    paths = list(changed)
    for rule in rules:
        matching = [path for path in paths if rule.matches(path)]
        if not matching:
            continue
        if rule.action == REBUILD:
            found.rebuild[rule.service] = None
        if rule.syncs:
            found.sync.setdefault(rule.service, {}).update({rule.place(path): path for path in matching})
        if rule.action in (RESTART, SYNC_RESTART):
            found.restart[rule.service] = None
        if rule.action == SYNC_EXEC:
            found.execute.append(rule)
    for service in found.rebuild:
        found.restart.pop(service, None)
    return found


def rules_of(
    project: ComposeProject,
    services: Sequence[str],
    read_ignored: Callable[[ComposeService], tuple[str, Sequence[Pattern]]],
    warn: Callable[[str], None],
) -> list[Rule]:
    """Return the rules of *services*; *read_ignored* returns the build context of a service, and what it excludes.

    Raises Fault for a rule that cannot be applied, and if there is none.
    """
    found: list[Rule] = []
    for key in services:
        service = project.services[key]
        written = service.develop.watch if service.develop is not None else []
        context, ignored = read_ignored(service) if written else ("", ())
        for index, entry in enumerate(written):
            place = f"services.{key}.develop.watch[{index}]"
            _check(place, entry, service)
            if entry.action in _SYNCING and (mount := _bind_mount(service, entry.path)):
                warn(f"{place}: {entry.path} is not watched, because the container has it by the mount of {mount}")
                continue
            try:
                found.append(Rule(key, entry, context, ignored))
            except path_patterns.PatternError as error:
                raise Fault(f"{place}: {error}") from None
    if not found:
        raise Fault("none of the selected services is configured for watch: add a section develop.watch to one")
    return found


def _check(place: str, entry: WatchRule, service: ComposeService) -> None:
    if entry.action == REBUILD and service.build is None:
        raise Fault(f"{place}: the service cannot be rebuilt, because it has no build section: add one")
    if entry.action in _SYNCING and not entry.target:
        raise Fault(f"{place}: the action {entry.action} needs a target: add the path in the container")
    if entry.action == SYNC_EXEC and not (entry.exec is not None and entry.exec.command):
        raise Fault(f"{place}: the action {entry.action} needs a command: add exec.command")


def _bind_mount(service: ComposeService, path: str) -> str:
    """Return the source of the bind mount that *path* is in, "" without one."""
    mounts = (mount.source for mount in service.volumes if mount.type == "bind")
    return next((source for source in mounts if below(source, path) is not None), "")


def below(folder: str, path: str) -> str | None:
    """Return *path* relative to *folder*, "" for the folder itself, None for a path elsewhere."""
    if path == folder:
        return ""
    head = folder if folder.endswith("/") else f"{folder}/"
    return path[len(head) :] if path.startswith(head) else None


def paths_of(rules: Iterable[Rule]) -> Mapping[str, list[Rule]]:
    """Return the rules by the paths that they are about."""
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        found.setdefault(rule.path, []).append(rule)
    return found
