"""``top``, ``port``, ``images``, ``volumes``, ``stats``, ``events``, ``ls`` and ``version``."""

from __future__ import annotations

import sys

from netd.cli.compose.acting.project_containers import label_filter, project_containers
from netd.cli.compose.acting.project_context import ComposeContext
from netd.cli.errors import Fault
from netd.cli.output.columns import short_id, table
from netd.cli.parse.common_flags import list_format, show_list
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.session import print_json, print_line
from netd.compose import project_names as names
from netd.compose.plan.existing import existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from netd.cli.compose.acting.project_context import ActiveProject
    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.plan.existing import ExistingContainer

    Json = dict[str, Any]


def _found(
    session: Session, options: Options, *, stopped: bool = False, one_off: bool | None = None
) -> tuple[ComposeContext, ActiveProject, list[ExistingContainer]]:
    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = set(active.services(options.args))
    found = project_containers(context.engine, active.name, stopped=stopped, one_off=one_off)
    return context, active, [container for container in found if container.service in keys]


def top(session: Session, options: Options) -> int:
    context, _, found = _found(session, options)
    requests = [context.engine.send("GET", f"/containers/{container.id}/top") for container in found]
    head: list[str] = []
    rows: list[list[str]] = []
    for container, request in zip(found, requests, strict=True):
        listed = request.response().json()
        head = head or ["SERVICE", "#", *listed["Titles"]]
        number = str(container.number or "")
        rows += [[container.service, number, *process] for process in listed["Processes"] or ()]
    if rows:
        sys.stdout.write(table(head, rows))
    return 0


def port(session: Session, options: Options) -> int:
    """Print where a port of a service is published; 0 as a port of the host means that it is not."""
    service, wanted = options.args
    protocol = options.text("protocol", "tcp")
    options.args = [service]
    number = options.number("index") or 1
    _, _, found = _found(session, options)
    digits, _, suffix = wanted.partition("/")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6):
        raise Fault(f"invalid port {wanted!r}: use a number")
    for container in found:
        if container.number != number:
            continue
        for entry in container.entry.get("Ports") or ():
            if (
                entry["PrivatePort"] == int(digits)
                and entry["Type"] == (suffix or protocol)
                and entry.get("PublicPort")
            ):
                from netd.cli.commands.ps import host_port

                print_line(host_port(entry.get("IP") or "", str(entry["PublicPort"])))
                return 0
        published = sorted({
            f"{entry['PrivatePort']}/{entry['Type']}"
            for entry in container.entry.get("Ports") or ()
            if entry.get("PublicPort")
        })  # fmt: skip
        raise Fault(
            f"no port {digits}/{suffix or protocol} for container {container.name}: "
            f"it publishes {', '.join(published) or 'none'}"
        )
    raise Fault(f'service "{service}" has no running container number {number}')


_IMAGE_HEADERS = {
    "ContainerName": "CONTAINER",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Platform": "PLATFORM",
    "ID": "IMAGE ID",
    "Size": "SIZE",
    "Created": "CREATED",
}


def images(session: Session, options: Options) -> int:
    from netd.cli.output.human import ago, seconds_of, size

    context, _, found = _found(session, options, stopped=True)
    ids = dict.fromkeys(container.entry["ImageID"] for container in found)
    requests = {id: context.engine.send("GET", f"/images/{id}/json") for id in ids}
    known = {id: request.response().json() for id, request in requests.items()}
    if options.on("quiet"):
        for id in known:
            print_line(id.removeprefix("sha256:"))
        return 0
    rows = []
    for container in found:
        image = known[container.entry["ImageID"]]
        repository, tag = _split_name((image.get("RepoTags") or ["<none>:<none>"])[0])
        rows.append({
            "ID": short_id(image["Id"]),
            "ContainerName": container.name,
            "Repository": repository,
            "Tag": tag,
            "Platform": f"{image['Os']}/{image['Architecture']}",
            "Size": size(image["Size"]),
            "Created": ago(seconds_of(image["Created"].replace("Z", "+00:00"))) if image.get("Created") else "N/A",
        })  # fmt: skip
    return show_list(options, _IMAGE_HEADERS, tuple(_IMAGE_HEADERS), rows, "ID")


