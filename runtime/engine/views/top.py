"""The table of a container's processes that ``top`` returns, as ps(1) prints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runtime.engine.views import ps_arguments, ps_columns
from runtime.engine.views.ps_arguments import Selection
from runtime.engine.views.ps_columns import ProcessEntry
from runtime.kernel import proc

_MOST_THREADS = 10_000
_COMMANDS = frozenset(("args", "cmd", "comm", "command", "fname", "ucmd", "ucomm"))


def table(pids: Iterable[int], arguments: str) -> tuple[list[str], list[list[str]]]:
    """Return (titles, rows) as ``ps`` prints them for *arguments*.  Raises BadRequest for unsupported arguments."""
    selection = ps_arguments.parse(arguments or "-ef")
    processes = [process for process in _entries(pids, selection.threads != "") if selection.accepts(process)]
    rows = [_row(process, depth, selection) for process, depth in _ordered(processes, selection)]
    return [title for title, _ in selection.columns], rows


def _entries(pids: Iterable[int], threads: bool) -> Iterator[ProcessEntry]:
    """Yield the processes, or their threads, of which there are at most ``_MOST_THREADS``."""
    left = _MOST_THREADS
    for pid in pids:
        rows = proc.threads(pid)[:left] if threads else [0]
        left -= len(rows) if threads else 0
        yield from (entry for thread in rows if (entry := ps_columns.read(pid, thread)))


def _ordered(processes: list[ProcessEntry], selection: Selection) -> Iterable[tuple[ProcessEntry, int]]:
    """Return the processes in order, each with its depth in the tree, 0 without a tree."""
    processes.sort(key=lambda process: (process.pid, process.thread))
    for column, descending in reversed(selection.sort):
        processes.sort(key=column.key, reverse=descending)
    return _tree(processes) if selection.forest and not selection.threads else [(process, 0) for process in processes]


def _tree(processes: Sequence[ProcessEntry]) -> Iterator[tuple[ProcessEntry, int]]:
    """Yield parents before their children; the container's first processes have depth 0."""
    known = {process.pid for process in processes}
    children: dict[int, list[ProcessEntry]] = {}
    for process in processes:
        parent = process.field(4)
        children.setdefault(parent if parent in known else 0, []).append(process)
    stack = [(process, 0) for process in reversed(children.get(0, []))]
    while stack:
        process, depth = stack.pop()
        yield process, depth
        stack += [(child, depth + 1) for child in reversed(children.get(process.pid, []))]


def _row(process: ProcessEntry, depth: int, selection: Selection) -> list[str]:
    cells = []
    for _, column in selection.columns:
        text = column.text(process)
        cells.append(_indent(depth, selection.forest) + text if depth and column in _COMMAND_COLUMNS else text)
    return cells


def _indent(depth: int, style: str) -> str:
    return "  " * depth if style == "H" else " " * (4 * (depth - 1)) + " \\_ "


_COMMAND_COLUMNS = [column for name, column in ps_columns.COLUMNS.items() if name in _COMMANDS]
