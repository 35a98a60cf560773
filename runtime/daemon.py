"""The composition root of netd-runtime: creates all objects, starts them, and closes them at the end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial

from netd import process_memory, service_manager
from netd.client import NetdClient
from netd.common import descriptor_limit, folders
from netd.common.config import Settings
from netd.common.daemon_status import DaemonStatus
from netd.common.events import Bus, store_damaged
from netd.common.http.backup_routes import BackupRoutes
from netd.common.http.listen import serve_metrics, serve_socket
from netd.common.http.listening_socket import ListeningSocket
from netd.common.http.metrics_routes import MetricsRoutes
from netd.common.http.web import Front, Product
from netd.common.store.store import Store
from netd.common.tasks import Tasks
from netd.metrics.metric_families import MetricFamily
from netd.metrics.request_counters import RequestCounters
from netd.settings.command_line import Loaded
from netd.settings.reloading import Reloader
from netd.version import VERSION
from runtime.api import not_implemented
from runtime.api.attach_websocket import AttachWebSocketRoutes
from runtime.api.build import BuildRoutes
from runtime.api.container_streams import StreamRoutes
from runtime.api.containers import ContainerRoutes
from runtime.api.execs import ExecRoutes
from runtime.api.files import FileRoutes
from runtime.api.images.archive_routes import ImageArchiveRoutes
from runtime.api.images.commit import CommitRoutes
from runtime.api.images.disk_usage import DiskUsageRoutes
from runtime.api.images.image_routes import ImageRoutes
from runtime.api.lifecycle import LifecycleRoutes
from runtime.api.long_requests import LongRequests
from runtime.api.networks import NetworkRoutes
from runtime.api.registries import RegistryRoutes
from runtime.api.stats import StatsRoutes
from runtime.api.system import SystemRoutes
from runtime.api.volumes import VolumeRoutes
from runtime.build.execute.build_cache import BuildCache
from runtime.build.execute.build_session import Services
from runtime.build.execute.builder import Builder
from runtime.build.execute.cache_mounts import CacheMounts
from runtime.distribution.blob_files import BlobFiles
from runtime.distribution.pull import Puller
from runtime.distribution.push import Pusher
from runtime.engine.containers.containers import Containers
from runtime.engine.containers.record_copies import RecordCopies
from runtime.engine.files.archives import ContainerArchives
from runtime.engine.files.container_root import ContainerRoots
from runtime.engine.lifecycle.commit import Committer
from runtime.engine.lifecycle.control import Control
from runtime.engine.lifecycle.create import Creator
from runtime.engine.lifecycle.execs import Execs
from runtime.engine.lifecycle.health import HealthChecks
from runtime.engine.lifecycle.image_removal import ImageRemoval
from runtime.engine.lifecycle.lifecycle import Lifecycle
from runtime.engine.lifecycle.netd_watch import NetdWatch
from runtime.engine.lifecycle.remove import ContainerRemoval
from runtime.engine.lifecycle.restore import Restore
from runtime.engine.lifecycle.start import Starter
from runtime.engine.lifecycle.update import Updater
from runtime.engine.network.attachment import NetworkAttachments
from runtime.engine.network.offline_sandboxes import OfflineSandboxes
from runtime.engine.network.publishing import PortPublisher
from runtime.engine.network.static_addresses import StaticAddresses
from runtime.engine.network.user_namespaces import UserNamespaces
from runtime.engine.views import container_metrics
from runtime.images.archives.importer import Importer
from runtime.images.archives.load import Loader
from runtime.images.archives.save import Saver
from runtime.images.image_store import Images
from runtime.images.layers import Layers
from runtime.paths import Paths
from runtime.registry.access_policy import AccessPolicy
from runtime.registry.registry_client import RegistryClient
from runtime.shim_client.launcher import ShimLauncher
from runtime.storage.deferred_delete import DeferredDelete
from runtime.storage.drivers import selection
from runtime.storage.drivers.selection import StorageDrivers
from runtime.storage.volumes import Volumes

_log = logging.getLogger(__name__)


class Daemon:
    """All objects of the daemon, created but not started."""

    def __init__(self, settings: Settings, tasks: Tasks, nofile: tuple[int, int]) -> None:
        """*nofile* is the (soft, hard) RLIMIT_NOFILE that processes of containers start with."""
        paths = self.paths = Paths(settings.state_dir, settings.run_dir)
        self.product = Product("netd-runtime", VERSION, ping={"Builder-Version": "1", "Swarm": "inactive"})
        self._discard_unknown = settings.discard_unknown
        self.store = Store(
            paths.database,
            copies=paths.run / "copies",
            in_use=lambda: folders.any_content(paths.containers, paths.layers, paths.volumes),
        )
        self.daemon_status = DaemonStatus("netd-runtime", tasks.failures, self.store)
        self.bus = Bus()
        self.userns = settings.userns != "none"
        self.long_requests = LongRequests()
        self.deferred_delete = DeferredDelete(paths.scratch, tasks)
        self.drivers = StorageDrivers(settings.storage_driver, paths, self.deferred_delete)
        self.netd = NetdClient(paths.netd_socket)
        self.supervisor = ShimLauncher(
            paths.run, failures=tasks.failures, nofile=nofile, mapped=settings.userns != "none"
        )
        self.containers = Containers(self.store, self.bus, RecordCopies(paths), tasks)
        self.user_namespaces = UserNamespaces(settings, self.containers, self.supervisor, paths)
        self.layers = Layers(paths, self.deferred_delete)
        self.images = Images(self.store, self.layers, tasks)
        self.registries = RegistryClient.from_settings(settings)
        self.blob_files = BlobFiles(self.deferred_delete)
        self.volumes = Volumes(self.store, paths, self.deferred_delete, self.bus)
        self.static_addresses = StaticAddresses(self.netd, self.containers)
        offline = OfflineSandboxes(self.netd, self.containers, paths, settings)
        self.removal = ContainerRemoval(
            self.containers, self.volumes, paths, self.deferred_delete, self.static_addresses, self.drivers, self.images
        )
        self.network = NetworkAttachments(self.netd, self.containers, paths, self.static_addresses, offline, tasks)
        starter = Starter(
            self.containers, self.supervisor, self.network, paths, self.user_namespaces, self.drivers, self.volumes
        )
        health = HealthChecks(self.containers, self.supervisor)
        self.lifecycle = Lifecycle(
            self.containers, self.supervisor, self.network, offline, starter, self.removal, health, tasks
        )
        self.control = Control(self.containers, self.supervisor, self.lifecycle, self.removal, self.network)
        self.execs = Execs(self.containers, self.supervisor, tasks)
        self.restore = Restore(
            self.containers, self.supervisor, self.lifecycle, self.netd, self.static_addresses, offline, tasks
        )
        self.watch = NetdWatch(self.netd, self.bus, self.restore, self.lifecycle.restarts, self.network)
        self.creator = Creator(
            self.containers,
            self.images,
            self.volumes,
            paths,
            self.deferred_delete,
            self.static_addresses,
            self.user_namespaces,
            self.drivers,
            self.network,
        )
        self.puller = Puller(self.images, self.layers, self.blob_files, self.registries)
        self.build_cache = BuildCache(self.store, self.images)
        self.builder = self._builder()

    def _builder(self) -> Builder:
        services = Services(
            images=self.images,
            layers=self.layers,
            containers=self.containers,
            creator=self.creator,
            lifecycle=self.lifecycle,
            control=self.control,
            drivers=self.drivers,
            paths=self.paths,
            deferred_delete=self.deferred_delete,
            cache=self.build_cache,
            cache_mounts=CacheMounts(self.paths, self.deferred_delete),
            puller=self.puller,
        )
        return Builder(services, self.bus)

    def front(self, reloader: Reloader) -> Front:
        paths, images, containers, volumes = self.paths, self.images, self.containers, self.volumes
        roots = ContainerRoots(containers, self.drivers, paths)
        archives = ContainerArchives(containers, roots, self.drivers, paths, volumes)
        image_archives = ImageArchiveRoutes(
            Importer(images, self.layers),
            Loader(images, self.layers, self.deferred_delete),
            Saver(images, self.layers),
            bus=self.bus,
            long_requests=self.long_requests,
        )
        removal = ImageRemoval(images, containers, self.bus)
        committer = Committer(
            images,
            self.layers,
            containers,
            self.control,
            self.drivers,
            paths=paths,
            deferred_delete=self.deferred_delete,
        )
        registries = RegistryRoutes(
            self.registries,
            self.puller,
            Pusher(images, self.layers, self.registries),
            bus=self.bus,
            long_requests=self.long_requests,
        )
        groups = (
            ContainerRoutes(
                containers,
                self.creator,
                self.control,
                self.execs,
                images,
                ports=PortPublisher(self.netd, containers, self.network),
                paths=paths,
                supervisor=self.supervisor,
                drivers=self.drivers,
            ),
            LifecycleRoutes(containers, self.lifecycle, self.control, Updater(containers, self.supervisor)),
            StreamRoutes(containers, self.control, paths, self.long_requests),
            AttachWebSocketRoutes(containers, paths, self.long_requests),
            ExecRoutes(containers, self.execs, self.long_requests),
            StatsRoutes(containers, self.long_requests),
            FileRoutes(containers, archives, self.long_requests),
            registries,
            image_archives,
            ImageRoutes(
                images,
                removal,
                containers,
                paths=paths,
                bus=self.bus,
                pull=registries.pull,
                import_=image_archives.import_,
            ),
            CommitRoutes(containers, committer, self.bus),
            DiskUsageRoutes(images, containers, volumes, self.build_cache, paths=paths, drivers=self.drivers),
            VolumeRoutes(volumes, containers),
            BuildRoutes(self.builder, self.long_requests),
            NetworkRoutes(self.netd, self.network, containers),
            reloader,
            SystemRoutes(
                self.product,
                containers,
                images,
                volumes,
                paths=paths,
                drivers=self.drivers,
                bus=self.bus,
                long_requests=self.long_requests,
                daemon_status=self.daemon_status,
                netd=self.netd,
                userns=self.userns,
                registry_config=self.registries.shape(),
            ),
        )
        requests = RequestCounters()
        metrics = MetricsRoutes(partial(self._metrics, requests))
        backup = BackupRoutes(self.store.snapshot)
        routes = [route for group in (*groups, metrics, backup) for route in group.routes()]
        return Front(self.product, [*routes, *not_implemented.routes()], requests)

    async def _metrics(self, requests: RequestCounters) -> list[MetricFamily]:
        """Return the metrics of this moment."""
        containers = [
            (container.record.name, container.record.state.status, container.record.state.pid)
            for container in self.containers.all()
        ]
        numbers = len(self.images.all()), len(self.volumes.all())
        usage = await asyncio.to_thread(lambda: list(container_metrics.collect(containers, *numbers)))
        return [*requests.families("netd_runtime"), *usage]

    async def open(self) -> None:
        """Load all records, and update them from the running processes."""
        self.deferred_delete.open()
        self.images.load()
        self.images.used_elsewhere = self._layers_of_containers
        self.build_cache.load()
        self.volumes.load()
        self.containers.load()
        await self._repair_records()
        await self.supervisor.start({container.id for container in self.containers.all()})
        await self.user_namespaces.open()
        await self.restore.restore_all()
        await self.builder.sweep()

    def _layers_of_containers(self) -> Iterator[str]:
        return (chain for container in self.containers.all() for chain in container.record.layers)

    async def _repair_records(self) -> None:
        """Delete data without records or, if records may be lost, restore records from their copies."""
        if self._discard_unknown:
            self.store.accept_incidents()
        if self.store.faults and not self.store.read_only:
            await self.volumes.restore()
            await self.containers.restore()
        for fault in self.store.faults:
            self.bus.publish(store_damaged(fault))
        if not self.store.incidents:
            self.images.sweep([*self._layers_of_containers(), *self.build_cache.layers()])
            self.removal.sweep()
            self.drivers.sweep()


def check(settings: Settings) -> None:
    """Raise BadRequest for settings that netd-runtime cannot start with."""
    selection.check_name(settings.storage_driver)
    AccessPolicy.from_settings(settings)


async def run(loaded: Loaded, opened: ListeningSocket) -> None:
    """Serve *opened* until SIGTERM or SIGINT.  Raises a Problem if the daemon cannot start."""
    settings = loaded.settings
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        tasks = Tasks()
        tasks.install_exception_handlers()
        stack.push_async_callback(tasks.close)
        daemon = Daemon(settings, tasks, descriptor_limit.raise_limit())
        stack.callback(daemon.store.close)
        stack.push_async_callback(daemon.netd.close)
        stack.push_async_callback(daemon.registries.close)
        stack.push_async_callback(daemon.supervisor.close)
        await daemon.open()
        tasks.loop(daemon.store.keep_reserve, "reserve")
        tasks.loop(daemon.watch.run, "netd")
        await daemon.lifecycle.restarts.open()
        tasks.loop(service_manager.keep_watchdog, "watchdog")
        reloader = Reloader("netd-runtime", loaded, lambda _: None)
        reloader.install()
        served = daemon.front(reloader)
        if settings.runtime_metrics_address:
            over_tcp = await serve_metrics(served, settings.runtime_metrics_address, tasks)
            stack.push_async_callback(over_tcp.cleanup)
        server = await serve_socket(served, opened, tasks=tasks)
        process_memory.settle()
        _log.info("listening: socket=%s containers=%d", daemon.paths.socket, len(daemon.containers.all()))
        service_manager.ready()
        await stop.wait()
        service_manager.stopping()
        daemon.long_requests.cancel_all()
        await server.cleanup()
        server.unlink()
        await daemon.deferred_delete.wait()
        await daemon.containers.flush()
        await tasks.close()
