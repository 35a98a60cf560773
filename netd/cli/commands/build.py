"""``build``: sends a build context to the daemon and shows the steps; ``builder prune`` removes the build cache."""

from __future__ import annotations

import os
import sys

from netd.cli.errors import Fault
from netd.cli.output.progress_display import Lines
from netd.cli.parse import units
from netd.cli.parse.common_flags import NO_CONTENT_TRUST, check_content_trust, confirmed, selected_filters
from netd.cli.parse.filter_flags import BUILD_CACHE, filter_flag
from netd.cli.parse.flags import Command, many, switch, text
from netd.cli.parse.resource_flags import ULIMIT, ulimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_RESERVED = ("reserved-space",)
_LARGEST_SECRETS = 4 << 10
"""Bytes of all secrets: they travel in a header of the request."""


def build(session: Session, options: Options) -> int:
    """Build an image from the folder ``args[0]``, or from the archive on standard input (``-``)."""
    from netd.cli.files import context_archive

    check_content_trust(options)
    where = options.args[0]
    dockerfile = options.text("file")
    if "://" in where or where.startswith("git@"):
        raise Fault(f"a build context at {where} is not supported: download it, and name the folder")
    if where == "-":
        if dockerfile == "-":
            raise Fault("invalid argument: can't use stdin for both build context and dockerfile")
        content, name = context_archive.from_standard_input(), dockerfile or "Dockerfile"
    else:
        context = context_archive.ContextArchive(where, dockerfile)
        content, name = context.chunks(), context.dockerfile
    response = session.engine.upload("/build", _query(options, name), content, headers=_headers(options))
    image = _show(response.lines(), quiet=options.on("quiet"))
    if path := options.text("iidfile"):
        with open(path, "w", encoding="ascii") as file:
            file.write(image)
    return 0


def _show(lines: Iterable[bytes], *, quiet: bool) -> str:
    """Print the messages of a build, and return the id of the image.  Raises Fault with the code of a failed step."""
    from json import loads

    image = ""
    others = Lines(sys.stdout, quiet)
    for line in lines:
        message: dict[str, Any] = loads(line)
        if error := message.get("error"):
            code = (message.get("errorDetail") or {}).get("code") or 1
            raise Fault(str(error), code if 0 < code < 256 else 1)
        if (found := message.get("stream")) is not None:
            sys.stdout.write(found)
            sys.stdout.flush()
            image = found.strip() if quiet else image
        elif aux := message.get("aux"):
            image = aux.get("ID", image)
        else:
            others.add(message)
    return image


def _query(options: Options, dockerfile: str) -> list[tuple[str, str]]:
    from json import dumps

    arguments = dict(_argument(word) for word in options.many("build-arg"))
    labels = dict(word.partition("=")[::2] for word in options.many("label"))
    switches = (("nocache", "no-cache"), ("pull", "pull"), ("q", "quiet"))
    texts = (
        ("networkmode", "network"),
        ("platform", "platform"),
        ("cgroupparent", "cgroup-parent"),
        ("cpusetcpus", "cpuset-cpus"),
        ("cpusetmems", "cpuset-mems"),
        ("cpushares", "cpu-shares"),
        ("cpuquota", "cpu-quota"),
        ("cpuperiod", "cpu-period"),
        ("isolation", "isolation"),
    )
    lists = (
        ("cachefrom", options.many("cache-from")),
        ("ulimits", ulimits(options)),
        ("securityopt", options.many("security-opt")),
    )
    query = [("version", "1"), ("dockerfile", dockerfile), ("target", options.text("target"))]
    query += [("t", tag) for tag in options.many("tag")]
    query += [(key, "1") for key, flag in switches if options.on(flag)]
    query += [(key, options.text(flag)) for key, flag in texts]
    query += [("extrahosts", host) for host in options.many("add-host")]
    sizes = (("memory", "memory"), ("shmsize", "shm-size"))
    query += [(key, str(options.converted(flag, units.memory) or "")) for key, flag in sizes]
    query += [("memswap", str(options.converted("memory-swap", units.memory_or_none) or ""))]
    for key, value in (("buildargs", arguments), ("labels", labels), *lists):
        query.append((key, dumps(value) if value else ""))
    return query


def _argument(word: str) -> tuple[str, str | None]:
    """Return name and value of ``--build-arg``; without a value it is that of netctl's environment."""
    name, equals, value = word.partition("=")
    return name, value if equals else os.environ.get(name)


def _headers(options: Options) -> Iterator[tuple[str, str]]:
    from base64 import b64encode, urlsafe_b64encode
    from json import dumps

    from netd.cli.transport.docker_config import DockerConfig

    if credentials := DockerConfig().all():
        yield "X-Registry-Config", urlsafe_b64encode(dumps(credentials).encode()).decode()
    secrets = dict(_secret(options, word) for word in options.many("secret"))
    if sum(map(len, secrets.values())) > _LARGEST_SECRETS:
        raise Fault(f"the secrets are larger than {_LARGEST_SECRETS >> 10} KiB together: use fewer or smaller ones")
    if secrets:
        encoded = {name: b64encode(value).decode() for name, value in secrets.items()}
        yield "X-Netd-Build-Secrets", urlsafe_b64encode(dumps(encoded).encode()).decode()