def _split_name(name: str) -> tuple[str, str]:
    repository, _, tag = name.rpartition(":")
    return repository, tag


def volumes(session: Session, options: Options) -> int:
    from netd.cli.output.list_output import labels

    context = ComposeContext(session, options)
    active = context.find(options.args)
    query = (("filters", label_filter([f"{names.PROJECT}={active.name}"])),)
    found: list[Json] = context.engine.get("/volumes", query)["Volumes"] or []
    if options.args:
        keys = active.services(options.args)
        used = {volume.source for key in keys for volume in active.project.services[key].volumes}
        found = [volume for volume in found if (volume.get("Labels") or {}).get(names.VOLUME) in used]
    rows = [
        {
            "Driver": volume["Driver"],
            "Name": volume["Name"],
            "Mountpoint": volume.get("Mountpoint", ""),
            "Scope": volume.get("Scope", "local"),
            **labels(volume.get("Labels")),
        }
        for volume in sorted(found, key=lambda volume: volume["Name"])
    ]
    headers = {"Driver": "DRIVER", "Name": "VOLUME NAME", "Mountpoint": "MOUNTPOINT", "Scope": "SCOPE"}
    return show_list(options, {**headers, "Labels": "LABELS"}, ("Driver", "Name"), rows, "Name")


def stats(session: Session, options: Options) -> int:
    """Show the resource usage with the verb of containers."""
    from netd.cli.main import load
    from netd.cli.parse.flags import parse

    _, _, found = _found(session, options, stopped=options.on("all"))
    if not found:
        return 0
    command = load("stats")
    words = [container.name for container in found]
    words += ["--no-stream"] * options.on("no-stream") + ["--no-trunc"] * options.on("no-trunc")
    if options.given("format"):
        words += ["--format", options.text("format")]
    return command.run(session, parse(words, command.flags))


def events(session: Session, options: Options) -> int:
    """Print the events of the project's containers as they occur."""
    from json import dumps, loads

    from netd.cli.compose.logs import moment_of

    context = ComposeContext(session, options)
    active = context.find(options.args)
    keys = set(active.services(options.args))
    filters = loads(label_filter([f"{names.PROJECT}={active.name}"])) | {"type": {"container": True}}
    query = [("filters", dumps(filters))] + [(name, moment_of(options, name)) for name in ("since", "until")]
    for line in context.engine.call("GET", "/events", query=query).lines():
        event = loads(line)
        attributes = (event.get("Actor") or {}).get("Attributes") or {}
        if attributes.get(names.SERVICE) in keys:
            _print_event(event, attributes, options.on("json"))
    return 0


def _print_event(event: Json, attributes: dict[str, str], as_json: bool) -> None:
    import datetime

    seconds, rest = divmod(event["timeNano"], 10**9)
    moment = datetime.datetime.fromtimestamp(seconds).astimezone()
    shown = {name: value for name, value in attributes.items() if not name.startswith("com.docker.compose.")}
    if as_json:
        print_json({
            "action": event["Action"],
            "attributes": shown,
            "id": event["Actor"]["ID"],
            "service": attributes.get(names.SERVICE, ""),
            "time": f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}{moment:%z}",
            "type": "container",
        })  # fmt: skip
    else:
        words = ", ".join(f"{name}={value}" for name, value in sorted(shown.items()))
        time = f"{moment:%Y-%m-%d %H:%M:%S}.{rest // 1000:06d}"
        print_line(f"{time} container {event['Action']} {event['Actor']['ID']} ({words})")
    sys.stdout.flush()


