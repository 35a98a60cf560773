"""The steps of ``up``: images, networks, volumes, then the containers of all services, then their start."""

from __future__ import annotations

from netd.cli.compose.acting.convergence import Convergence
from netd.cli.compose.acting.ordered_jobs import run_all, run_ordered
from netd.cli.compose.acting.project_containers import read_containers, request_containers
from netd.cli.compose.acting.project_objects import ProjectObjects
from netd.cli.compose.acting.service_images import ImageProvider
from netd.cli.compose.acting.start_phase import Starter
from netd.cli.compose.acting.stop_phase import Stopper
from netd.cli.errors import Fault
from netd.compose.create.container_body import refuse_unsupported
from netd.compose.plan.dependencies import closure, edges
from netd.compose.plan.existing import orphans
from netd.compose.plan.service_plan import DIVERGED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from netd.cli.compose.acting.project_context import ActiveProject, ComposeContext
    from netd.compose.plan.dependencies import Edges
    from netd.compose.plan.existing import ExistingContainer


class UpSettings:
    """What the flags select; ``services`` empty means all."""

    def __init__(
        self,
        *,
        services: Sequence[str] = (),
        with_dependencies: bool = True,
        policy: str = DIVERGED,
        dependency_policy: str = DIVERGED,
        remove_orphans: bool = False,
        ignore_orphans: bool = False,
        build: bool | None = None,
        pull: str = "",
        quiet_pull: bool = False,
        quiet_build: bool = False,
        inherit: bool = True,
        timeout: int | None = None,
        wait: bool = False,
        wait_timeout: int | None = None,
        assume_yes: bool = False,
    ) -> None:
        self.services, self.with_dependencies = services, with_dependencies
        self.policy, self.dependency_policy = policy, dependency_policy
        self.remove_orphans, self.ignore_orphans = remove_orphans, ignore_orphans
        self.build, self.pull, self.quiet_pull, self.quiet_build = build, pull, quiet_pull, quiet_build
        self.inherit, self.timeout, self.assume_yes = inherit, timeout, assume_yes
        self.wait, self.wait_timeout = wait, wait_timeout


