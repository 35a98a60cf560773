"""The body of ``POST /containers/create`` from the flags of ``run`` and ``create``.

Checks only the syntax of the flags and leaves the rest to the daemon.  Reads the files and environment variables that
the flags name.
"""

from __future__ import annotations

import os

from netd.cli.errors import Fault, UsageFault
from netd.cli.parse.common_flags import check_content_trust, labels, pairs
from netd.cli.parse.health_flags import healthcheck
from netd.cli.parse.mount_flags import mount, tmpfs, volume
from netd.cli.parse.network_flags import networking
from netd.cli.parse.port_flags import bindings, expose, publish
from netd.cli.parse.resource_flags import convert_each, limits, other_limits, restart_policy
from netd.cli.parse.units import memory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from netd.cli.parse.flags import Options

    T = TypeVar("T")

    Json = dict[str, Any]


def create_body(options: Options, *, attached: bool, size: list[int] | None) -> Json:
    """Return the request body; *attached* is False with ``-d``; *size* is rows and columns of the terminal, if any.

    Raises Fault for a file that cannot be read.
    """
    _refuse(options)
    mode, endpoints = networking(options)
    body = _config(options, attached)
    body["HostConfig"] = {
        **_storage(options),
        **limits(options),
        **other_limits(options),
        **_security(options),
        **_lifecycle(options),
        **_name_resolution(options),
        "NetworkMode": mode,
        "ConsoleSize": size or [0, 0],
    }
    _ports(options, body)
    body["NetworkingConfig"] = {"EndpointsConfig": endpoints}
    return body


def environment(options: Options) -> list[str]:
    """Return ``NAME=value`` for the variables of the files, then of the flags; ``NAME`` alone removes the variable."""
    variables: list[str] = []
    for path in options.many("env-file"):
        variables += [variable for line in _lines(path) if (variable := _env_line(line, path))]
    return variables + [_variable(options, word) for word in options.many("env")]


def attached_streams(options: Options, attached: bool = True) -> set[str]:
    """Return the streams to attach: those of ``--attach``, else both outputs, and the input with ``--interactive``."""
    given = {word.lower() for word in options.many("attach")}
    if unknown := given - {"stdin", "stdout", "stderr"}:
        raise options.refuse("attach", unknown.pop(), "valid streams are STDIN, STDOUT and STDERR")
    if given:
        return given
    return {"stdout", "stderr", *(["stdin"] if options.on("interactive") else [])} if attached else set()


def _refuse(options: Options) -> None:
    """Raise Fault for flags of docker that cannot be honoured, with the remedy."""
    check_content_trust(options)
    if options.given("kernel-memory"):
        raise Fault("--kernel-memory is refused: kernels no longer have this limit; use --memory", 125)
    if options.on("use-api-socket"):
        raise Fault(
            "--use-api-socket is refused: mount the socket with -v /run/netd/docker.sock:/var/run/docker.sock, which"
            " gives the container control of the host",
            125,
        )


