"""``run``: a command in a new container of a service, with the services that it depends on."""

from __future__ import annotations

import os

import msgspec

from netd.cli.compose.acting.bring_up import BringUp, UpSettings
from netd.cli.compose.acting.convergence import Convergence
from netd.cli.compose.acting.project_containers import project_containers
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.compose.acting.project_objects import ProjectObjects
from netd.cli.compose.acting.secret_files import inject
from netd.cli.compose.acting.service_images import ImageProvider
from netd.cli.errors import ApiFault, Fault
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_line, warn
from netd.cli.transport.terminal import STDIN, STDOUT, is_terminal
from netd.compose.create.container_body import ContainerIdentity
from netd.compose.model import ComposeService, ServicePort, ServiceVolume
from netd.compose.plan import references
from netd.compose.plan.dependencies import dependencies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from netd.cli.compose.acting.project_context import ActiveProject
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.plan.existing import ExistingContainer


def run(session: Session, options: Options) -> int:
    """Return the exit code of the command; with ``-d`` print the name of the container."""
    context = ComposeContext(session, options)
    key = options.args[0]
    active = context.load([key])
    active.services([key])
    tty = not options.on("detach") and not options.on(
        "no-TTY", default=not (is_terminal(STDIN) and is_terminal(STDOUT))
    )
    _prepare(context, active, key, options)
    active.project.services[key] = _changed(active.project.services[key], options, tty)
    container = _create(context, active, key, options)
    service = active.project.services[key]
    inject(context.engine, container.id, active.project, service, active.environment)
    if options.on("detach"):
        _start(context, key, container)
        print_line(container.name)
        return 0
    return _attached(context, key, container, tty, options)


def _prepare(context: ComposeContext, active: ActiveProject, key: str, options: Options) -> None:
    """Bring up what the service depends on."""
    needed = [name for name in dependencies(active.project.services[key]) if name in active.project.services]
    if needed and not options.on("no-deps"):
        settings = UpSettings(
            services=needed,
            quiet_pull=options.on("quiet-pull"),
            remove_orphans=options.on("remove-orphans"),
            ignore_orphans=not options.on("remove-orphans"),
        )
        bring_up = BringUp(context, active, settings)
        bring_up.create()
        bring_up.start()


def _create(context: ComposeContext, active: ActiveProject, key: str, options: Options) -> ExistingContainer:
    from secrets import token_hex

    slug = token_hex(32)
    name = options.text("name") or context.between.join((active.name, key, "run", slug[:12]))
    with context.display() as display:
        provider = ImageProvider(
            context,
            active,
            display,
            build=True if options.on("build") else None,
            pull=options.text("pull") if options.text("pull", "policy") != "policy" else "",
            quiet_build=options.on("quiet-build"),
        )
        images = provider.ensure([key])
        objects = ProjectObjects(context.engine, active.project, [key], display)
        network_ids, _ = objects.ensure(lambda _: None, lambda key, name: False)
        convergence = Convergence(
            context,
            active,
            display,
            observed=project_containers(context.engine, active.name),
            images=images,
            network_ids=network_ids,
        )
        labels = dict(word.partition("=")[::2] for word in options.many("label"))
        try:
            return convergence.create(
                key,
                references.resolved(active.project.services[key], convergence.containers),
                ContainerIdentity(name=name, slug=slug, labels=labels),
                name,
                aliases=options.on("use-aliases"),
                attach_stdin=not options.on("detach") and options.on("interactive", default=True),
                auto_remove=options.on("rm"),
            )
        except (ApiFault, ValueError) as error:
            raise Fault(f'service "{key}": {error}') from None


def _changed(service: ComposeService, options: Options, tty: bool) -> ComposeService:
    """Return the service as the flags change it."""
    changes: dict[str, object] = {
        "tty": tty,
        "stdin_open": not options.on("detach") and options.on("interactive", default=True),
        "restart": "",
        "container_name": "",
        "scale": 1,
        "environment": {**service.environment, **_environment(options)},
        "volumes": [*service.volumes, *(_volume(word) for word in options.many("volume"))],
        "cap_add": [*service.cap_add, *options.many("cap-add")],
        "cap_drop": [*service.cap_drop, *options.many("cap-drop")],
        "ports": [*(service.ports if options.on("service-ports") else ()), *_ports(options)],
        "expose": [],
    }
    if service.deploy is not None:
        changes["deploy"] = msgspec.structs.replace(service.deploy, restart_policy=None, replicas=None)
    if len(options.args) > 1:
        changes["command"] = options.args[1:]
    if options.given("entrypoint"):
        import shlex

        changes["entrypoint"] = shlex.split(options.text("entrypoint"))
        changes.setdefault("command", [])
    for flag, field in (("user", "user"), ("workdir", "working_dir")):
        if options.given(flag):
            changes[field] = options.text(flag)
    return msgspec.structs.replace(service, **changes)