def projects(session: Session, options: Options) -> int:
    """List projects; without ``--all`` those with running containers."""
    from json import dumps

    query = (("all", "1" if options.on("all") else ""), ("filters", label_filter([names.PROJECT, names.CONFIG_HASH])))
    found: dict[str, list[ExistingContainer]] = {}
    for entry in session.engine.get("/containers/json", query):
        container = existing(entry)
        found.setdefault(container.labels[names.PROJECT], []).append(container)
    rows: list[Json] = [
        {
            "Name": name,
            "Status": _status(found[name]),
            "ConfigFiles": ",".join(
                dict.fromkeys(
                    path
                    for container in found[name]
                    for path in container.labels.get(names.CONFIG_FILES, "").split(",")
                )
            ),
        }
        for name in sorted(found)
        if all(_matches(name, word) for word in options.many("filter"))
    ]
    if options.on("quiet"):
        for row in rows:
            print_line(row["Name"])
        return 0
    if options.text("format", "table") == "json":
        print_line(dumps(rows, ensure_ascii=False, separators=(",", ":")))
        return 0
    headers = {"Name": "NAME", "Status": "STATUS", "ConfigFiles": "CONFIG FILES"}
    return show_list(options, headers, tuple(headers), rows, "Name")


def _status(containers: list[ExistingContainer]) -> str:
    counts: dict[str, int] = {}
    for container in containers:
        counts[container.state] = counts.get(container.state, 0) + 1
    return ", ".join(f"{state}({count})" for state, count in sorted(counts.items()))


def _matches(name: str, word: str) -> bool:
    import re

    key, _, value = word.partition("=")
    if key != "name":
        raise Fault(f"unknown filter {key}: use name")
    try:
        return re.search(value, name) is not None
    except re.error as error:
        raise Fault(f"invalid filter {word}: {error}") from None


def version(session: Session, options: Options) -> int:
    """Print the version of Docker's compose whose labels and hashes are written."""
    if options.on("short"):
        print_line(names.COMPOSE_VERSION)
    elif options.text("format") == "json":
        print_json({"version": f"v{names.COMPOSE_VERSION}"})
    else:
        print_line(f"netctl compose, compatible with Docker Compose version v{names.COMPOSE_VERSION}")
    return 0


COMMANDS = {
    "compose top": Command("compose top [SERVICE...]", top, completions=("service",)),
    "compose port": Command(
        "compose port [FLAGS] SERVICE PORT",
        port,
        (
            text("index", "", "NUMBER", "Number of the container, if the service has several (1)"),
            text("protocol", "", "NAME", "Protocol (tcp)", values="words:tcp udp sctp"),
        ),
        min_args=2,
        max_args=2,
        completions=("service", "none"),
    ),
    "compose images": Command(
        "compose images [FLAGS] [SERVICE...]",
        images,
        (list_format(), switch("quiet", "q", "Print ids only")),
        completions=("service",),
    ),
    "compose volumes": Command(
        "compose volumes [FLAGS] [SERVICE...]",
        volumes,
        (list_format(), switch("quiet", "q", "Print names only")),
        completions=("service",),
    ),
    "compose stats": Command(
        "compose stats [FLAGS] [SERVICE...]",
        stats,
        (
            switch("all", "a", "Show stopped containers as well"),
            list_format(),
            switch("no-stream", "", "Print one sample"),
            switch("no-trunc", "", "Print ids in full"),
        ),
        completions=("service",),
    ),
    "compose events": Command(
        "compose events [FLAGS] [SERVICE...]",
        events,
        (
            switch("json", "", "Print an object per line"),
            text("since", "", "TIME", "Start of the period"),
            text("until", "", "TIME", "End of the period"),
        ),
        completions=("service",),
    ),
    "compose ls": Command(
        "compose ls [FLAGS]",
        projects,
        (
            switch("all", "a", "Show projects without running containers as well"),
            many("filter", "", "KEY=VALUE", "Filter the list: name"),
            list_format(),
            switch("quiet", "q", "Print names only"),
        ),
        max_args=0,
    ),
    "compose version": Command(
        "compose version [FLAGS]",
        version,
        (
            text("format", "f", "FORMAT", "pretty or json", values="words:pretty json"),
            switch("short", "", "Print the version only"),
        ),
        max_args=0,
    ),
}
