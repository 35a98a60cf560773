"""The files of a shim in its folder ``RUN/shims/<id>``: its state, and at the end the exit.

The setup process writes the state, the shim the exit; the launcher reads both, and writes the exit of a process that
lost its shim.  Each contains the kernel's boot id; a state of an earlier boot is ignored, an exit is not.
"""

from __future__ import annotations

import os
import time

from runtime import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from runtime.frames import ExitFields, ShimState

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


def write_state(directory: int, state: ShimState) -> None:
    _write(directory, "state", frames.pack_dict({**state, "boot": boot_id()}))


def read_state(directory: int) -> ShimState | None:
    """Return the recorded state; None if the process was never started, or in another boot, or the file is damaged."""
    found = _read(directory, "state")
    if not found or found.pop("boot", "") != boot_id() or not _has_types(found, _STATE):
        return None
    state: ShimState = found
    return state


def write_exit(directory: int, status: ExitFields) -> None:
    _write(directory, "exit", frames.pack_dict({"status": status, "boot": boot_id()}))


def write_end(shims: int, name: str, status: ExitFields) -> None:
    """Record the exit of *name* and remove its socket.  Does nothing if its folder has been removed already."""
    try:
        directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=shims)
    except FileNotFoundError:
        return
    write_exit(directory, status)
    os.close(directory)
    unlink(name + SOCKET_SUFFIX, shims)


def read_exit(directory: int) -> ExitFields | None:
    found = _read(directory, "exit")
    fields = found.get("status") if found else None
    if not isinstance(fields, tuple) or not _has_types(dict(enumerate(fields)), dict(enumerate(_EXIT))):
        return None
    status: ExitFields = fields
    return status


def _has_types(found: Any, wanted: dict[Any, type]) -> bool:
    """Return whether the dictionary *found* has all keys of *wanted*, with values of these types."""
    return all(isinstance(found.get(name), kind) for name, kind in wanted.items())


def _write(directory: int, name: str, data: bytes) -> None:
    """Replace the file by a rename: a reader sees the old or the new content."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = os.open(f"{name}.new", flags, 0o600, dir_fd=directory)
    os.write(descriptor, data)
    os.close(descriptor)
    os.rename(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)


def _read(directory: int, name: str) -> Any:
    """Return the dictionary in the file; None if it is missing or damaged."""
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
    """Return when the process started, in clock ticks since boot; together with the pid it identifies a process.

    Raises OSError if there is no such process.
    """
    descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 4096).rpartition(b")")[2].split()[19])
    finally:
        os.close(descriptor)


def now() -> str:
    """Return the current time as RFC 3339 in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


def remove(shims: int, name: str) -> None:
    """Remove the folder *name* and its socket from *shims*, if they exist."""
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
