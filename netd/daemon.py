"""The composition root of netd: creates all objects, connects them, and closes them in reverse order."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from functools import partial

from netd import process_memory, service_manager
from netd.calls.serve import CallRoutes
from netd.common import descriptor_limit, folders
from netd.common.config import Settings
from netd.common.daemon_locks import lock_namespace
from netd.common.daemon_status import DaemonStatus
from netd.common.events import store_damaged
from netd.common.http.backup_routes import BackupRoutes
from netd.common.http.listen import serve_metrics, serve_socket, serve_tcp
from netd.common.http.listening_socket import ListeningSocket
from netd.common.http.metrics_routes import MetricsRoutes
from netd.common.http.web import Front, Product
from netd.common.store.store import Store
from netd.common.tasks import Tasks
from netd.dns.client.dns_client import DnsClient
from netd.drivers.registry import discover
from netd.engine import doctor
from netd.engine.background import BackgroundJobs
from netd.engine.context import EngineContext, NameServers
from netd.engine.networks import route_conflicts
from netd.engine.networks.actions import Networks
from netd.engine.networks.reservations import Reservations
from netd.engine.networks.subnets import identity, sources
from netd.engine.reconcile import connection_limits, loop
from netd.engine.reconcile.restore import restore
from netd.engine.sandboxes.actions import Sandboxes
from netd.engine.sandboxes.connections import Connections
from netd.engine.sandboxes.port_changes import PortChanges
from netd.engine.topology import TopologySource
from netd.engine.views import network_metrics
from netd.host_files import HostFileReader
from netd.ipam.drivers import discover as discover_ipam
from netd.ipam.pools import avoided
from netd.kernel.high_descriptors import only_high
from netd.kernel.kernel_host import KernelHost
from netd.kernel.ports.held_ports import HeldPorts
from netd.metrics.metric_families import MetricFamily
from netd.metrics.request_counters import RequestCounters
from netd.portmap.ports import Ports
from netd.portmap.rules import ForwardPolicy
from netd.remote.plugins import Plugins
from netd.server import ui_routes
from netd.server.doctor import DoctorRoutes
from netd.server.networks import NetworkRoutes
from netd.server.reservations import ReservationRoutes
from netd.server.sandboxes import SandboxRoutes
from netd.server.system import SystemRoutes
from netd.server.topology_routes import TopologyRoutes
from netd.settings.command_line import Loaded
from netd.settings.reloading import Reloader
from netd.version import VERSION

_log = logging.getLogger(__name__)


async def run(loaded: Loaded, opened: ListeningSocket) -> None:
    """Serve *opened* until SIGTERM or SIGINT.  Raises a Problem if the daemon cannot start."""
    settings = loaded.settings
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    # Each container needs three descriptors, each published port one per host address.
    descriptor_limit.raise_limit()
    async with AsyncExitStack() as stack:
        stack.enter_context(lock_namespace("netd"))
        tasks = Tasks()
        tasks.install_exception_handlers()
        stack.push_async_callback(tasks.close)
        context = await _open(settings, tasks, stack)
        await restore(context)
        for fault in context.store.faults:
            context.bus.publish(store_damaged(fault))
        background = [
            tasks.loop(service_manager.keep_watchdog, "watchdog"),
            tasks.loop(context.store.keep_reserve, "reserve"),
            tasks.loop(partial(loop.watch, context), "watch"),
            tasks.loop(partial(loop.run_repairs, context), "repair"),
            tasks.loop(partial(connection_limits.watch, context), "connection-limits"),
            tasks.loop(partial(route_conflicts.watch, context), "route-conflicts"),
        ]
        closing = asyncio.Event()
        reloader = Reloader("netd", loaded, partial(_apply_settings, context))
        reloader.install()
        served = front(context, tasks, closing, reloader)
        if settings.metrics_address:
            over_tcp = await serve_metrics(served, settings.metrics_address, tasks)
            stack.push_async_callback(over_tcp.cleanup)
        if settings.ui_address:
            over_tcp = await serve_tcp(served, settings.ui_address, "the page", ui_routes.refusal, tasks)
            stack.push_async_callback(over_tcp.cleanup)
        server = await serve_socket(served, opened, tasks=tasks)
        _ready(settings, context)
        await stop.wait()
        service_manager.stopping()
        closing.set()
        await server.cleanup()
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await _shut_down(context)
        server.unlink()


def check(settings: Settings) -> None:
    """Raise BadRequest for settings that netd cannot start with."""
    sources(settings, "")
    avoided(settings.avoid)


def front(context: EngineContext, tasks: Tasks, closing: asyncio.Event, reloader: Reloader) -> Front:
    """Return netd's HTTP front; *closing* ends open-ended streams."""
    product = Product("netd", VERSION, ping={"Builder-Version": "1", "Swarm": "inactive"})
    sandboxes, connections = Sandboxes(context), Connections(context)
    groups = (
        NetworkRoutes(context.state, Networks(context), connections),
        SandboxRoutes(sandboxes, connections, PortChanges(context)),
        ReservationRoutes(Reservations(context)),
        SystemRoutes(
            product,
            context.bus,
            DaemonStatus("netd", tasks.failures, context.store),
            closing,
            partial(doctor.dropped, context),
        ),
        DoctorRoutes(context),
        TopologyRoutes(TopologySource(context), context.bus, closing),
        ui_routes.UiRoutes(),
        reloader,
    )
    requests = RequestCounters()
    metrics = MetricsRoutes(partial(_metrics, context, requests))
    backup = BackupRoutes(context.store.snapshot)
    calls = CallRoutes(lambda: served, tasks, closing)
    routes = [route for group in (*groups, metrics, backup, calls) for route in group.routes()]
    served = Front(product, routes, requests)
    return served


