"""``--change``: Dockerfile instructions applied to an image that is imported or committed.  Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable

import msgspec

from netd.common.errors import BadRequest
from runtime.container_config import Empty, Healthcheck
from runtime.images.image_config import ImageConfig

_PORT = re.compile(r"(\d{1,5})(?:/(tcp|udp|sctp))?\Z", re.ASCII)

_TIMES = ("interval", "timeout", "start-period", "start-interval")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ns|us|ms|s|m|h)", re.ASCII)
_NANOSECONDS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def apply(changes: Iterable[str], config: ImageConfig | None = None) -> ImageConfig:
    """Return *config* after all instructions.  Raises BadRequest for the first invalid one."""
    config = config or ImageConfig()
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        if not word:
            continue
        handler = _HANDLERS.get(word.upper())
        if handler is None or not rest.strip():
            known = ", ".join(sorted(_HANDLERS))
            raise BadRequest(f"{word[:40]} is not a valid change command: use one of {known}, with a value")
        config = handler(config, rest.strip())
    return config


def _command(text: str) -> list[str]:
    """Parse ``["a", "b"]``, or a command line for /bin/sh."""
    if text.startswith("["):
        try:
            return msgspec.json.decode(text, type=list[str])
        except msgspec.DecodeError:
            raise BadRequest(f"{text} is not a JSON list of words") from None
    return ["/bin/sh", "-c", text]


def _pairs(text: str) -> dict[str, str]:
    """Parse ``A=1 B="two words"`` or the old form ``A value``."""
    try:
        words = shlex.split(text)
    except ValueError:
        raise BadRequest(f"{text!r} has a quotation mark that is not closed") from None
    if words and "=" not in words[0]:
        name, _, value = text.partition(" ")
        return {name: value.strip()}
    if any("=" not in word or word.startswith("=") for word in words):
        raise BadRequest(f"{text!r} must be NAME=VALUE pairs")
    return dict(word.split("=", 1) for word in words)


def _env(config: ImageConfig, text: str) -> ImageConfig:
    kept = dict(entry.split("=", 1) for entry in config.env or ())
    return _with(config, env=[f"{name}={value}" for name, value in (kept | _pairs(text)).items()])


def _labels(config: ImageConfig, text: str) -> ImageConfig:
    return _with(config, labels={**(config.labels or {}), **_pairs(text)})


def _expose(config: ImageConfig, text: str) -> ImageConfig:
    ports: dict[str, Empty | None] = dict(config.exposed_ports or {})
    for word in text.split():
        found = _PORT.match(word)
        if not found or not 0 < int(found[1]) <= 65535:
            raise BadRequest(f"EXPOSE {word}: use a port number, or number/protocol such as 80/tcp")
        ports[f"{found[1]}/{found[2] or 'tcp'}"] = Empty()
    return _with(config, exposed_ports=ports)


def _volumes(config: ImageConfig, text: str) -> ImageConfig:
    paths = _listed(text)
    if any(not path.startswith("/") for path in paths):
        raise BadRequest(f"VOLUME {text}: name absolute paths")
    return _with(config, volumes={**(config.volumes or {}), **{path: Empty() for path in paths}})


def _on_build(config: ImageConfig, text: str) -> ImageConfig:
    if text.split()[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise BadRequest(f"ONBUILD {text}: chaining ONBUILD, FROM and MAINTAINER is not allowed")
    return _with(config, on_build=[*(config.on_build or ()), text])


def _healthcheck(config: ImageConfig, text: str) -> ImageConfig:
    """Apply ``NONE``, or ``[--interval=30s …] CMD command``."""
    times: dict[str, int] = {}
    rest = text
    while rest.startswith("--"):
        flag, _, rest = rest.partition(" ")
        name, _, value = flag.removeprefix("--").partition("=")
        rest = rest.strip()
        if name == "retries" and value.isascii() and value.isdigit():
            times["retries"] = int(value)
        elif name in _TIMES and (found := _DURATION.fullmatch(value)):
            times[name.replace("-", "_")] = int(float(found[1]) * _NANOSECONDS[found[2]])
        else:
            raise BadRequest(
                f"HEALTHCHECK {flag}: use --interval, --timeout, --start-period or --start-interval with a"
                " time such as 30s, or --retries with a number"
            )
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE" and not command:
        return _with(config, healthcheck=Healthcheck(test=["NONE"]))
    if kind.upper() != "CMD" or not command.strip():
        raise BadRequest(f"HEALTHCHECK {text}: use NONE, or CMD with a command")
    words = command.strip()
    test = ["CMD", *_command(words)] if words.startswith("[") else ["CMD-SHELL", words]
    return _with(config, healthcheck=Healthcheck(test=test, **times))


def _listed(text: str) -> list[str]:
    if not text.startswith("["):
        return text.split()
    try:
        return list(map(str, msgspec.json.decode(text)))
    except (msgspec.DecodeError, ValueError, TypeError):
        raise BadRequest(f"{text} is not a JSON list of words") from None


def _workdir(config: ImageConfig, text: str) -> ImageConfig:
    if not text.startswith("/"):
        raise BadRequest(f"WORKDIR {text}: name an absolute path")
    return _with(config, working_dir=text)


def _with(config: ImageConfig, **values: object) -> ImageConfig:
    return msgspec.structs.replace(config, **values)


_HANDLERS: dict[str, Callable[[ImageConfig, str], ImageConfig]] = {
    "CMD": lambda config, text: _with(config, cmd=_command(text)),
    "ENTRYPOINT": lambda config, text: _with(config, entrypoint=_command(text)),
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _labels,
    "ONBUILD": _on_build,
    "STOPSIGNAL": lambda config, text: _with(config, stop_signal=text),
    "USER": lambda config, text: _with(config, user=text),
    "VOLUME": _volumes,
    "WORKDIR": _workdir,
}
