"""The names of a project's services, for completion."""

from __future__ import annotations

import os
from pathlib import Path

from netd.cli.compose.global_flags import FLAGS
from netd.cli.parse.flags import parse


def service_names(flags: list[str]) -> list[str]:
    """Return the services of the compose files that *flags* of compose select, those of other profiles included.

    Empty if the files are missing or faulty: nothing is printed into a command line that is being edited.
    """
    from netd.compose.errors import ComposeError
    from netd.compose.load import load_project

    outer = parse(flags, FLAGS)
    try:
        loaded = load_project(
            [Path(file) for file in outer.many("file")],
            project_name=outer.text("project-name") or None,
            project_directory=Path(folder) if (folder := outer.text("project-directory")) else None,
            profiles=["*"],
            env_files=[Path(file) for file in outer.many("env-file")],
            environment=dict(os.environ),
        )
    except ComposeError:
        return []
    return sorted({*loaded.document["services"], *loaded.disabled})