def _environment(options: Options) -> dict[str, str | None]:
    from netd.cli.parse.create_body import environment
    from netd.cli.parse.flags import Options as ParsedOptions

    given = ParsedOptions({}, {"env": options.many("env"), "env-file": options.many("env-from-file")}, [])
    found: dict[str, str | None] = {}
    for word in environment(given):
        name, equals, value = word.partition("=")
        if equals or name in os.environ:
            found[name] = value if equals else os.environ[name]
    return found


def _volume(word: str) -> ServiceVolume:
    parts = word.split(":")
    if len(parts) == 1:
        return ServiceVolume(type="volume", target=word)
    source, target, *access = parts
    if len(access) > 1:
        raise Fault(f"invalid volume {word!r}: use SOURCE:TARGET[:ro]")
    read_only = "ro" in (access[0].split(",") if access else ())
    if source.startswith(("/", ".", "~")):
        return ServiceVolume(
            type="bind", source=os.path.abspath(os.path.expanduser(source)), target=target, read_only=read_only
        )
    return ServiceVolume(type="volume", source=source, target=target, read_only=read_only)


def _ports(options: Options) -> Iterable[ServicePort]:
    from netd.cli.parse.port_flags import publish
    from netd.cli.parse.resource_flags import convert_each

    for pairs in convert_each(options, "publish", lambda word: publish(word, [])):
        for target, binding in pairs:
            number, _, protocol = target.partition("/")
            yield ServicePort(
                mode="ingress",
                target=int(number),
                protocol=protocol or "tcp",
                host_ip=binding.get("HostIp", ""),
                published=binding.get("HostPort", ""),
            )


def _start(context: ComposeContext, key: str, container: ExistingContainer) -> None:
    from netd.cli.commands.run import start_code

    try:
        context.engine.call("POST", f"/containers/{container.id}/start").close()
    except ApiFault as fault:
        raise Fault(f'service "{key}": {fault.message}', start_code(fault.message)) from None


def _attached(context: ComposeContext, key: str, container: ExistingContainer, tty: bool, options: Options) -> int:
    from netd.cli.transport.attach import Target, exit_code, stream

    stdin = options.on("interactive", default=True)
    path, engine = f"/containers/{container.id}", context.engine
    streams = [(name, "1") for name in ("stderr", "stdin", "stdout", "stream") if name != "stdin" or stdin]
    response = engine.hijack(f"{path}/attach", query=streams)
    condition = "removed" if options.on("rm") else "next-exit"
    waiting = engine.call("POST", f"{path}/wait", query=(("condition", condition),))
    target = Target(engine, path)

    def begin() -> None:
        _start(context, key, container)
        if tty:
            target.resize()

    from netd.cli.transport.stream_frames import detach_keys

    keys = detach_keys("ctrl-p,ctrl-q")
    if not stream(target, response, tty=tty, stdin=stdin, keys=keys, proxy=True, begin=begin):
        warn(f"detached; {container.name} keeps running")
        return 0
    return exit_code(waiting)


COMMANDS = {
    "compose run": Command(
        "compose run [FLAGS] SERVICE [COMMAND] [ARGUMENT...]",
        run,
        (
            switch("build", "", "Build the image first"),
            many("cap-add", "", "CAPABILITY", "Add a capability"),
            many("cap-drop", "", "CAPABILITY", "Drop a capability"),
            switch("detach", "d", "Run the container in the background, and print its name"),
            text("entrypoint", "", "COMMAND", "Program to run instead of the image's, with arguments"),
            many("env", "e", "NAME[=VALUE]", "Set an environment variable"),
            many("env-from-file", "", "FILE", "Read environment variables from a file", values="file"),
            switch("interactive", "i", "Keep standard input open (true)"),
            many("label", "l", "KEY=VALUE", "Label"),
            text("name", "", "NAME", "Name of the container"),
            switch("no-TTY", "T", "Allocate no terminal", aliases=("no-tty",)),
            switch("no-deps", "", "Do not start the services that this one depends on"),
            many("publish", "p", "PORTS", "Publish ports: [ADDRESS:][HOST:]PORT[/PROTOCOL]"),
            text("pull", "", "POLICY", "Pull the image: always, missing, never", values="words:always missing never"),
            switch("quiet", "q", "Show no progress"),
            switch("quiet-build", "", "Show no output of builds"),
            switch("quiet-pull", "", "Show no progress of pulls"),
            switch("remove-orphans", "", "Remove containers of services that the file does not have"),
            switch("rm", "", "Remove the container when it exits"),
            switch("service-ports", "P", "Publish the ports of the service"),
            switch("tty", "t", "Accepted for Docker's sake"),
            switch("use-aliases", "", "Give the container the service's names on its networks"),
            text("user", "u", "USER[:GROUP]", "User and group, by name or number"),
            many("volume", "v", "[SOURCE:]TARGET[:ro]", "Mount a volume, or a path of the host"),
            text("workdir", "w", "PATH", "Working directory"),
        ),
        min_args=1,
        flags_first=True,
        completions=("service", "file"),
    )
}
