"""Mounts of a container's create request: volumes, bind mounts, tmpfs, and files of secrets and configs.  Pure.

Docker's compose uses ``Binds`` for what that old form can express, because only it creates missing folders of the host.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netd.compose.create.engine_units import number_of_bytes
from netd.compose.model import (
    BindSettings,
    ComposeProject,
    ComposeService,
    FileReference,
    Json,
    ProjectFile,
    ServiceVolume,
    VolumeSettings,
)

SECRETS_FOLDER = "/run/secrets/"
_RECURSIVE = {"disabled": "NonRecursive", "writable": "ReadOnlyNonRecursive", "readonly": "ReadOnlyForceRecursive"}


def mounts(
    project: ComposeProject, service: ComposeService, inherited: Iterable[Json] = (), image_volumes: Iterable[str] = ()
) -> tuple[list[str], list[Json]]:
    """Return ``Binds`` and ``Mounts``.

    *inherited* are the mounts of the container that is replaced (``Mounts`` of the list of containers): its anonymous
    volumes, those of *image_volumes* included, are mounted again.  Raises ValueError for what cannot be mounted.
    """
    kept = _anonymous(service, inherited, frozenset(image_volumes))
    binds: list[str] = []
    found: dict[str, Json] = dict(kept)
    for volume in service.volumes:
        if volume.target in kept:
            continue
        if bind := _bind(project, volume):
            binds.append(bind)
        else:
            found[volume.target] = _mount(project, volume)
    taken = {volume.target for volume in service.volumes}
    for target, mount in _files(project, service):
        if target not in taken and target not in found:
            found[target] = mount
    return binds, list(found.values())


def file_target(reference: FileReference, folder: str) -> str:
    """Return the path of a secret or config in the container."""
    target = reference.target or reference.source
    return target if target.startswith("/") else f"{folder}{target}"


def check_file(kind: str, key: str, wanted: ProjectFile | None) -> ProjectFile:
    """Return the secret or config of a service.  Raises ValueError for those that only a cluster has."""
    if wanted is None:
        raise ValueError(f"{kind} {key} is not defined: add it to {kind}s of the compose file")
    if wanted.external:
        raise ValueError(f"unsupported external {kind} {wanted.name}: use file, environment or content instead")
    for field in ("driver", "template_driver"):
        if getattr(wanted, field):
            raise ValueError(f"{kind}s.{key}.{field} is not supported: use file, environment or content instead")
    return wanted


def _files(project: ComposeProject, service: ComposeService) -> Iterable[tuple[str, Json]]:
    for kind, references, known, folder in (
        ("secret", service.secrets, project.secrets, SECRETS_FOLDER),
        ("config", service.configs, project.configs, "/"),
    ):
        for reference in references:
            wanted = check_file(kind, reference.source, known.get(reference.source))
            if wanted.file:
                target = file_target(reference, folder)
                fields = {"Type": "bind", "Source": wanted.file, "Target": target, "ReadOnly": True}
                yield target, fields | ({"BindOptions": {}} if kind == "secret" else {})


def _anonymous(service: ComposeService, inherited: Iterable[Json], image_volumes: frozenset[str]) -> dict[str, Json]:
    unnamed = {volume.target for volume in service.volumes if not volume.source and volume.type == "volume"}
    named = {volume.target for volume in service.volumes} - unnamed
    return {
        mount["Destination"]: {
            "Type": mount["Type"],
            "Source": mount["Name"] if mount["Type"] == "volume" else mount["Source"],
            "Target": mount["Destination"],
            "ReadOnly": not mount.get("RW", True),
        }
        for mount in inherited
        if mount.get("Type") != "tmpfs"
        and (mount["Destination"] in unnamed or mount["Destination"] in image_volumes - named)
    }


def _bind(project: ComposeProject, volume: ServiceVolume) -> str:
    """Return the mount as a word of ``Binds``, or "" if it has options that only ``Mounts`` can express."""
    if volume.type == "bind" and not _needs_mount(volume.bind):
        label = f",{volume.bind.selinux}" if volume.bind is not None and volume.bind.selinux else ""
        return f"{volume.source}:{volume.target}:{_access(volume)}{label}"
    if volume.type == "volume" and volume.source and volume.volume in (None, VolumeSettings()):
        return f"{_volume_name(project, volume.source)}:{volume.target}:{_access(volume)}"
    return ""


def _needs_mount(bind: BindSettings | None) -> bool:
    return bind is not None and bool(not bind.create_host_path or bind.propagation or bind.recursive)


def _access(volume: ServiceVolume) -> str:
    return "ro" if volume.read_only else "rw"


def _volume_name(project: ComposeProject, key: str) -> str:
    return project.volumes[key].name if key in project.volumes else key


def _mount(project: ComposeProject, volume: ServiceVolume) -> Json:
    if volume.type not in _OPTIONS:
        raise ValueError(f"mounts of the type {volume.type} are not supported: use {', '.join(sorted(_OPTIONS))}")
    source = _volume_name(project, volume.source) if volume.type == "volume" else volume.source
    options = _OPTIONS[volume.type](volume)
    fields = {"Source": source, "ReadOnly": volume.read_only, "Consistency": volume.consistency}
    return {"Type": volume.type, "Target": volume.target, **_given(fields), **options}


def _bind_options(volume: ServiceVolume) -> Json:
    if volume.bind is None:
        return {}
    fields = {"Propagation": volume.bind.propagation, "CreateMountpoint": volume.bind.create_host_path}
    if volume.bind.recursive in _RECURSIVE:
        fields[_RECURSIVE[volume.bind.recursive]] = True
    return {"BindOptions": _given(fields)}


def _volume_options(volume: ServiceVolume) -> Json:
    if volume.volume is None:
        return {}
    fields = {"NoCopy": volume.volume.nocopy, "Subpath": volume.volume.subpath, "Labels": volume.volume.labels}
    return {"VolumeOptions": _given(fields)}


def _tmpfs_options(volume: ServiceVolume) -> Json:
    if volume.tmpfs is None:
        return {}
    return {"TmpfsOptions": _given({"SizeBytes": number_of_bytes(volume.tmpfs.size), "Mode": volume.tmpfs.mode})}


def _image_options(volume: ServiceVolume) -> Json:
    return {"ImageOptions": {"Subpath": volume.image.subpath}} if volume.image and volume.image.subpath else {}


_OPTIONS = {"bind": _bind_options, "volume": _volume_options, "tmpfs": _tmpfs_options, "image": _image_options}


def _given(fields: Mapping[str, object]) -> Json:
    return {name: value for name, value in fields.items() if value}