async def _metrics(context: EngineContext, requests: RequestCounters) -> list[MetricFamily]:
    """Return the metrics of this moment."""
    table, links = await asyncio.gather(context.host.connection_table(), context.host.link_counters())
    counts = {"firewall_changes": context.host.firewall_changes, "events_lost": context.bus.lost, **context.counts}
    return [
        *requests.families("netd"),
        *network_metrics.of_state(context.state),
        *network_metrics.of_links(context.state, context.drivers, links),
        *network_metrics.of_connections(table),
        *network_metrics.of_dns(context.dns.counters),
        *network_metrics.of_counts(counts),
    ]


def _apply_settings(context: EngineContext, settings: Settings) -> None:
    """Apply reloaded settings: the name servers of all containers, and the latency of netd-dns."""
    context.dns.configure(settings.dns_low_latency == "auto")
    context.name_servers.servers, context.name_servers.domains = settings.dns, settings.dns_domains
    for sandbox in context.state.sandboxes:
        if sandbox.id in context.dns.held:
            context.dns.set_view(sandbox.id, context.dns_view(sandbox))


async def _open(settings: Settings, tasks: Tasks, stack: AsyncExitStack) -> EngineContext:
    store = Store(
        settings.state_dir / "netd.db",
        copies=settings.run_dir / "copies",
        in_use=lambda: folders.any_content(settings.run_dir / "netns"),
    )
    stack.callback(store.close)
    if settings.discard_unknown:
        store.accept_incidents()
    dns = DnsClient(settings.run_dir, settings.resolv_conf, tasks, settings.dns_low_latency == "auto")
    host = await KernelHost.open(
        settings.run_dir,
        firewall=settings.firewall,
        policy=ForwardPolicy(insert=settings.host_forward == "open", fwmark=settings.accept_fwmark),
        direct=settings.direct_delivery,
    )
    stack.push_async_callback(host.close)
    with only_high():
        # If an earlier netd was killed, its netd-dns still runs and passes the sockets of all containers to netd.
        await dns.start()
    context = EngineContext(
        settings=settings,
        name_servers=NameServers(settings.dns, settings.dns_domains),
        host=host,
        store=store,
        dns=dns,
        drivers=discover(),
        ipam=discover_ipam(),
        subnet_sources=sources(settings, await identity(store)),
        host_files=HostFileReader(settings.resolv_conf),
        ports=Ports(HeldPorts()),
        plugins=Plugins(settings.plugin_dirs, settings.plugin_timeout),
        background=BackgroundJobs(tasks),
    )
    stack.push_async_callback(context.plugins.close)
    stack.callback(context.ports.close)
    stack.push_async_callback(context.background.close)
    return context


async def _shut_down(context: EngineContext) -> None:
    """Stop netd-dns and delete netd's kernel objects unless sandboxes or unaccepted damage of the store exist."""
    idle = not context.state.sandboxes and not context.store.incidents
    await context.dns.close(stop_server=idle)
    if idle:
        await context.host.remove_everything()
    _log.info("stopped: sandboxes=%d", len(context.state.sandboxes))


def _ready(settings: Settings, context: EngineContext) -> None:
    """Report readiness in the log and to the service manager."""
    process_memory.settle()
    _log.info("listening: socket=%s networks=%d", settings.run_dir / "netd.sock", len(context.state.networks))
    service_manager.ready()
