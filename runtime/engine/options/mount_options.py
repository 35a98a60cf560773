"""Parses the mounts of a create request: ``-v`` strings, ``--mount`` objects and the image's volumes.  Pure.

The caller checks that source paths exist and looks volumes up by name.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from netd.common.errors import BadRequest, NotImplementedYet
from runtime.container_config import BindOptions, Config, HostConfig, Mount

_VOLUME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave")
_IGNORED = ("z", "Z", "consistent", "cached", "delegated", "default", "")
_FORBIDDEN = ("/", "/proc", "/sys", "/dev")
_TMPFS_OPTION = re.compile(
    r"(?:ro|rw|(?:no)?(?:suid|dev|exec|atime|diratime)|strictatime|relatime|async|defaults|mpol=[a-z0-9:=-]+"
    r"|size=\d{1,19}[kmgtKMGT%]?|nr_(?:inodes|blocks)=\d{1,19}[kmgKMG]?|mode=[0-7]{1,4}|[ug]id=\d{1,10}"
    r"|huge=(?:never|always|within_size|advise))\Z",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRequest:
    """One requested mount.  A volume without a source is anonymous."""

    kind: str
    """``bind``, ``volume``, ``tmpfs`` or ``image``."""
    target: str
    source: str = ""
    read_only: bool = False
    mode: str = ""
    propagation: str = ""
    create_source: bool = False
    """Create a missing directory on the host: always for ``-v``, for ``--mount`` only with ``CreateMountpoint``."""
    copy: bool = True
    """Fill an empty volume from the image."""
    labels: tuple[tuple[str, str], ...] = ()
    driver_options: tuple[tuple[str, str], ...] = ()
    """Options of a volume that is created."""
    subpath: str = ""
    """The path that is mounted of a volume or image."""
    recursive: bool = True
    """Mount what is mounted below a bind's source as well."""
    read_only_recursive: bool = True
    options: str = ""
    """Mount options of a tmpfs."""
    shown: bool = True
    """Whether inspect lists the mount: Docker does not list those of ``--tmpfs``."""


def mount_requests(config: Config, host: HostConfig) -> tuple[MountRequest, ...]:
    """Return every requested mount, parents before children.  Raises BadRequest with Docker's messages."""
    requests = [*map(parse_bind, host.binds or ()), *map(_from_mount, host.mounts or ())]
    requests += [_tmpfs(target, options, shown=False) for target, options in (host.tmpfs or {}).items()]
    _check_duplicates(requests)
    targets = {request.target for request in requests}
    requests += [request for request in map(_anonymous, config.volumes or ()) if request.target not in targets]
    return tuple(sorted(requests, key=lambda request: (request.target.count("/"), request.target)))


