"""Control groups of version 1, version 2, and hybrid systems, as found in the mount table.

The only code that accesses control group file systems.  A container's :class:`Group` has the same path below every
hierarchy in use.  Small, because every shim loads it.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time

from runtime.kernel import devices, limits, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from runtime.spec import Limits

_NEEDED = frozenset({"cpu", "memory", "pids", "cpuset"})
_FREEZE_SECONDS = 10.0
_MOUNT_POINT = "/sys/fs/cgroup"


class Hierarchy:
    """One mounted hierarchy: its mount point, version (1 or 2) and controllers."""

    __slots__ = ("controllers", "path", "version")

    def __init__(self, path: str, version: int, controllers: frozenset[str]) -> None:
        self.path = path
        self.version = version
        self.controllers = controllers


def find(mountinfo: str = "/proc/self/mountinfo") -> tuple[Hierarchy, ...]:
    """Return the hierarchies to use.

    A version 2 hierarchy is used if it has controllers that containers need, or if there is no version 1 freezer.
    Mounts outside /sys/fs/cgroup, as in a chroot, are used only if there are none inside.
    """
    mounts = list(_mounts(mountinfo))
    usual = [mount for mount in mounts if mount[0] == _MOUNT_POINT or mount[0].startswith(f"{_MOUNT_POINT}/")]
    first: dict[frozenset[str], Hierarchy] = {}
    second: Hierarchy | None = None
    for place, kind, options in usual or mounts:
        if kind == "cgroup":
            names = frozenset(o for o in options.split(",") if o not in ("rw", "ro", "xattr", "clone_children"))
            first.setdefault(names, Hierarchy(place, 1, names))
        elif second is None:
            second = Hierarchy(place, 2, frozenset(_read(f"{place}/cgroup.controllers").split()))
    found = list(first.values())
    if second and (second.controllers & _NEEDED or not any("freezer" in h.controllers for h in found)):
        found.append(second)
    if not found:
        raise OSError(errno.ENOENT, "no control groups are mounted; mount cgroup2 on /sys/fs/cgroup")
    return tuple(found)


def _mounts(mountinfo: str) -> Iterator[tuple[str, str, str]]:
    """Yield (mount point, type, options) of every control group mount."""
    for line in _read(mountinfo).splitlines():
        left, _, right = line.partition(" - ")
        kind, _source, options = right.split()[:3]
        if kind in ("cgroup", "cgroup2"):
            yield left.split()[4], kind, options


class Group:
    """One control group, as a directory of the same name in every hierarchy."""

    __slots__ = ("hierarchies", "name")

    def __init__(self, hierarchies: Sequence[Hierarchy], name: str) -> None:
        self.hierarchies = hierarchies
        self.name = name

    def paths(self) -> list[str]:
        return [f"{h.path}/{self.name}" for h in self.hierarchies]

    def path(self, controller: str) -> str | None:
        """Return the group's directory for *controller*; None if no hierarchy has that controller."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return f"{hierarchy.path}/{self.name}"
        return None

    def path_v2(self) -> str | None:
        return next((f"{h.path}/{self.name}" for h in self.hierarchies if h.version == 2), None)

    def exists(self) -> bool:
        return any(os.path.isdir(path) for path in self.paths())

    def create(self, versions: tuple[int, ...] = (1, 2)) -> None:
        """Create the directories, ready to be joined.  Raises FileExistsError if one exists."""
        for hierarchy in self.hierarchies:
            if hierarchy.version in versions:
                _make(hierarchy, self.name)

    def rename(self, name: str) -> None:
        """Rename the version 1 directories within their parent; version 2 directories cannot be renamed."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == 1:
                os.rename(f"{hierarchy.path}/{self.name}", f"{hierarchy.path}/{name}")
        self.name = name

    def join(self) -> None:
        """Put the calling process, which must have a single thread, into the version 1 directories.

        Through ``tasks``: for a single thread that moves itself the kernel waits for no RCU grace period, which takes
        10 to 30 ms through ``cgroup.procs``.  In version 2, processes are forked into their group.
        """
        for hierarchy in self.hierarchies:
            if hierarchy.version == 1:
                write(f"{hierarchy.path}/{self.name}/tasks", "0")

    def open_version2(self) -> int:
        """Return a descriptor of the version 2 directory for CLONE_INTO_CGROUP; -1 without version 2.

        It is a detached read-only mount of that directory: the forked process holds it for a moment, in which the
        container could open it by /proc/PID/fd and, without the mount, reach the host's groups above the directory.
        """
        path = self.path_v2()
        if path is None:
            return -1
        tree = linux.open_tree(linux.AT_FDCWD, path, recursive=False)
        linux.mount_setattr(tree, add=linux.ATTR_RDONLY)
        return tree

    def limit(self, wanted: Limits) -> None:
        """Set the limits.  Raises OSError that names the file whose value was refused, or the missing controller."""
        needed = [write_[0] for write_ in limits.version1(wanted)]
        for controller in [*needed, *(["blkio"] if wanted.blkio_devices else [])]:
            if self.path(controller) is None and not (controller == "blkio" and self.path("io")):
                raise OSError(errno.ENOTSUP, f"the kernel has no {controller} controller to limit containers with")
        for hierarchy in self.hierarchies:
            choose = limits.version1 if hierarchy.version == 1 else limits.version2
            writes = [write_ for write_ in choose(wanted) if write_[0] in hierarchy.controllers]
            _write_all(f"{hierarchy.path}/{self.name}", writes)
            for controller, file, device, value in limits.devices(wanted, hierarchy.version):
                if controller in hierarchy.controllers:
                    write(f"{hierarchy.path}/{self.name}/{file}", f"{_device_number(device)} {value}")

    def has(self, controller: str, file: str) -> bool:
        """Return whether the group's directory for *controller* has *file*."""
        path = self.path(controller)
        return path is not None and os.path.exists(f"{path}/{file}")

    def allow_devices(self, rules: Sequence[str]) -> None:
        """Allow the devices of *rules*, and no others."""
        path = self.path("devices")
        if path is not None:
            write(f"{path}/devices.deny", "a")
            self.allow_more_devices(rules)
        elif (path := self.path_v2()) is not None and "a *:* rwm" not in rules:
            _attach_filter(path, devices.filter_program(rules))

    def allow_more_devices(self, rules: Iterable[str]) -> None:
        """Add version 1 rules; does nothing without a version 1 devices controller."""
        path = self.path("devices")
        for rule in rules if path else ():
            write(f"{path}/devices.allow", "a" if rule.startswith("a *:*") else rule)

    def pids(self) -> list[int]:
        """Return the process ids of the group and of its descendants, sorted."""
        found: set[int] = set()
        for directory in _tree(self._freezer()):
            try:
                found.update(map(int, _read(f"{directory}/cgroup.procs").split()))
            except FileNotFoundError:
                continue
            except OSError as problem:
                if problem.errno != errno.ENODEV:
                    raise
        return sorted(found)

    def freeze(self) -> None:
        """Freeze every process; returns when all are frozen.  On failure, thaws them and raises TimeoutError."""
        try:
            self._set_frozen(True)
        except TimeoutError:
            self._set_frozen(False)
            raise

    def thaw(self) -> None:
        self._set_frozen(False)

    def kill(self, seconds: float = 10.0) -> None:
        """Kill every process, including frozen ones and those being forked; returns when the group is empty."""
        deadline = time.monotonic() + seconds
        while self.exists() and (pids := self.pids()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"control group {self.name} still has processes {pids[:5]} after {seconds:g} s")
            try:
                self._kill_once(pids)
            except OSError as problem:
                if problem.errno not in (errno.ENOENT, errno.ENODEV):
                    raise  # ENOENT, ENODEV: the processes have ended, and the shim has removed the group
            time.sleep(0.001)

    def _kill_once(self, pids: list[int]) -> None:
        path = self.path("freezer")
        if path is None:
            write(f"{self.path_v2()}/cgroup.kill", "1")
            return
        try:
            self._set_frozen(True, seconds=0.2)
            pids = self.pids()
        except TimeoutError:
            pass  # processes that cannot be frozen can still be killed
        for pid in pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self._set_frozen(False)

    def oom_kills(self) -> int:
        """Return how many processes of the group the OOM killer has killed."""
        path = self.path("memory")
        for name in ("memory.events", "memory.oom_control"):
            try:
                lines = _read(f"{path}/{name}").splitlines()
            except OSError:
                continue
            return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
        return 0

    def remove(self, seconds: float = 1.0) -> None:
        """Remove the directories.  Raises OSError if processes are still inside after *seconds*."""
        deadline = time.monotonic() + seconds
        for path in self.paths():
            while not remove_empty(path):
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, f"control group {path} is still in use")
                time.sleep(0.005)

    def remove_parent(self) -> None:
        """Remove the parent directories that are empty."""
        parent = os.path.dirname(self.name)
        while parent:
            for hierarchy in self.hierarchies:
                try:
                    os.rmdir(f"{hierarchy.path}/{parent}")
                except OSError:
                    continue  # in use, or removed already
            parent = os.path.dirname(parent)

    def _freezer(self) -> str:
        return self.path("freezer") or self.path_v2() or self.paths()[0]

    def _set_frozen(self, frozen: bool, seconds: float = _FREEZE_SECONDS) -> None:
        old = self.path("freezer")
        if old is not None:
            state = "FROZEN" if frozen else "THAWED"
            _write_until(f"{old}/freezer.state", state, f"{old}/freezer.state", f"{state}\n", seconds)
        else:
            path, value = self.path_v2(), str(int(frozen))
            _write_until(f"{path}/cgroup.freeze", value, f"{path}/cgroup.events", f"frozen {value}\n", seconds)


