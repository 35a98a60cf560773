"""``cp``, ``export`` and ``commit``: the verbs of containers, applied to a container of a service."""

from __future__ import annotations

from netd.cli.compose.acting.choose_container import choose_container
from netd.cli.compose.acting.project_containers import project_containers
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.errors import Fault
from netd.cli.parse.flags import Command, many, parse, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session


def copy(session: Session, options: Options) -> int:
    """Copy to all containers of a service, or from the first; ``--index`` selects another."""
    from netd.cli.main import load

    source, target = options.args
    flags = [f"--{name}" for name in ("archive", "follow-link") if options.on(name)]
    command = load("cp")
    context = ComposeContext(session, options)
    if (service := _service(source)) and _service(target):
        raise Fault("copying between services is not supported")
    if service:
        container = choose_container(context, service, options.number("index"), stopped=True)
        words = [f"{container.name}:{source.partition(':')[2]}", target]
        return command.run(session, parse([*flags, *words], command.flags))
    service = _service(target)
    if not service:
        raise Fault("must specify at least one container source")
    active = context.find([service])
    active.services([service])
    number = options.number("index")
    found = project_containers(context.engine, active.name, [service], one_off=None if options.on("all") else False)
    chosen = [container for container in found if number is None or container.number == number]
    if not chosen:
        raise Fault(f'no container found for service "{service}": create it with compose up')
    code = 0
    for container in chosen:
        words = [source, f"{container.name}:{target.partition(':')[2]}"]
        code = command.run(session, parse([*flags, *words], command.flags)) or code
    return code


def export(session: Session, options: Options) -> int:
    return _delegate(session, options, "export", ("output",), ())


def commit(session: Session, options: Options) -> int:
    return _delegate(session, options, "commit", ("author", "message"), ("pause",))


def _delegate(session: Session, options: Options, verb: str, texts: tuple[str, ...], switches: tuple[str, ...]) -> int:
    from netd.cli.main import load

    service, *rest = options.args
    container = choose_container(ComposeContext(session, options), service, options.number("index"), stopped=True)
    flags = [f"--{name}={options.text(name)}" for name in (*texts, *switches) if options.given(name)]
    flags += [f"--change={word}" for word in options.many("change")]
    command = load(verb)
    return command.run(session, parse([*flags, container.id, *rest], command.flags))


def _service(word: str) -> str:
    """Return the service of ``SERVICE:PATH``, "" for a path of the disk."""
    head, colon, _ = word.partition(":")
    return head if colon and not head.startswith((".", "/")) else ""


_INDEX = text("index", "", "NUMBER", "Number of the container, if the service has several")

COMMANDS = {
    "compose cp": Command(
        "compose cp [FLAGS] SERVICE:PATH PATH|- | PATH|- SERVICE:PATH",
        copy,
        (
            switch("all", "", "Copy to containers of run as well"),
            switch("archive", "a", "Keep owners"),
            switch("follow-link", "L", "Follow the symbolic link that is the source"),
            _INDEX,
        ),
        min_args=2,
        max_args=2,
        completions=("file",),
    ),
    "compose export": Command(
        "compose export [FLAGS] SERVICE",
        export,
        (_INDEX, text("output", "o", "FILE", "Write to a file instead of standard output", values="file")),
        min_args=1,
        max_args=1,
        completions=("service",),
    ),
    "compose commit": Command(
        "compose commit [FLAGS] SERVICE [NAME[:TAG]]",
        commit,
        (
            text("author", "a", "NAME", "Author of the image"),
            many("change", "c", "INSTRUCTION", "Apply an instruction of a Dockerfile to the image"),
            _INDEX,
            text("message", "m", "TEXT", "Comment of the image"),
            switch("pause", "p", "Suspend the container meanwhile (true)"),
        ),
        min_args=1,
        max_args=2,
        completions=("service", "image"),
    ),
}
