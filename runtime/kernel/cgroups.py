"""Control groups of versions 1 and 2, and of both side by side: chosen by looking at what is mounted.

Owns the only access to the control group file systems.  A container's :class:`Group` has the same path below every
hierarchy in use.  Small: every shim carries it.
"""

from __future__ import annotations

import errno
import os
import struct
import time

from runtime.kernel import devices, limits, linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from runtime.spec import Limits

_USEFUL = frozenset({"cpu", "memory", "pids", "cpuset"})
_FREEZE_SECONDS = 10.0
_USUAL = "/sys/fs/cgroup"


class Hierarchy:
    """One mounted tree: its place, its version, and the controllers to be found in it."""

    __slots__ = ("controllers", "path", "version")

    def __init__(self, path: str, version: int, controllers: frozenset[str]) -> None:
        self.path = path
        self.version = version
        self.controllers = controllers


def find(mountinfo: str = "/proc/self/mountinfo") -> tuple[Hierarchy, ...]:
    """Return the hierarchies to use.

    A version 2 tree counts when it has controllers of use, or when there is no version 1 freezer.  Those elsewhere than
    in /sys/fs/cgroup, as a chroot has them, count only when there are none in it.
    """
    mounts = list(_mounts(mountinfo))
    usual = [one for one in mounts if one[0] == _USUAL or one[0].startswith(f"{_USUAL}/")]
    first: dict[frozenset[str], Hierarchy] = {}
    second: Hierarchy | None = None
    for place, kind, options in usual or mounts:
        if kind == "cgroup":
            names = frozenset(o for o in options.split(",") if o not in ("rw", "ro", "xattr", "clone_children"))
            first.setdefault(names, Hierarchy(place, 1, names))
        elif second is None:
            second = Hierarchy(place, 2, frozenset(_read(f"{place}/cgroup.controllers").split()))
    found = list(first.values())
    if second and (second.controllers & _USEFUL or not any("freezer" in h.controllers for h in found)):
        found.append(second)
    if not found:
        raise OSError(errno.ENOENT, "no control groups are mounted; mount cgroup2 on /sys/fs/cgroup")
    return tuple(found)