def _lines(path: str) -> list[str]:
    """Return the lines of a text file.  Raises Fault, with docker's exit code, if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except OSError as error:
        raise Fault(f"{path}: {error.strerror}", 125) from None
    except UnicodeDecodeError:
        raise Fault(f"{path} is not text in UTF-8", 125) from None


def _config(options: Options, attached: bool) -> Json:
    interactive = options.on("interactive")
    streams = attached_streams(options, attached)
    body: Json = {
        "Image": options.args[0],
        "Cmd": options.args[1:] or None,
        "Hostname": options.text("hostname"),
        "Domainname": options.text("domainname"),
        "User": options.text("user"),
        "WorkingDir": options.text("workdir"),
        "Env": environment(options),
        "Labels": {**_file_labels(options), **labels(options)},
        "Tty": options.on("tty"),
        "OpenStdin": interactive,
        "StdinOnce": interactive and attached,
        "AttachStdin": "stdin" in streams,
        "AttachStdout": "stdout" in streams,
        "AttachStderr": "stderr" in streams,
    }
    if check := healthcheck(options):
        body["Healthcheck"] = check
    if options.given("entrypoint"):
        body["Entrypoint"] = [options.text("entrypoint")]
    if options.given("stop-signal"):
        body["StopSignal"] = options.text("stop-signal")
    if options.given("stop-timeout"):
        body["StopTimeout"] = options.number("stop-timeout")
    return body


def _storage(options: Options) -> Json:
    cwd = os.getcwd()
    binds = convert_each(options, "volume", lambda word: volume(word, cwd))
    return {
        "Binds": [text for text, has_source in binds if has_source],
        "Mounts": convert_each(options, "mount", lambda word: mount(word, cwd)),
        "Tmpfs": dict(convert_each(options, "tmpfs", tmpfs)),
        "VolumesFrom": options.many("volumes-from"),
        "ReadonlyRootfs": options.on("read-only"),
        "Devices": convert_each(options, "device", _device),
        "ShmSize": options.converted("shm-size", memory),
        "VolumeDriver": options.text("volume-driver"),
        "DeviceRequests": _gpus(options),
    }


def _gpus(options: Options) -> list[Json]:
    if not options.given("gpus"):
        return []
    from netd.cli.parse.device_flags import gpus

    return convert_each(options, "gpus", gpus)


def _security(options: Options) -> Json:
    return {
        "Privileged": options.on("privileged"),
        "CapAdd": options.many("cap-add"),
        "CapDrop": options.many("cap-drop"),
        **_security_options(options),
        "GroupAdd": options.many("group-add"),
        "Isolation": options.text("isolation"),
        "PidMode": options.text("pid"),
        "IpcMode": options.text("ipc"),
        "UTSMode": options.text("uts"),
        "UsernsMode": options.text("userns"),
        "CgroupnsMode": options.text("cgroupns"),
        "Runtime": options.text("runtime"),
    }


def _lifecycle(options: Options) -> Json:
    if options.on("rm") and options.text("restart", "no") != "no":
        raise UsageFault("conflicting options: cannot specify both --restart and --rm")
    fields: Json = {
        "AutoRemove": options.on("rm"),
        "RestartPolicy": restart_policy(options),
        "Annotations": dict(convert_each(options, "annotation", _annotation)),
        "LogConfig": {"Type": options.text("log-driver"), "Config": pairs(options.many("log-opt"))},
    }
    if options.given("init"):
        fields["Init"] = options.on("init")
    return fields


def _name_resolution(options: Options) -> Json:
    return {
        "Dns": options.many("dns"),
        "DnsSearch": options.many("dns-search"),
        "DnsOptions": options.many("dns-option"),
        "ExtraHosts": convert_each(options, "add-host", _extra_host),
        "Links": options.many("link"),
        "PublishAllPorts": options.on("publish-all"),
    }


def _ports(options: Options, body: Json) -> None:
    allow = options.many("allow")
    published = bindings(
        pair for found in convert_each(options, "publish", lambda word: publish(word, allow)) for pair in found
    )
    exposed = [port for ports in convert_each(options, "expose", expose) for port in ports]
    body["ExposedPorts"] = {port: {} for port in (*exposed, *published)}
    body["HostConfig"]["PortBindings"] = published
    targets = [text for text, source in convert_each(options, "volume", lambda word: volume(word, "/")) if not source]
    body["Volumes"] = {target: {} for target in targets}


def _device(word: str) -> Json:
    source, _, rest = word.partition(":")
    target, _, access = rest.partition(":")
    if target and not target.strip("rwm"):
        target, access = source, target
    if access.strip("rwm") or not source.startswith("/"):
        raise ValueError("use SOURCE[:TARGET[:rwm]]")
    return {"PathOnHost": source, "PathInContainer": target or source, "CgroupPermissions": access or "rwm"}


def _security_options(options: Options) -> Json:
    """Return the options; ``systempaths=unconfined`` is not one of the daemon's, but empty lists of paths."""
    words = convert_each(options, "security-opt", _security_option)
    kept = [word for word in words if word not in ("systempaths=unconfined", "systempaths:unconfined")]
    shown: Json = {"MaskedPaths": [], "ReadonlyPaths": []} if len(kept) < len(words) else {}
    return {"SecurityOpt": kept, **shown}


def _security_option(word: str) -> str:
    """Replace the path of a seccomp profile by the file's content, because the daemon may not have access to it."""
    for equals in ("seccomp=", "seccomp:"):
        if word.startswith(equals) and word.removeprefix(equals) not in ("unconfined", "builtin"):
            return f"seccomp={''.join(_lines(word.removeprefix(equals)))}"
    return word


def _extra_host(word: str) -> str:
    name, mark, address = word.partition("=") if "=" in word else word.partition(":")
    if not name or not mark or not address:
        raise ValueError(f'bad format for add-host: "{word}"')
    return f"{name}:{address.removeprefix('[').removesuffix(']')}"


def _annotation(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not key or not equals:
        raise ValueError("use KEY=VALUE")
    return key, value


def _file_labels(options: Options) -> dict[str, str]:
    """Return the labels of the files of ``--label-file``: one in a line; empty lines and comments are skipped."""
    found: list[str] = []
    for path in options.many("label-file"):
        texts = [line.lstrip("\ufeff").strip("\r\n").lstrip() for line in _lines(path)]
        for text in texts:
            name = text.partition("=")[0]
            if text and not text.startswith("#"):
                if not name or any(c.isspace() for c in name):
                    raise Fault(f"{path}: '{name}' is not a valid name of a label", 125)
                found.append(text)
    return pairs(found)


def _env_line(line: str, path: str) -> str:
    text = line.lstrip("\ufeff").strip("\r\n").lstrip()
    if not text or text.startswith("#"):
        return ""
    name, equals, _ = text.partition("=")
    if not name or any(c.isspace() for c in name):
        raise Fault(f"{path}: '{name}' is not a valid variable name", 125)
    return text if equals else _inherited(name, "")


def _variable(options: Options, word: str) -> str:
    name, equals, _ = word.partition("=")
    if not name:
        raise options.refuse("env", word, "the variable has no name")
    return word if equals else _inherited(name, name)


def _inherited(name: str, absent: str) -> str:
    return f"{name}={os.environ[name]}" if name in os.environ else absent