def _device_number(path: str) -> str:
    """Return ``major:minor`` of a block device.  Raises OSError that names *path*."""
    try:
        status = os.stat(path)
    except OSError as problem:
        raise OSError(problem.errno, f"cannot limit the block device {path}: {problem.strerror}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise OSError(errno.ENOTBLK, f"cannot limit {path}: it is not a block device")
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"


def write(path: str, text: str) -> None:
    """Write *text* in one call.  Raises OSError that names *path*."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as problem:
        raise OSError(problem.errno, f"cannot write {text!r} to {path}: {problem.strerror}") from None
    finally:
        os.close(descriptor)


def _read(path: str) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, 65536):
            parts.append(part)
        return b"".join(parts).decode(errors="surrogateescape")
    finally:
        os.close(descriptor)


def _make(hierarchy: Hierarchy, name: str) -> None:
    parent = hierarchy.path
    *above, last = name.split("/")
    for part in above:
        _delegate(hierarchy, parent)
        parent = f"{parent}/{part}"
        try:
            os.mkdir(parent, 0o755)
        except FileExistsError:
            continue
        _fill_cpuset(hierarchy, parent)
    _delegate(hierarchy, parent)
    os.mkdir(f"{parent}/{last}", 0o755)
    _fill_cpuset(hierarchy, f"{parent}/{last}")


def _delegate(hierarchy: Hierarchy, path: str) -> None:
    """Enable all controllers of a version 2 hierarchy for the groups below *path*."""
    if hierarchy.version == 1:
        return
    have = _read(f"{path}/cgroup.subtree_control").split()
    for controller in hierarchy.controllers.difference(have):
        try:
            write(f"{path}/cgroup.subtree_control", f"+{controller}")
        except OSError:
            continue  # a limit that needs the controller raises an error later


def _fill_cpuset(hierarchy: Hierarchy, path: str) -> None:
    """Copy a version 1 cpuset from its parent: a group with an empty cpuset cannot be joined."""
    if hierarchy.version == 2 or "cpuset" not in hierarchy.controllers:
        return
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not _read(f"{path}/{file}").strip():
            write(f"{path}/{file}", _read(f"{os.path.dirname(path)}/{file}").strip())


def _write_all(directory: str, writes: list[limits.Write]) -> None:
    late: list[limits.Write] = []
    for write_ in writes:
        _controller, file, value = write_
        try:
            write(f"{directory}/{file}", value)
        except FileNotFoundError:
            if file == "memory.memsw.limit_in_bytes" or file == "memory.swap.max":
                continue  # the kernel has no swap accounting
            raise
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
            late.append(write_)
    for _controller, file, value in late:
        write(f"{directory}/{file}", value)


def _write_until(file: str, value: str, shown: str, want: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    write(file, value)
    while want not in _read(shown):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{file} did not become {value} within {seconds:g} s")
        time.sleep(0.001)
        write(file, value)


def _tree(path: str) -> list[str]:
    """Return *path* and the directories below it, parents first."""
    found = [path]
    for directory in found:
        try:
            found += [entry.path for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
        except OSError:
            continue  # removed concurrently
    return found


def remove_empty(path: str) -> bool:
    """Remove the group at *path* and its descendants; return False if there are processes in them."""
    if _remove_one(path):
        return True
    return all([_remove_one(directory) for directory in reversed(_tree(path))])


def _remove_one(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as problem:
        if problem.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
        return False
    return True


def _attach_filter(path: str, program: bytes) -> None:
    """Load an eBPF device program and attach it to the version 2 group at *path*."""
    code, license_ = linux.buffer(program), linux.buffer(b"GPL\0")
    load = struct.pack(
        "<IIQQIIQII16s", 15, len(program) // 8, linux.address(code), linux.address(license_), 0, 0, 0, 0, 0, b"device"
    )
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    loaded = -1
    try:
        loaded = linux.bpf(5, load)
        linux.bpf(8, struct.pack("<IIII", directory, loaded, 6, 2))
    finally:
        os.close(directory)
        if loaded >= 0:
            os.close(loaded)