def _secret(options: Options, word: str) -> tuple[str, bytes]:
    """Read a secret: ``id=NAME,src=FILE`` or ``id=NAME,env=VARIABLE``; without either, the file NAME."""
    fields = dict(field.partition("=")[::2] for field in word.split(","))
    unknown = set(fields) - {"id", "src", "source", "env", "type"}
    name = fields.get("id", "")
    if not name or unknown:
        raise options.refuse("secret", word, "use id=NAME,src=FILE or id=NAME,env=VARIABLE")
    if variable := fields.get("env"):
        if variable not in os.environ:
            raise options.refuse("secret", word, f"the environment variable {variable} is not set")
        return name, os.environb[variable.encode()]
    path = fields.get("src") or fields.get("source") or name
    try:
        with open(path, "rb") as file:
            return name, file.read(_LARGEST_SECRETS + 1)
    except OSError as error:
        raise options.refuse("secret", word, f"cannot read {path}: {error.strerror}") from None


def prune(session: Session, options: Options) -> int:
    from netd.cli.commands.prune.reports import build_cache, print_reports

    selected, everything = selected_filters(options), options.on("all")
    kept = options.converted("keep-storage", units.memory)
    what = "all build cache" if everything else "all build cache that no image uses"
    if not confirmed(options, f"WARNING! This will remove {what}."):
        return 0
    return print_reports([build_cache(session, selected, everything=everything, kept=kept)])


COMMANDS = {
    "image build": Command(
        "image build [FLAGS] FOLDER|-",
        build,
        (
            many("add-host", "", "NAME:ADDRESS", "Add a line to /etc/hosts of RUN"),
            many("build-arg", "", "NAME[=VALUE]", "Set an ARG; without value, that of this environment"),
            many("cache-from", "", "IMAGE", "Use the steps of this image as a cache"),
            text("cgroup-parent", "", "PATH", "Control group above those of RUN"),
            switch("compress", "", "Accepted for Docker's sake: the context goes through a local socket"),
            text("cpu-period", "", "MICROSECONDS", "CPU period of RUN"),
            text("cpu-quota", "", "MICROSECONDS", "CPU quota of RUN"),
            text("cpu-shares", "c", "NUMBER", "CPU weight of RUN"),
            text("cpuset-cpus", "", "LIST", "CPUs of RUN"),
            text("cpuset-mems", "", "LIST", "Memory nodes of RUN"),
            NO_CONTENT_TRUST,
            text("file", "f", "FILE", "The Dockerfile, - for standard input (default: FOLDER/Dockerfile)"),
            switch("force-rm", "", "Accepted for Docker's sake: containers of RUN are always removed"),
            text("iidfile", "", "FILE", "Write the id of the image to this file"),
            text("isolation", "", "KIND", "Isolation technology: 'default' only", values="words:default"),
            many("label", "", "NAME=VALUE", "Set a label of the image"),
            text("memory", "m", "SIZE", "Memory limit of RUN"),
            text("memory-swap", "", "SIZE", "Limit of memory and swap of RUN; -1 for no limit"),
            text("network", "", "NETWORK", "Network of RUN", values="network"),
            switch("no-cache", "", "Carry out all steps again"),
            text("platform", "", "OS/ARCHITECTURE", "Platform of the image"),
            switch("pull", "", "Pull base images also if they are on this host"),
            switch("quiet", "q", "Print the id of the image only"),
            switch("rm", "", "Accepted for Docker's sake: containers of RUN are always removed"),
            many("secret", "", "id=NAME[,src=FILE|,env=VARIABLE]", "Give RUN --mount=type=secret a secret"),
            many("security-opt", "", "OPTION", "Refused: steps are confined as containers are"),
            text("shm-size", "", "SIZE", "Size of /dev/shm of RUN"),
            many("tag", "t", "NAME[:TAG]", "Name the image"),
            text("target", "", "STAGE", "Build this stage and those that it needs"),
            ULIMIT,
        ),
        min_args=1,
        max_args=1,
        completions=("file",),
    ),
    "builder prune": Command(
        "builder prune [FLAGS]",
        prune,
        (
            switch("all", "a", "Remove cache that images use as well"),
            filter_flag(BUILD_CACHE, short="", what="Filter the cache to remove"),
            switch("force", "f", "Do not ask for confirmation"),
            text("keep-storage", "", "SIZE", "Keep this much cache, that used most recently", aliases=_RESERVED),
        ),
        max_args=0,
    ),
}
