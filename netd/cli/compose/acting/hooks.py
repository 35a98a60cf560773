"""Commands that a service runs in its containers after their start and before their stop."""

from __future__ import annotations

from netd.cli.errors import ApiFault, Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from netd.cli.transport.http import Client
    from netd.compose.model import LifecycleHook


def run_hook(engine: Client, container: str, name: str, hook: LifecycleHook, show: Callable[[str], None]) -> None:
    """Run *hook* in a container, and *show* each line of its output.  Raises Fault if it fails."""
    from netd.cli.transport.stream_frames import Frames

    body = {
        "AttachStdout": True,
        "AttachStderr": True,
        "Cmd": hook.command or [],
        "User": hook.user,
        "Privileged": hook.privileged,
        "WorkingDir": hook.working_dir,
        "Env": [key if value is None else f"{key}={value}" for key, value in hook.environment.items()],
    }
    try:
        id = engine.post(f"/containers/{container}/exec", body)["Id"]
        sock, rest = engine.hijack(f"/exec/{id}/start", {"Detach": False, "Tty": False}).take()
    except ApiFault as fault:
        raise Fault(f"{name}: hook {' '.join(hook.command or ())} failed: {fault.message}") from None
    frames, text = Frames(), b""
    try:
        while rest or (rest := sock.recv(1 << 16)):
            text += b"".join(piece for _, piece in frames.feed(rest))
            rest = b""
            *lines, text = text.split(b"\n")
            for line in lines:
                show(line.decode("utf-8", "replace"))
    finally:
        sock.close()
    code = engine.get(f"/exec/{id}/json").get("ExitCode")
    if code:
        raise Fault(f"{name}: hook {' '.join(hook.command or ())} exited with status code {code}")
