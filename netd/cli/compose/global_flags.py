"""The flags of ``compose``, which stand before its verb.  Pure."""

from __future__ import annotations

from netd.cli.parse.flags import many, parse, switch, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from netd.cli.parse.flags import Options

FLAGS = (
    many("file", "f", "FILE", "Compose file, - for standard input (compose.yaml)", values="file"),
    text("project-name", "p", "NAME", "Name of the project (that of the folder)"),
    many("profile", "", "NAME", "Enable the services of a profile"),
    many("env-file", "", "FILE", "File of variables for the compose files (.env)", values="file"),
    text("project-directory", "", "FOLDER", "Folder that paths are relative to (that of the first file)", values="dir"),
    text("parallel", "", "NUMBER", "Jobs at a time; -1 for no limit"),
    switch("dry-run", "", "Show what would be done, and change nothing"),
    text("progress", "", "KIND", "How progress is shown", values="words:auto tty plain json quiet"),
    text("ansi", "", "WHEN", "When colours are used", values="words:never always auto"),
    switch("compatibility", "", "Name containers as version 1 of compose did, with underscores"),
    switch("all-resources", "", "Create networks and volumes that no service uses as well"),
    switch("verbose", "", "Accepted for Docker's sake"),
)

AFTER_VERB = (switch("dry-run", "", "Show what would be done, and change nothing"),)
"""Flags that may also stand after the verb."""


def split(words: list[str]) -> tuple[Options, list[str]]:
    """Return the flags of ``compose``, and *words* without them: ``compose``, the verb, and what follows."""
    outer = parse(words[1:], (*FLAGS, switch("help", "h", "Show help"), switch("version", "v", "")), flags_first=True)
    rest = outer.args
    if outer.on("version"):
        rest = ["version", *rest]
    if outer.on("help"):
        rest = [*rest, "--help"]
    return outer, ["compose", *rest]
