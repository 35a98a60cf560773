"""Secrets and configs with content of the compose file or the environment, written into containers before the start."""

from __future__ import annotations

from netd.cli.errors import Fault
from netd.compose.create.container_mounts import SECRETS_FOLDER, check_file, file_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from netd.cli.transport.http import Client
    from netd.compose.model import ComposeProject, ComposeService, FileReference, ProjectFile

_MODE = 0o444


def inject(
    engine: Client, container: str, project: ComposeProject, service: ComposeService, environment: Mapping[str, str]
) -> None:
    """Write the files into a created container.  Raises Fault, also for a variable that is not set."""
    members = b"".join(_members(project, service, environment))
    if not members:
        return
    if service.read_only:
        raise Fault("secrets and configs without file cannot be written into a read-only container: use file")
    from netd.cli.files import pack

    query = (("path", "/"), ("noOverwriteDirNonDir", "true"))
    engine.upload(f"/containers/{container}/archive", query, (members, pack.end()), method="PUT").read()


def _members(project: ComposeProject, service: ComposeService, environment: Mapping[str, str]) -> Iterator[bytes]:
    for kind, references, known, folder in (
        ("secret", service.secrets, project.secrets, SECRETS_FOLDER),
        ("config", service.configs, project.configs, "/"),
    ):
        for reference in references:
            try:
                wanted = check_file(kind, reference.source, known.get(reference.source))
            except ValueError as error:
                raise Fault(str(error)) from None
            if not wanted.file:
                yield _member(reference, file_target(reference, folder), _content(kind, wanted, environment))


def _content(kind: str, wanted: ProjectFile, environment: Mapping[str, str]) -> bytes:
    if wanted.content:
        return wanted.content.encode()
    if not wanted.environment:
        return b""
    if wanted.environment not in environment:
        raise Fault(f'environment variable "{wanted.environment}" required by {kind} "{wanted.name}" is not set')
    return environment[wanted.environment].encode("utf-8", "surrogateescape")


def _member(reference: FileReference, target: str, content: bytes) -> bytes:
    import tarfile

    info = tarfile.TarInfo(target.lstrip("/"))
    info.size, info.mode = len(content), _number(reference, "mode", reference.mode, 8, _MODE)
    info.uid = _number(reference, "uid", reference.uid, 10, 0)
    info.gid = _number(reference, "gid", reference.gid, 10, 0)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)


def _number(reference: FileReference, field: str, text: str | None, base: int, absent: int) -> int:
    if not text:
        return absent
    if not (text.isascii() and text.isdigit() and len(text) < 11):
        raise Fault(f'{field} "{text}" of "{reference.source}" is not a number: correct it in the compose file')
    return int(text, base)
