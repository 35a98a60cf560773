"""What a shim leaves in its folder ``RUN/shims/<id>`` for those who come later: its state, and at last the exit.

Both sides use it: the shim writes, the launcher reads.  All of it belongs to this boot of the machine; the boot's id is
in it, so that nothing from before is believed.
"""

from __future__ import annotations

import os
import time

from runtime import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET_SUFFIX = ".sock"
_STATE = {
    "id": str,
    "container": str,
    "pid": int,
    "start_time": int,
    "started": str,
    "group": str,
    "log": tuple,
    "tty": bool,
    "stdin": bool,
}
_EXIT = (int, str, bool, str)


def write_state(directory: int, state: dict[str, Any]) -> None:
    _write(directory, "state", frames.pack({**state, "boot": boot_id()}))


def read_state(directory: int) -> dict[str, Any] | None:
    """Return the state of the process that runs or ran here; None when it was never started, or in another boot."""
    found = _read(directory, "state")
    return found if found and found.pop("boot", "") == boot_id() and _fits(found, _STATE) else None


def write_exit(directory: int, status: tuple[int, str, bool, str]) -> None:
    """Record (code, time, killed for memory, error)."""
    _write(directory, "exit", frames.pack({"status": status, "boot": boot_id()}))


def write_end(shims: int, name: str, status: tuple[int, str, bool, str]) -> None:
    """Record the exit of *name* and remove its socket.  Does nothing when its folder has been removed already."""
    try:
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)
    except FileNotFoundError:
        return
    write_exit(directory, status)
    os.close(directory)
    unlink(name + SOCKET_SUFFIX, shims)


def read_exit(directory: int) -> tuple[int, str, bool, str] | None:
    found = _read(directory, "exit")
    status = found.get("status") if found else None
    if not isinstance(status, tuple) or not _fits(dict(enumerate(status)), dict(enumerate(_EXIT))):
        return None
    return status


def _fits(found: dict[Any, Any], wanted: dict[Any, type]) -> bool:
    """Tell whether a damaged file lacks nothing that is needed."""
    return all(isinstance(found.get(name), kind) for name, kind in wanted.items())


def _write(directory: int, name: str, data: bytes) -> None:
    """Put *data* in place at once: a reader sees all of it or what was there before."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(f"{name}.new", flags, 0o600, dir_fd=directory)
    os.write(descriptor, data)
    os.close(descriptor)
    os.rename(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)


def _read(directory: int, name: str) -> dict[str, Any] | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    try:
        found = frames.unpack(os.read(descriptor, 1 << 20))
    except (EOFError, ValueError, TypeError, OverflowError, MemoryError):
        return None
    finally:
        os.close(descriptor)
    return found if isinstance(found, dict) else None


def boot_id() -> str:
    descriptor = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, 64).decode().strip()
    finally:
        os.close(descriptor)


def start_time(pid: int) -> int:
    """Return when the process began, in clock ticks since boot; with the pid it names a process for good.

    Raises OSError when there is none.
    """
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 4096).rpartition(b")")[2].split()[19])
    finally:
        os.close(descriptor)


def now() -> str:
    """Return the present as RFC 3339 in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def remove(shims: int, name: str) -> None:
    """Remove the folder *name* and its socket from *shims*; what is not there is no error."""
    unlink(name + SOCKET_SUFFIX, shims)
    try:
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        for entry in os.listdir(directory):
            unlink(entry, directory)
    finally:
        os.close(directory)
    try:
        os.rmdir(name, dir_fd=shims)
    except FileNotFoundError:
        return


def unlink(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
