"""Applies changes of watched files to the services of a project: sync, restart, exec and rebuild."""

from __future__ import annotations

import os

from netd.cli.compose.acting.bring_up import BringUp, UpSettings
from netd.cli.compose.acting.hooks import run_hook
from netd.cli.compose.acting.project_containers import project_containers
from netd.cli.compose.acting.service_images import BUILD, ImageProvider
from netd.cli.compose.watching import watch_rules
from netd.cli.compose.watching.file_sync import sync
from netd.cli.compose.watching.tree_watcher import TreeWatcher
from netd.cli.errors import ApiFault, Fault
from netd.compose.plan.service_plan import FORCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from netd.cli.compose.acting.project_context import ActiveProject, ComposeContext
    from netd.cli.compose.watching.watch_rules import Actions, Rule
    from netd.compose.model import ComposeService
    from netd.compose.plan.existing import ExistingContainer
    from netd.path_patterns import Pattern

_LARGE_BATCH = 1000


class WatchSession:
    """*show* is called with each line for the user, and with "" after changes were applied.

    *restart* is called with the services whose containers are to be restarted.
    """

    def __init__(
        self,
        context: ComposeContext,
        active: ActiveProject,
        services: Sequence[str],
        *,
        show: Callable[[str], None],
        restart: Callable[[list[str]], None],
        prune: bool = True,
        quiet: bool = False,
    ) -> None:
        self._context, self._active = context, active
        self._show, self._restart, self._prune, self._quiet = show, restart, prune, quiet
        self.acting = False
        """Whether changes are being applied."""
        self._rules = watch_rules.rules_of(active.project, services, _ignored_by_builds, self._warn)

    def build_first(self) -> None:
        """Make the next ``up`` build the images of the watched services that have a build section."""
        for rule in self._rules:
            service = self._active.project.services[rule.service]
            if service.build is not None:
                service.pull_policy = BUILD

    def run(self, wait: Callable[[int, int | None], None], ended: Callable[[], bool] = lambda: False) -> None:
        """Watch until *ended* returns True, which is asked after each return of *wait*.  Raises Fault.

        A change that cannot be applied is reported, and the next ones are waited for.
        """
        watcher = TreeWatcher(watch_rules.paths_of(self._rules), self._skips, self._is_relevant)
        try:
            self._sync_first()
            self._show("Watch enabled")
            while not ended():
                if changed := watcher.batch(wait):
                    self._apply(changed)
        finally:
            watcher.close()

    def _skips(self, folder: str) -> bool:
        return all(rule.skips(folder) for rule in self._rules)

    def _is_relevant(self, path: str) -> bool:
        return any(rule.matches(path) for rule in self._rules)

    def _apply(self, changed: set[str]) -> None:
        if len(changed) > _LARGE_BATCH:
            self._show(f"{len(changed)} files have changed; after a change of branches this is expected")
        self.acting = True
        try:
            self._act(watch_rules.actions(self._rules, sorted(changed)))
        except (Fault, OSError) as error:
            self._warn(f"changed files were not applied: {error}")
        finally:
            self.acting = False
            self._show("")

    def _act(self, wanted: Actions) -> None:
        if wanted.rebuild:
            self._rebuild(list(wanted.rebuild))
        for service, files in wanted.sync.items():
            self._show(f'Syncing service "{service}" after {len(files)} changes were detected')
            for container in self._containers([service]):
                sync(self._context.engine, container, files, self._warn)
        if wanted.restart:
            self._restart(list(wanted.restart))
            self._show(f"service(s) {_quoted(wanted.restart)} restarted")
        for rule in wanted.execute:
            for container in self._containers([rule.service]):
                if rule.hook is not None and container.running:
                    run_hook(self._context.engine, container.id, container.name, rule.hook, self._show)

    def _sync_first(self) -> None:
        for rule in self._rules:
            if not (rule.initial_sync and rule.syncs):
                continue
            files = {rule.place(path): path for path in _files(rule)}
            if files:
                for container in self._containers([rule.service]):
                    sync(self._context.engine, container, files, self._warn)

    def _rebuild(self, services: list[str]) -> None:
        """Build the images of services, and replace their containers.  Raises Fault."""
        self._show(f"Rebuilding service(s) {_quoted(services)} after changes were detected...")
        former = {container.image_id for container in self._containers(services)}
        with self._context.display() as display:
            display.become_plain()
            provider = ImageProvider(self._context, self._active, display, quiet_build=self._quiet)
            for key in services:
                provider.build(key)
        self._show(f"service(s) {_quoted(services)} successfully built")
        settings = UpSettings(
            services=services, with_dependencies=False, policy=FORCE, build=False, ignore_orphans=True
        )
        bring_up = BringUp(self._context, self._active, settings)
        bring_up.display.become_plain()
        bring_up.create()
        bring_up.start()
        if self._prune:
            self._remove_images(former - {container.image_id for container in self._containers(services)})

    def _remove_images(self, ids: Iterable[str]) -> None:
        """Remove images that have no name and no container any more."""
        for id in ids:
            try:
                image = self._context.engine.get(f"/images/{id}/json")
                if not image.get("RepoTags"):
                    self._context.engine.call("DELETE", f"/images/{id}").close()
            except ApiFault:
                continue  # It is in use, or was removed already.

    def _containers(self, services: Sequence[str]) -> list[ExistingContainer]:
        return project_containers(self._context.engine, self._active.name, services)

    def _warn(self, text: str) -> None:
        with self._context.display() as display:
            display.warn(text)


def _files(rule: Rule) -> Iterable[str]:
    """Yield the files that the initial sync of a rule copies.  Raises Fault if there are too many."""
    from netd.cli.compose.watching.tree_watcher import MOST_FILES

    if not os.path.isdir(rule.path):
        if os.path.lexists(rule.path):
            yield rule.path
        return
    left, count = [rule.path], 0
    while left:
        folder = left.pop()
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                if not rule.skips(entry.path):
                    left.append(entry.path)
            elif rule.synced_first(entry.path):
                count += 1
                yield entry.path
        if count > MOST_FILES:
            raise Fault(f"{rule.path} has more than {MOST_FILES:,} files: ignore some in develop.watch")


def _ignored_by_builds(service: ComposeService) -> tuple[str, Sequence[Pattern]]:
    """Return the build context of a service, and the patterns of its .dockerignore.  Raises Fault."""
    from netd import path_patterns

    if service.build is None or "://" in service.build.context:
        return "", ()
    context = service.build.context
    try:
        with open(os.path.join(context, ".dockerignore"), "rb") as file:
            return context, path_patterns.read_ignore_file(file.read(path_patterns.LARGEST_FILE + 1))
    except FileNotFoundError:
        return context, ()
    except path_patterns.PatternError as error:
        raise Fault(f"error reading {context}/.dockerignore: {error}") from None


def _quoted(services: Iterable[str]) -> str:
    """Return names as Docker's compose prints a list of them."""
    return "[" + " ".join(f'"{name}"' for name in services) + "]"
