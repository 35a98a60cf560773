"""Labels and names of what compose creates: those of Docker's compose, so that each finds what the other made.

Pure.
"""

from __future__ import annotations

from netd.compose.model import ComposeProject, ComposeService

_PREFIX = "com.docker.compose."
PROJECT = f"{_PREFIX}project"
SERVICE = f"{_PREFIX}service"
NUMBER = f"{_PREFIX}container-number"
ONE_OFF = f"{_PREFIX}oneoff"
CONFIG_HASH = f"{_PREFIX}config-hash"
DEPENDS_ON = f"{_PREFIX}depends_on"
IMAGE = f"{_PREFIX}image"
VERSION = f"{_PREFIX}version"
SLUG = f"{_PREFIX}slug"
REPLACE = f"{_PREFIX}replace"
WORKING_DIR = f"{_PREFIX}project.working_dir"
CONFIG_FILES = f"{_PREFIX}project.config_files"
NETWORK = f"{_PREFIX}network"
VOLUME = f"{_PREFIX}volume"

COMPOSE_VERSION = "2.40.3"
"""The version of Docker's compose whose labels and hashes these are."""


def separator(*, compatibility: bool) -> str:
    """Return the character between the parts of a container's name; version 1 of compose used ``_``."""
    return "_" if compatibility else "-"


def container_name(project: str, key: str, service: ComposeService, number: int, between: str = "-") -> str:
    return service.container_name or between.join((project, key, str(number)))


def image_name(project: str, key: str, service: ComposeService, between: str = "-") -> str:
    """Return the image of a service; one that is built and has no name is named after project and service."""
    return service.image or f"{project}{between}{key}"


def dependencies_label(service: ComposeService) -> str:
    """Return ``NAME:CONDITION:RESTART`` of each dependency, by name."""
    return ",".join(
        f"{key}:{wanted.condition}:{str(wanted.restart).lower()}" for key, wanted in sorted(service.depends_on.items())
    )


def dependencies_of_label(text: str) -> dict[str, tuple[str, bool]]:
    """Return condition and restart of each dependency in the label; words that are none are ignored."""
    found = {}
    for word in text.split(","):
        name, _, rest = word.partition(":")
        condition, _, restart = rest.partition(":")
        if name:
            found[name] = (condition or "service_started", restart == "true")
    return found


def project_label(project: ComposeProject) -> dict[str, str]:
    return {PROJECT: project.name, VERSION: COMPOSE_VERSION}
