"""The script: each topic is a function that sends calls through a Recorder; names of calls are unique in a topic."""

from __future__ import annotations

from collections.abc import Callable

from tests.differential.recorder import Recorder
from tests.differential.script import (
    errors,
    events,
    execs,
    filters,
    host_options,
    lifecycle,
    logs,
    networks,
    program_options,
    shapes,
    volumes,
)

TOPICS: dict[str, Callable[[Recorder], None]] = {
    "create: Config": program_options.config,
    "create: HostConfig": host_options.plain,
    "create: resources": host_options.resources,
    "create: security": host_options.security,
    "create: mounts": host_options.mounts,
    "create: wrong types": host_options.wrong_types,
    "create: networking": networks.endpoints,
    "containers: run": lifecycle.runs,
    "containers: update": lifecycle.update,
    "containers: states and names": lifecycle.states,
    "containers: wait": lifecycle.wait,
    "containers: links": lifecycle.links,
    "containers: filters": filters.containers,
    "containers: logs": logs.logs,
    "exec": execs.execs,
    "networks": networks.networks,
    "networks: filters": filters.networks,
    "volumes": volumes.volumes,
    "volumes: filters": filters.volumes,
    "images: filters": filters.images,
    "events": events.events,
    "errors": errors.errors,
    "shapes": shapes.shapes,
}