class BringUp:
    """One call; ``selected`` are the services that the user named, or all, ``keys`` those with their dependencies."""

    def __init__(self, context: ComposeContext, active: ActiveProject, settings: UpSettings) -> None:
        self._context, self._active, self._settings = context, active, settings
        self._engine, self._project = context.engine, active.project
        self.display = context.display()
        self.selected = active.services(settings.services)
        self._edges = self._needed()
        self._convergence: Convergence | None = None

    def _needed(self) -> Edges:
        services = self._project.services
        try:
            found = edges(services)
            for key in services:
                refuse_unsupported(key, services[key])
        except ValueError as error:
            raise Fault(str(error)) from None
        keys = closure(found, self.selected) if self._settings.with_dependencies else self.selected
        return {key: found[key] & set(keys) for key in keys}

    def create(self) -> None:
        """Make images, networks, volumes and containers what the project describes.  Raises Fault."""
        with self.display:
            self._create()

    def _create(self) -> None:
        settings, context = self._settings, self._context
        observing = request_containers(self._engine, self._active.name)
        provider = ImageProvider(
            context,
            self._active,
            self.display,
            build=settings.build,
            pull=settings.pull,
            quiet_pull=settings.quiet_pull,
            quiet_build=settings.quiet_build,
        )
        images = provider.ensure(self._edges)
        observed = read_containers(observing)
        used = None if context.outer.on("all-resources") else list(self._edges)
        objects = ProjectObjects(self._engine, self._project, used, self.display)
        release = _Release(self, observed)
        network_ids, renewed = objects.ensure(release.network, release.volume)
        observed = [container for container in observed if container.id not in release.removed]
        self._handle_orphans(observed)
        self._convergence = convergence = Convergence(
            context,
            self._active,
            self.display,
            observed=observed,
            images=images,
            network_ids=network_ids,
            renewed_networks=renewed,
            timeout=settings.timeout,
            inherit=settings.inherit,
        )
        selected = set(self.selected)

        def job(key: str) -> None:
            convergence.converge(key, settings.policy if key in selected else settings.dependency_policy)

        run_ordered(self._edges, job, context.cancellation, context.limit)

    def _handle_orphans(self, observed: list[ExistingContainer]) -> None:
        found = orphans(self._project, observed, self._active.disabled)
        if not found or self._settings.ignore_orphans:
            return
        if not self._settings.remove_orphans:
            names = ", ".join(container.name for container in found)
            self.display.warn(
                f"Found orphan containers ({names}) for this project. If you removed or renamed this service in your "
                "compose file, you can run this command with the --remove-orphans flag to clean it up."
            )
            return
        stopper = Stopper(self._context, self.display, self._settings.timeout)
        by_id = {container.id: container for container in found}
        run_all(list(by_id), lambda id: stopper.stop_and_remove(by_id[id], None), self._context.cancellation)

    def start(
        self,
        on_starting: Callable[[ExistingContainer], None] | None = None,
        on_started: Callable[[ExistingContainer], None] | None = None,
    ) -> None:
        """Start the containers that do not run, after what they depend on; with ``wait``, until they are up.

        The functions are called by several threads, before and after each container is started.
        """
        if self._convergence is None:
            raise AssertionError("containers are started before they are created")

        context = self._context
        starter = Starter(
            context,
            self._active,
            self.display,
            self._convergence.containers,
            on_starting=on_starting,
            on_started=on_started,
            stopped=frozenset(self._convergence.stopped),
            wait_seconds=self._settings.wait_timeout if self._settings.wait else None,
        )
        stopped = self._convergence.stopped & set(self._project.services)
        needed = self._edges | {key: frozenset(self._edges) for key in stopped - set(self._edges)}
        with self.display:
            run_ordered(needed, starter.start, context.cancellation, context.limit)
            if self._settings.wait:
                run_all(list(self._edges), starter.wait_until_up, context.cancellation, context.limit)

    def all_containers(self) -> list[ExistingContainer]:
        """Return the containers of the services that this call is about."""
        if self._convergence is None:
            return []
        found = self._convergence.containers
        return [container for key in self._edges for container in found.get(key, ())]


class _Release:
    """Frees networks and volumes that have to be created anew of the containers that use them."""

    def __init__(self, owner: BringUp, observed: list[ExistingContainer]) -> None:
        self._owner, self._observed = owner, observed
        self.removed: set[str] = set()

    def network(self, key: str) -> None:
        """Stop and disconnect the containers of a network; they are replaced afterwards."""
        project, engine = self._owner._project, self._owner._engine
        name = project.networks[key].name
        stopper = Stopper(self._owner._context, self._owner.display, self._owner._settings.timeout)
        for container in self._observed:
            networks = (container.entry.get("NetworkSettings") or {}).get("Networks") or {}
            if name in networks:
                stopper.stop(container, project.services.get(container.service))
                body = {"Container": container.id, "Force": True}
                engine.call("POST", f"/networks/{name}/disconnect", body=body).close()

    def volume(self, key: str, name: str) -> bool:
        """Remove the containers of a volume, if the user agrees to lose its data; return whether."""
        if not self._agrees(name):
            return False
        stopper = Stopper(self._owner._context, self._owner.display, self._owner._settings.timeout)
        for container in self._observed:
            if any(mount.get("Name") == name for mount in container.mounts):
                stopper.stop_and_remove(container, self._owner._project.services.get(container.service))
                self.removed.add(container.id)
        return True

    def _agrees(self, name: str) -> bool:
        import sys

        question = (
            f'Volume "{name}" exists but doesn\'t match configuration in compose file. Recreate (data will be lost)?'
        )
        if self._owner._settings.assume_yes:
            return True
        if not sys.stdin.isatty():
            self._owner.display.warn(f"{question} It is used as it is; --yes recreates it.")
            return False
        self._owner.display.finish()
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")
