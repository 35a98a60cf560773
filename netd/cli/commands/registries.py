"""The verbs that use registries: ``pull``, ``push``, ``login``, ``logout``, ``search``."""

from __future__ import annotations

import sys

from netd.cli.errors import ApiFault, Fault
from netd.cli.output.columns import escape_control, truncate
from netd.cli.output.progress_display import show
from netd.cli.parse.common_flags import NO_CONTENT_TRUST, check_content_trust, filters, list_format, show_list
from netd.cli.parse.filter_flags import SEARCH, filter_flag
from netd.cli.parse.flags import Command, switch, text
from netd.cli.session import print_line, warn
from netd.cli.transport import docker_config
from netd.cli.transport.docker_config import DockerConfig
from netd.cli.transport.terminal import STDIN, is_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_DESCRIPTION_LENGTH = 45
_LONGEST_PASSWORD = 1 << 16
_SEARCH = {
    "Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL",
    "IsAutomated": "AUTOMATED",
}  # fmt: skip


def pull(session: Session, options: Options) -> int:
    """Pull one image, or all tags of a repository."""
    check_content_trust(options)
    name = options.args[0]
    everything = options.on("all-tags")
    if everything and tag_or_digest(name):
        raise Fault("a tag can't be used with --all-tags/-a")
    if not everything and not tag_or_digest(name) and not options.on("quiet"):
        print_line("Using default tag: latest")
    platform = options.text("platform")
    pull_image(session, name, platform=platform, everything=everything, quiet=options.on("quiet"))
    print_line(name if everything or tag_or_digest(name) else f"{name}:latest")
    return 0


def pull_image(
    session: Session,
    name: str,
    *,
    platform: str = "",
    everything: bool = False,
    quiet: bool = False,
    output: TextIO | None = None,
) -> None:
    """Pull *name*, tag latest if it has neither tag nor digest, and show the progress.  Raises Fault."""
    query = [("fromImage", name), ("platform", platform)]
    if not everything and not tag_or_digest(name):
        query.append(("tag", "latest"))
    request = session.engine.send("POST", "/images/create", query=query, headers=auth_header(name))
    show(request.response().lines(), output, quiet=quiet)


def push(session: Session, options: Options) -> int:
    """Push one image, or all tags of a repository; with -q, print the name only."""
    check_content_trust(options)
    name = options.args[0]
    everything, quiet = options.on("all-tags"), options.on("quiet")
    tag = tag_or_digest(name)
    if everything and tag:
        raise Fault("tag can't be used with --all-tags/-a")
    if "@" in name:
        raise Fault("cannot push a digest reference: name a tag")
    repository = name.removesuffix(f":{tag}") if tag else name
    if not tag and not everything:
        tag = "latest"
        if not quiet:
            print_line("Using default tag: latest")
    query = (("tag", tag), ("platform", options.text("platform")))
    request = session.engine.send("POST", f"/images/{repository}/push", query=query, headers=auth_header(repository))
    show(request.response().lines(), quiet=quiet)
    if quiet:
        print_line(name)
    return 0


def auth_header(name: str) -> tuple[tuple[str, str], ...]:
    """Return the header with the credentials of an image's registry."""
    server = docker_config.server_of(docker_config.registry_of(name))
    return (("X-Registry-Auth", docker_config.header(DockerConfig().get(server))),)


def tag_or_digest(name: str) -> str:
    """Return the tag or digest in an image name, "" if there is none."""
    _, at, digest = name.partition("@")
    if at:
        return digest
    _, colon, tag = name.rpartition(":")
    return tag if colon and "/" not in tag else ""


def full_name(image: str) -> str:
    """Return an image name with its registry, and with ``library`` for Docker's own images."""
    registry = docker_config.registry_of(image)
    first, slash, rest = image.partition("/")
    if registry != "docker.io":
        return image
    path = rest if slash and first in ("docker.io", "index.docker.io") else image
    return f"docker.io/{path if '/' in path else f'library/{path}'}"


def login(session: Session, options: Options) -> int:
    """Check credentials at the registry, and keep them in docker's configuration."""
    registry = options.args[0] if options.args else "docker.io"
    server = docker_config.server_of(registry)
    config = DockerConfig()
    config.check()
    credentials = _known(config, server, options) or _asked(options, registry)
    try:
        answer = session.engine.post("/auth", {**credentials, "serveraddress": server})
    except ApiFault as fault:
        raise Fault(fault.message) from None
    if token := answer.get("IdentityToken"):
        credentials = {"username": credentials["username"], "identitytoken": token}
    if path := config.store(server, credentials):
        warn(f"warning: the credentials are stored unencrypted in {path}; name a credential helper there to avoid this")
    print_line(escape_control(answer.get("Status") or "Login Succeeded"))
    return 0