def _mounts(mountinfo: str) -> Iterator[tuple[str, str, str]]:
    """Yield place, kind and options of every control group mount."""
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
        """Return the group's directory for *controller*; None where the kernel does not offer it."""
        for hierarchy in self.hierarchies:
            if controller in hierarchy.controllers:
                return f"{hierarchy.path}/{self.name}"
        return None

    def path_v2(self) -> str | None:
        return next((f"{h.path}/{self.name}" for h in self.hierarchies if h.version == 2), None)

    def exists(self) -> bool:
        return any(os.path.isdir(path) for path in self.paths())

    def create(self, versions: tuple[int, ...] = (1, 2)) -> None:
        """Make the directories, ready to be joined.  Raises FileExistsError when one is there."""
        for hierarchy in self.hierarchies:
            if hierarchy.version in versions:
                _make(hierarchy, self.name)

    def rename(self, name: str) -> None:
        """Give the version 1 directories another last name; version 2 knows no renaming."""
        for hierarchy in self.hierarchies:
            if hierarchy.version == 1:
                os.rename(f"{hierarchy.path}/{self.name}", f"{hierarchy.path}/{name}")
        self.name = name

    def join(self) -> None:
        """Put the calling process, which must have a single thread, into the version 1 directories.

        By ``tasks``: for a single thread that moves itself the kernel needs no grace period, which through
        ``cgroup.procs`` takes 10 to 30 ms.  Version 2 has no such way; there a process is born where it belongs.
        """
        for hierarchy in self.hierarchies:
            if hierarchy.version == 1:
                write(f"{hierarchy.path}/{self.name}/tasks", "0")

    def open_version2(self) -> int:
        """Return a descriptor of the version 2 directory, to be born in; -1 where there is none.

        A detached read-only mount: the process that is born has it for a moment, in which the container could open it
        and would find the host's tree above the directory.
        """
        path = self.path_v2()
        if path is None:
            return -1
        tree = linux.open_tree(linux.AT_FDCWD, path, recursive=False)
        linux.mount_setattr(tree, add=linux.ATTR_RDONLY)
        return tree

    def limit(self, wanted: Limits) -> None:
        """Set the limits.  Raises OSError naming the file that the kernel refused, or the controller that it lacks."""
        for controller, _file, _value in limits.version1(wanted):
            if self.path(controller) is None:
                raise OSError(errno.ENOTSUP, f"the kernel has no {controller} controller to limit containers with")
        for hierarchy in self.hierarchies:
            choose = limits.version1 if hierarchy.version == 1 else limits.version2
            mine = [w for w in choose(wanted) if w[0] in hierarchy.controllers]
            _write_all(f"{hierarchy.path}/{self.name}", mine)

    def allow_devices(self, rules: Sequence[str]) -> None:
        """Let the group open what *rules* say and nothing else."""
        path = self.path("devices")
        if path is not None:
            write(f"{path}/devices.deny", "a")
            self.allow_more_devices(rules)
        elif (path := self.path_v2()) is not None and "a *:* rwm" not in rules:
            _attach_filter(path, devices.filter_program(rules))

    def allow_more_devices(self, rules: Iterable[str]) -> None:
        """Widen version 1 rules that are set already."""
        path = self.path("devices")
        for rule in rules if path else ():
            write(f"{path}/devices.allow", "a" if rule.startswith("a *:*") else rule)

    def pids(self) -> list[int]:
        """Return the processes of the group and of the groups inside it."""
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
        """Stop every process; returns when they stand.  On failure they go on, and TimeoutError is raised."""
        try:
            self._set_frozen(True)
        except TimeoutError:
            self._set_frozen(False)
            raise

    def thaw(self) -> None:
        self._set_frozen(False)

    def kill(self, seconds: float = 10.0) -> None:
        """Kill every process, also those that are being born, and frozen ones; returns when the group is empty."""
        deadline = time.monotonic() + seconds
        while self.exists() and (pids := self.pids()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"control group {self.name} still has processes {pids[:5]} after {seconds:g} s")
            try:
                self._kill_once(pids)
            except OSError as problem:
                if problem.errno not in (errno.ENOENT, errno.ENODEV):
                    raise  # else all have ended meanwhile, and their shim has removed the group
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
            pass  # what cannot be frozen can still be killed
        for pid in pids:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue
        self._set_frozen(False)

    def oom_kills(self) -> int:
        """Return how many processes of the group the kernel has killed for want of memory."""
        path = self.path("memory")
        for name in ("memory.events", "memory.oom_control"):
            try:
                lines = _read(f"{path}/{name}").splitlines()
            except OSError:
                continue
            return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
        return 0

    def remove(self, seconds: float = 1.0) -> None:
        """Remove the directories.  Raises OSError when processes are still inside after *seconds*."""
        deadline = time.monotonic() + seconds
        for path in self.paths():
            while not remove_empty(path):
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, f"control group {path} is still in use")
                time.sleep(0.005)

    def remove_parent(self) -> None:
        """Remove the directories above this group that hold nothing any more."""
        parent = os.path.dirname(self.name)
        while parent:
            for hierarchy in self.hierarchies:
                try:
                    os.rmdir(f"{hierarchy.path}/{parent}")
                except OSError:
                    continue  # in use, or gone
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


def write(path: str, text: str) -> None:
    """Write *text* in one call.  Raises OSError that names *path*."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    except OSError as problem:
        raise OSError(problem.errno, f"{path} does not take {text!r}: {problem.strerror}") from None
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
    """Let the groups below *path* have the controllers of a version 2 tree."""
    if hierarchy.version == 1:
        return
    have = _read(f"{path}/cgroup.subtree_control").split()
    for controller in hierarchy.controllers.difference(have):
        try:
            write(f"{path}/cgroup.subtree_control", f"+{controller}")
        except OSError:
            continue  # a limit that needs it will say so


def _fill_cpuset(hierarchy: Hierarchy, path: str) -> None:
    """Give a version 1 cpuset what its parent has: an empty one cannot be joined."""
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
                continue  # a kernel that does not count swap
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
            continue  # removed meanwhile
    return found


def remove_empty(path: str) -> bool:
    """Remove the group at *path* with those inside it; return False when there are processes."""
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