def parse_bind(text: str) -> MountRequest:
    """Parse ``source:target[:options]``, or ``target`` alone for an anonymous volume."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise BadRequest(f"invalid volume specification: '{text}'")
    if len(parts) == 1:
        return _anonymous(parts[0])
    source, target, mode = parts[0], parts[1], parts[2] if len(parts) == 3 else ""
    kind = "bind" if source.startswith("/") else "volume"
    if kind == "volume" and not _VOLUME.match(source):
        raise BadRequest(
            f'"{source}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are'
            " allowed. If you intended to pass a host directory, use absolute path"
        )
    options = _Options.read(text, kind, mode)
    return MountRequest(
        kind=kind,
        target=_target(target, text, source if kind == "bind" else ""),
        source=posixpath.normpath(source) if kind == "bind" else source,
        read_only=options.read_only,
        mode=mode,
        propagation=options.propagation or ("rprivate" if kind == "bind" else ""),
        create_source=kind == "bind",
        copy=options.copy,
    )


@dataclass(frozen=True, slots=True)
class _Options:
    read_only: bool
    propagation: str
    copy: bool

    @classmethod
    def read(cls, text: str, kind: str, mode: str) -> _Options:
        options = mode.split(",") if mode else []
        access = [option for option in options if option in ("ro", "rw")]
        propagation = [option for option in options if option in _PROPAGATIONS]
        no_copy = [option for option in options if option == "nocopy"]
        known = len(access) + len(propagation) + len(no_copy) + sum(option in _IGNORED for option in options)
        invalid = known != len(options) or max(len(access), len(propagation), len(no_copy)) > 1
        if invalid or (kind == "volume" and propagation) or (kind == "bind" and no_copy):
            raise BadRequest(f"invalid volume specification: '{text}': invalid mode: {mode}")
        return cls("ro" in access, propagation[0] if propagation else "", not no_copy)


def _anonymous(target: str) -> MountRequest:
    return MountRequest(kind="volume", target=_target(target, target))


def _tmpfs(target: str, options: str, *, shown: bool = True) -> MountRequest:
    words = [word for word in options.split(",") if word]
    for word in words:
        if not _TMPFS_OPTION.match(word):
            raise BadRequest(
                f"invalid tmpfs option {word[:80]!r} of {target}: use size, mode, uid, gid, nr_inodes, nr_blocks, huge"
                " or mpol with a value, or a flag such as noexec"
            )
    return MountRequest(
        kind="tmpfs", target=_target(target, target), read_only="ro" in words, options=options, shown=shown
    )


def _from_mount(mount: Mount) -> MountRequest:
    where = f'invalid mount config for type "{mount.type}"'
    if not mount.target:
        raise BadRequest(f"{where}: field Target must not be empty")
    if not mount.target.startswith("/"):
        raise BadRequest(f"{where}: invalid mount path: '{mount.target}' mount path must be absolute")
    parsers = {"bind": _bind_mount, "volume": _volume_mount, "tmpfs": _tmpfs_mount, "image": _image_mount}
    if mount.type in ("cluster", "npipe"):
        raise NotImplementedYet(f"mounts of type {mount.type} are not implemented by netd-runtime")
    if mount.type not in parsers:
        raise BadRequest(f"mount type unknown: {mount.type!r}; use bind, volume, tmpfs or image")
    _check_classes(mount)
    return parsers[mount.type](mount, where)


def _check_classes(mount: Mount) -> None:
    given = {
        "bind": mount.bind_options,
        "volume": mount.volume_options,
        "tmpfs": mount.tmpfs_options,
        "image": mount.image_options,
    }
    for kind, options in given.items():
        if options is not None and kind != mount.type:
            raise BadRequest(f'{kind.capitalize()}Options must not be specified on mount type "{mount.type}"')


def _image_mount(mount: Mount, where: str) -> MountRequest:
    if not mount.source:
        raise BadRequest(f"{where}: field Source must not be empty")
    subpath = mount.image_options.subpath if mount.image_options else ""
    return MountRequest(
        kind="image",
        target=_target(mount.target, mount.target),
        source=mount.source,
        read_only=True,
        propagation="rprivate",
        subpath=_subpath(subpath, where),
    )


def _subpath(path: str, where: str) -> str:
    """Return the path without ``.`` and ``..``; empty for all of the source."""
    clean = posixpath.normpath(path) if path else ""
    if clean.startswith("/") or clean.split("/")[0] == "..":
        raise BadRequest(f"{where}: subpath must be a relative path within the volume")
    return "" if clean == "." else clean


def _bind_mount(mount: Mount, where: str) -> MountRequest:
    if not mount.source:
        raise BadRequest(f"{where}: field Source must not be empty")
    if not mount.source.startswith("/"):
        raise BadRequest(f"{where}: invalid mount path: '{mount.source}' mount path must be absolute")
    options = mount.bind_options
    propagation = options.propagation if options else ""
    if propagation and propagation not in _PROPAGATIONS:
        raise BadRequest(f"{where}: invalid propagation mode: {propagation}")
    _check_recursion(mount, options or BindOptions(), where)
    return MountRequest(
        kind="bind",
        target=_target(mount.target, mount.target, mount.source),
        source=posixpath.normpath(mount.source),
        read_only=mount.read_only,
        propagation=propagation or "rprivate",
        create_source=bool(options and options.create_mountpoint),
        recursive=not (options and options.non_recursive),
        read_only_recursive=not (options and options.read_only_non_recursive),
    )


def _check_recursion(mount: Mount, options: BindOptions, where: str) -> None:
    """Raise BadRequest for options of bind-recursive that contradict others."""
    if options.read_only_force_recursive:
        if not mount.read_only:
            raise BadRequest(f"{where}: ReadOnlyForceRecursive must not be set without ReadOnly")
        if options.propagation not in ("", "rprivate"):
            raise BadRequest(f"{where}: ReadOnlyForceRecursive needs the propagation rprivate")
        if options.non_recursive or options.read_only_non_recursive:
            raise BadRequest(f"{where}: ReadOnlyForceRecursive conflicts with a mount that is not recursive")
    if options.read_only_non_recursive and not mount.read_only:
        raise BadRequest(f"{where}: ReadOnlyNonRecursive must not be set without ReadOnly")


def _volume_mount(mount: Mount, where: str) -> MountRequest:
    options = mount.volume_options
    if mount.source and not _VOLUME.match(mount.source):
        raise BadRequest(f"{where}: invalid volume name: {mount.source!r}")
    subpath = _subpath(options.subpath, where) if options else ""
    if options and options.subpath and not mount.source:
        raise BadRequest(f"{where}: must not set Subpath when using anonymous volumes")
    driver = options.driver_config if options else None
    if driver and driver.name not in ("", "local"):
        raise BadRequest(f"{where}: the volume driver {driver.name} is not supported: use local")
    return MountRequest(
        kind="volume",
        target=_target(mount.target, mount.target),
        source=mount.source,
        read_only=mount.read_only,
        mode="z",
        copy=not (options and options.no_copy),
        labels=tuple((options.labels or {}).items()) if options else (),
        driver_options=tuple((driver.options or {}).items()) if driver else (),
        subpath=subpath,
    )


def _tmpfs_mount(mount: Mount, where: str) -> MountRequest:
    if mount.source:
        raise BadRequest(f"{where}: field Source must not be specified")
    tmpfs = mount.tmpfs_options
    words = ["ro"] if mount.read_only else []
    if tmpfs and tmpfs.size_bytes:
        words.append(f"size={tmpfs.size_bytes}")
    if tmpfs and tmpfs.mode:
        words.append(f"mode={tmpfs.mode:o}")
    for option in (tmpfs.options if tmpfs else None) or ():
        words.append("=".join(option))
    return _tmpfs(mount.target, ",".join(words))


def _target(target: str, text: str, source: str = "") -> str:
    """Return the target without ``.`` and ``..``; *source* is that of a bind, which may be /proc for /proc."""
    if not target.startswith("/"):
        raise BadRequest(
            f"invalid volume specification: '{text}': invalid mount path: '{target}' mount path must be absolute"
        )
    clean = "/" + posixpath.normpath(target).lstrip("/")
    if clean == "/":
        raise BadRequest(f"invalid volume specification: '{text}': destination can't be '/'")
    if clean.startswith("/proc/") or (clean in _FORBIDDEN and posixpath.normpath(source or "/") != clean):
        raise BadRequest(
            f"invalid volume specification: '{text}': {clean} is set up by the runtime and cannot be a mount target"
        )
    return clean


def _check_duplicates(requests: Iterable[MountRequest]) -> None:
    seen: set[str] = set()
    for request in requests:
        if request.target in seen:
            raise BadRequest(f"Duplicate mount point: {request.target}")
        seen.add(request.target)