def _known(config: DockerConfig, server: str, options: Options) -> dict[str, Any]:
    """Return stored credentials if none are given now."""
    if options.given("username") or options.given("password") or options.on("password-stdin"):
        return {}
    found = config.get(server)
    if found:
        print_line("Authenticating with existing credentials...")
        found.setdefault("username", "")
    return found


def _asked(options: Options, registry: str) -> dict[str, Any]:
    username, password = options.text("username"), options.text("password")
    if options.on("password-stdin"):
        if options.given("password"):
            raise Fault("--password and --password-stdin are mutually exclusive")
        if not username:
            raise Fault("the --password-stdin option requires --username to be set")
        password = sys.stdin.read(_LONGEST_PASSWORD).rstrip("\r\n")
    elif options.given("password"):
        warn("warning: using --password via the CLI is insecure; use --password-stdin")
    if not (username and password) and not (is_terminal(STDIN) and not options.on("password-stdin")):
        raise Fault("cannot perform an interactive login from a non TTY device: use --username and --password-stdin")
    if not username:
        sys.stderr.write(f"Username for {registry}: ")
        sys.stderr.flush()
        username = sys.stdin.readline().strip()
    if not password:
        from getpass import getpass

        password = getpass("Password: ")
    if not username or not password:
        raise Fault("username and password must not be empty")
    return {"username": username, "password": password}


def logout(session: Session, options: Options) -> int:
    """Remove the credentials of a registry from docker's configuration."""
    registry = options.args[0] if options.args else "docker.io"
    server = docker_config.server_of(registry)
    if not DockerConfig().erase(server):
        print_line(f"Not logged in to {registry}")
        return 0
    print_line(f"Removing login credentials for {server}")
    return 0


def search(session: Session, options: Options) -> int:
    term = options.args[0]
    limit = options.text("limit")
    query = (("term", term), ("limit", limit), ("filters", filters(options)))
    found = session.engine.send("GET", "/images/search", query=query, headers=auth_header(term)).response().json()
    full = options.on("no-trunc")
    rows = [
        {
            "Name": entry["name"],
            "Description": entry["description"] if full else truncate(entry["description"], _DESCRIPTION_LENGTH),
            "StarCount": str(entry["star_count"]),
            "IsOfficial": "[OK]" if entry["is_official"] else "",
            "IsAutomated": "[OK]" if entry.get("is_automated") else "",
        }
        for entry in found or ()
    ]
    return show_list(options, _SEARCH, ("Name", "Description", "StarCount", "IsOfficial"), rows, "Name")


_QUIET = switch("quiet", "q", "Show no progress")
_ALL = switch("all-tags", "a", "All tags of the repository")
_PLATFORM = text("platform", "", "OS/ARCHITECTURE", "Platform of the image, such as linux/arm64")

COMMANDS = {
    "image pull": Command(
        "image pull [FLAGS] NAME[:TAG|@DIGEST]",
        pull,
        (_ALL, _PLATFORM, _QUIET, NO_CONTENT_TRUST),
        min_args=1,
        max_args=1,
        completions=("image",),
    ),
    "image push": Command(
        "image push [FLAGS] NAME[:TAG]",
        push,
        (_ALL, _PLATFORM, _QUIET, NO_CONTENT_TRUST),
        min_args=1,
        max_args=1,
        completions=("image",),
    ),
    "login": Command(
        "login [FLAGS] [REGISTRY]",
        login,
        (
            text("username", "u", "NAME", "User name"),
            text("password", "p", "PASSWORD", "Password; --password-stdin does not show it to other users"),
            switch("password-stdin", "", "Read the password from standard input"),
        ),
        max_args=1,
    ),
    "logout": Command("logout [REGISTRY]", logout, max_args=1),
    "search": Command(
        "search [FLAGS] [REGISTRY/]TERM",
        search,
        (
            filter_flag(SEARCH),
            list_format(),
            text("limit", "", "NUMBER", "Maximum number of results (25)"),
            switch("no-trunc", "", "Print descriptions in full"),
        ),
        min_args=1,
        max_args=1,
    ),
}
