"""``run`` and ``create``."""

from __future__ import annotations

import os
import sys

from netd.cli.errors import ApiFault, Fault, UsageFault
from netd.cli.parse.create_body import attached_streams, create_body
from netd.cli.parse.flags import Command
from netd.cli.parse.run_flags import CREATE, RUN
from netd.cli.session import print_line, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session

_NOT_FOUND = ("executable file not found", "no such file or directory")
_NOT_EXECUTABLE = ("permission denied", "is a directory")


def create(session: Session, options: Options) -> int:
    body = create_body(options, attached=True, size=None)
    print_line(_created(session, options, body))
    return 0


def run(session: Session, options: Options) -> int:
    """Return the program's exit code; 125 for errors of netctl or the daemon; 126 or 127 if it cannot be executed."""
    try:
        return _detached(session, options) if options.on("detach") else _attached(session, options)
    except UsageFault:
        raise
    except Fault as fault:
        raise Fault(fault.explained(), max(fault.code, 125)) from None


def start_code(message: str) -> int:
    """Return the exit code for a failed start from the daemon's error *message*."""
    if any(words in message for words in _NOT_FOUND):
        return 127
    return 126 if any(words in message for words in _NOT_EXECUTABLE) else 125


def _detached(session: Session, options: Options) -> int:
    if options.given("attach"):
        raise UsageFault("conflicting options: cannot specify both --attach and --detach")
    id = _created(session, options, create_body(options, attached=False, size=None))
    print_line(id)
    _start(session, id)
    return 0


def _attached(session: Session, options: Options) -> int:
    from netd.cli.transport import terminal
    from netd.cli.transport.attach import Target, exit_code, require_terminal, stream

    attached = attached_streams(options)
    tty, stdin = options.on("tty"), "stdin" in attached
    require_terminal(tty, stdin)
    keys = detach_keys_of(options)
    id = _created(session, options, create_body(options, attached=True, size=terminal.size() if tty else None))
    path, engine = f"/containers/{id}", session.engine
    if not attached & {"stdout", "stderr"}:
        print_line(id)
        sys.stdout.flush()
    names = [*(name for name in ("stderr", "stdin", "stdout") if name in attached), "stream"]
    streams = [(name, "1") for name in names]
    response = engine.hijack(f"{path}/attach", query=streams)
    condition = "removed" if options.on("rm") else "next-exit"
    waiting = engine.call("POST", f"{path}/wait", query=(("condition", condition),))
    target = Target(engine, path)

    def begin() -> None:
        try:
            _start(session, id)
        except Fault:
            if options.on("rm"):
                waiting.read()
            raise
        if tty:
            target.resize()

    proxy = options.on("sig-proxy", default=True)
    if not stream(target, response, tty=tty, stdin=stdin, keys=keys, proxy=proxy, begin=begin):
        warn(f"detached; {id[:12]} keeps running")
        return 0
    return exit_code(waiting)


def detach_keys_of(options: Options) -> bytes:
    from netd.cli.transport.stream_frames import detach_keys

    text = options.text("detach-keys", "ctrl-p,ctrl-q")
    try:
        return detach_keys(text)
    except ValueError as error:
        raise options.refuse("detach-keys", text, str(error)) from None


def _created(session: Session, options: Options, body: dict[str, Any]) -> str:
    query = (("name", options.text("name")), ("platform", options.text("platform")))
    id_file = _open_id_file(options)
    try:
        id = _create(session, options, body, query)
    except BaseException:
        if id_file:
            os.unlink(options.text("cidfile"))
        raise
    if id_file:
        with id_file:
            id_file.write(id)
    return id


def _open_id_file(options: Options) -> TextIO | None:
    """Create the file of ``--cidfile`` before the container.  Raises Fault if the file exists."""
    if not (path := options.text("cidfile")):
        return None
    try:
        return open(path, "x", encoding="ascii")
    except FileExistsError:
        raise Fault(
            f"container ID file found, make sure the other container isn't running or delete {path}", 125
        ) from None


def _create(session: Session, options: Options, body: dict[str, Any], query: tuple[tuple[str, str], ...]) -> str:
    policy = options.text("pull", "missing")
    if policy not in ("always", "missing", "never"):
        raise options.refuse("pull", policy, "use always, missing or never")
    if policy == "always":
        _pull(session, options)
    try:
        response = session.engine.post("/containers/create", body, query=query)
    except ApiFault as fault:
        if policy != "missing" or not _is_missing(fault):
            raise Fault(_with_remedy(fault, options.args[0]), 125) from None
        warn(f"unable to find image '{_full_name(options.args[0])}' locally")
        try:
            _pull(session, options)
        except Fault as failed:
            raise Fault(failed.message + fault.explained().removeprefix(fault.message), failed.code) from None
        response = session.engine.post("/containers/create", body, query=query)
    for warning in response.get("Warnings") or ():
        warn(f"warning: {warning}")
    return str(response["Id"])


def _pull(session: Session, options: Options) -> None:
    """Pull the image of the command line; the progress goes to standard error."""
    from netd.cli.commands.registries import pull_image

    platform = options.text("platform")
    pull_image(session, options.args[0], platform=platform, quiet=options.on("quiet"), output=sys.stderr)


def _full_name(image: str) -> str:
    from netd.cli.commands.registries import tag_or_digest

    return image if tag_or_digest(image) else f"{image}:latest"


def _is_missing(fault: ApiFault) -> bool:
    return fault.status == 404 and "o such image" in fault.message


def _with_remedy(fault: ApiFault, image: str) -> str:
    if _is_missing(fault):
        return f"{fault.explained()}; pull it with 'netctl pull {image}'; 'netctl image ls' lists the images"
    return fault.explained()


def _start(session: Session, id: str) -> None:
    try:
        session.engine.post(f"/containers/{id}/start")
    except ApiFault as fault:
        raise Fault(fault.message, start_code(fault.message)) from None


COMMANDS = {
    "run": Command(
        "run [FLAGS] IMAGE [COMMAND] [ARGUMENT...]",
        run,
        RUN,
        min_args=1,
        flags_first=True,
        completions=("image", "file"),
    ),
    "create": Command(
        "create [FLAGS] IMAGE [COMMAND] [ARGUMENT...]",
        create,
        CREATE,
        min_args=1,
        flags_first=True,
        completions=("image", "file"),
    ),
}
