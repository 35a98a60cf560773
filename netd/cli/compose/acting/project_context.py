"""What a call of ``compose`` works on: the project of its files, or the one that its containers name."""

from __future__ import annotations

import os
import re
from pathlib import Path

from netd.cli.compose.acting.event_display import MODES, EventDisplay
from netd.cli.compose.acting.ordered_jobs import DEFAULT_LIMIT, Cancellation
from netd.cli.compose.acting.project_containers import project_of_containers
from netd.cli.errors import Fault, UsageFault
from netd.compose.model import ComposeProject, decode_project

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from netd.cli.parse.flags import Options
    from netd.cli.session import Session
    from netd.compose.load import LoadedProject, LoadSteps

_INVALID = re.compile(r"[^a-z0-9_-]")
_YES = ("1", "true", "yes", "on", "y", "t")


class ActiveProject:
    """A project that was loaded; ``files`` is empty for one that only its containers name.

    ``disabled`` are the services that the files have and the project does not: not selected, or by their profiles.
    """

    def __init__(
        self,
        project: ComposeProject,
        working_dir: str,
        files: Sequence[str],
        environment: Mapping[str, str],
        disabled: Iterable[str] = (),
    ) -> None:
        self.project, self.working_dir, self.files = project, working_dir, tuple(files)
        self.environment, self.disabled = environment, frozenset(disabled)

    @property
    def name(self) -> str:
        return self.project.name

    def services(self, wanted: Sequence[str]) -> list[str]:
        """Return *wanted*, or all services.  Raises Fault for a name that the project does not have."""
        for key in wanted:
            if key not in self.project.services:
                raise Fault(f"no such service: {key}{_suggestion(key, self.project.services)}")
        return list(dict.fromkeys(wanted)) or sorted(self.project.services)


class ComposeContext:
    """One call: its session, the flags before the verb, and the settings that they and the environment select."""

    def __init__(self, session: Session, options: Options) -> None:
        outer = options.outer
        if outer is None:
            raise AssertionError("the verb was called without the flags of compose")
        self.engine, self.session, self.options, self.outer = session.engine, session, options, outer
        self.dry_run = outer.on("dry-run") or options.on("dry-run")
        if self.dry_run:
            self._simulate(session)
        self.cancellation = Cancellation()
        self.compatibility = outer.on("compatibility", environment_switch("COMPOSE_COMPATIBILITY"))
        self.between = "_" if self.compatibility else "-"
        self.limit = self._limit()

    def _simulate(self, session: Session) -> None:
        """Replace the session's client by one that changes nothing."""
        from netd.cli.compose.acting.dry_run import DryRunClient

        self.engine = session.engine = DryRunClient("netd-runtime", f"{session.run_dir}/docker.sock")

    def colours(self) -> bool:
        """Return whether escape sequences may be written to standard output."""
        wanted = self.outer.text("ansi") or os.environ.get("COMPOSE_ANSI") or "auto"
        if wanted not in ("never", "always", "auto"):
            raise UsageFault(f"invalid value {wanted!r} for --ansi: use never, always or auto")
        if wanted == "auto":
            return not os.environ.get("NO_COLOR") and os.isatty(1)
        return wanted == "always"

    def display(self) -> EventDisplay:
        mode = self.outer.text("progress") or os.environ.get("COMPOSE_PROGRESS") or "auto"
        if mode not in MODES:
            raise UsageFault(f'unsupported --progress value "{mode}": use {", ".join(MODES)}')
        ansi = self.outer.text("ansi") or os.environ.get("COMPOSE_ANSI") or "auto"
        if mode == "auto" and ansi == "never":
            mode = "plain"
        return EventDisplay(mode, colours=not os.environ.get("NO_COLOR"), dry_run=self.dry_run)

    def load(self, services: Sequence[str] = ()) -> ActiveProject:
        """Load the compose files; *services* enables the profiles of those.  Raises Fault."""
        loaded = self.load_document(services)
        try:
            project = decode_project(loaded.document)
        except ValueError as error:
            raise Fault(str(error)) from None
        files = [str(path) for path in loaded.files]
        return ActiveProject(project, str(loaded.working_dir), files, loaded.environment, loaded.disabled)

    def load_document(
        self, services: Sequence[str] = (), *, steps: LoadSteps | None = None, allow_unsupported: bool = False
    ) -> LoadedProject:
        """Load the compose files and show the warnings.  Raises Fault."""
        from netd.compose.errors import ComposeError
        from netd.compose.load import ALL_STEPS, load_project

        try:
            loaded = load_project(
                [Path(file) for file in self.outer.many("file")],
                project_name=self.outer.text("project-name") or None,
                project_directory=Path(folder) if (folder := self.outer.text("project-directory")) else None,
                profiles=self.outer.many("profile"),
                env_files=[Path(file) for file in self.outer.many("env-file")],
                environment=dict(os.environ),
                services=list(services),
                steps=steps or ALL_STEPS,
                allow_unsupported=allow_unsupported,
            )
        except ComposeError as error:
            raise Fault(str(error)) from None
        with self.display() as display:
            for warning in loaded.warnings:
                display.warn(str(warning))
        return loaded

    def find(self, services: Sequence[str] = ()) -> ActiveProject:
        """Load the compose files; without any, or with faulty ones, and with a name of the project, use the labels."""
        name = self._given_name()
        if (
            name
            and not self.outer.many("file")
            and not os.environ.get("COMPOSE_FILE")
            and not has_compose_file(self.outer.text("project-directory") or os.getcwd())
        ):
            return self._of_labels(name)
        try:
            return self.load(services)
        except Fault as fault:
            if not name or self.outer.many("file"):
                raise
            with self.display() as display:
                display.warn(f"{fault.message}; the labels of the containers are used instead of the compose file")
            return self._of_labels(name)

    def _of_labels(self, name: str) -> ActiveProject:
        return ActiveProject(project_of_containers(self.engine, name), "", (), os.environ)

    def _given_name(self) -> str:
        name = self.outer.text("project-name") or os.environ.get("COMPOSE_PROJECT_NAME") or ""
        if name and (_INVALID.search(name) or not name[0].isalnum()):
            raise Fault(
                f"invalid project name {name!r}: must consist only of lowercase alphanumeric characters, hyphens, and "
                "underscores as well as start with a letter or number"
            )
        return name

    def _limit(self) -> int:
        text = self.outer.text("parallel") or os.environ.get("COMPOSE_PARALLEL_LIMIT") or ""
        if not text:
            return DEFAULT_LIMIT
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 10) or text == "0":
            raise UsageFault(f"invalid value {text!r} for --parallel: use a number of jobs, or -1 for no limit")
        return int(text)


def environment_switch(name: str) -> bool:
    """Return whether a variable of the environment is set to yes."""
    return os.environ.get(name, "").lower() in _YES


def has_compose_file(folder: str) -> bool:
    """Return whether *folder* or one above it has a compose file with one of the default names."""
    from netd.compose.files.project_files import NAMES as names

    folder = os.path.abspath(folder)
    while True:
        if any(os.path.exists(os.path.join(folder, name)) for name in names):
            return True
        if folder == os.path.dirname(folder):
            return False
        folder = os.path.dirname(folder)


def _suggestion(key: str, known: Mapping[str, object]) -> str:
    from netd.nearest_names import nearest

    near = nearest(key, known)
    return f"; did you mean {near}?" if near else f"; the services are {', '.join(sorted(known)) or 'none'}"
