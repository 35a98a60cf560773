"""Commands and flags of Docker's command that netctl does not have, with the reason.  Pure data.

``unknown`` of ``netd.cli.help`` shows the reasons of commands; a test compares both tables with Docker's help.
"""

from __future__ import annotations

_SWARM = "swarm mode is not part of netd, which serves one host"
_TRUST = "netd does not verify signatures of images"
_CLIENT = "netctl talks to the daemons of its own host; --run-dir or NETD_RUN_DIR selects an installation"

_CLASSIC = "netd builds with the classic builder, which has no such setting"

COMMANDS = {
    "buildx": "netd builds with the classic builder: use 'netctl build'",
    "compose alpha": "experimental verbs of Docker's compose do not exist",
    "compose bridge": "compose files are not converted to other models",
    "compose convert": "it is an old name of 'netctl compose config'",
    "compose publish": "projects are not stored in registries",
    "config": _SWARM,
    "context": _CLIENT,
    "manifest": "the image store keeps the image of one platform, so that lists of platforms cannot be made",
    "node": _SWARM,
    "plugin": "plugins of networks are processes in the folders of the setting plugin_dirs, not images",
    "secret": _SWARM,
    "service": _SWARM,
    "stack": _SWARM,
    "swarm": _SWARM,
    "trust": _TRUST,
}
"""Groups and commands by name."""

FLAGS = {
    ("", "config"): "the client's configuration is that of DOCKER_CONFIG or ~/.docker",
    ("", "context"): _CLIENT,
    ("", "debug"): "netctl logs nothing; the setting log_level is that of the daemons",
    ("", "host"): _CLIENT,
    ("", "log-level"): "netctl logs nothing; the setting log_level is that of the daemons",
    ("", "tls"): _CLIENT,
    ("", "tlscacert"): _CLIENT,
    ("", "tlscert"): _CLIENT,
    ("", "tlskey"): _CLIENT,
    ("", "tlsverify"): _CLIENT,
    ("compose build", "builder"): _CLASSIC,
    ("compose build", "check"): _CLASSIC,
    ("compose build", "print"): "images are built from Dockerfiles, not from bake files",
    ("compose build", "provenance"): _CLASSIC,
    ("compose build", "sbom"): _CLASSIC,
    ("compose build", "ssh"): _CLASSIC,
    ("image ls", "tree"): "experimental in Docker, and shows the platforms of an image, of which the store keeps one",
}
"""Flags by verb ("" for those before the verb) and long name."""
