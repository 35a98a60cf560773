"""Reads YAML into plain values, with the position of each value and the paths that carry ``!reset`` or ``!override``.

Pure.  Works on the event stream of PyYAML, so that depth, number of nodes and expansion of aliases are bounded before
memory is used.  Duplicate keys are refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from netd.compose.errors import ComposeError, Path, Position
from netd.compose.reading.yaml_scalars import as_text, plain

DEPTH = 64
NODES = 200_000
"""Bounds of one file; a copy made for an alias counts with all its nodes."""

_PREFIX = "tag:yaml.org,2002:"


@dataclass
class YamlDocument:
    """A document of a file; ``value`` consists of dict, list, str, int, float, bool and None."""

    value: Any
    positions: dict[Path, Position] = field(default_factory=dict)
    resets: list[Path] = field(default_factory=list)
    """Paths whose earlier values are deleted before this document is merged."""


@dataclass
class _Open:
    """A collection that is being read."""

    value: Any
    path: Path
    anchor: str | None
    dropped: bool = False
    """Whether it carries ``!reset``."""
    key: Any = None
    has_key: bool = False
    merges: list[Any] = field(default_factory=list)
    nodes: int = 1


class _Reset:
    """The value of a node with ``!reset``."""


_RESET = _Reset()


def read(text: str, file: str) -> list[YamlDocument]:
    """Return the documents of a file that are not empty.  Raises ComposeError with the position of the fault."""
    reader = _Reader(file)
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ComposeError(_explain(error, text), (), _position(file, mark) if mark else None) from None
    except (yaml.YAMLError, UnicodeError) as error:
        reason = " ".join(str(error).split())
        raise ComposeError(f"{file} is not a YAML text ({reason}): name a compose file") from None
    return [document for document in reader.documents if document.value is not None]


def _explain(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "the line is indented with a tab, which YAML does not allow: use spaces"
    problem = " ".join(part for part in (error.context, error.problem) if part)
    return f"the YAML text is invalid ({problem}): correct it"


def _position(file: str, mark: Any) -> Position:
    return Position(file, mark.line + 1, mark.column + 1)


class _Reader:
    """Builds the values of a file from its events."""

    def __init__(self, file: str) -> None:
        self.documents: list[YamlDocument] = []
        self._file = file
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def take(self, event: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()
            self.documents.append(YamlDocument(None))
        elif isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), event, event.anchor, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open(event)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close(event)

    def _fail(self, event: Any, reason: str, path: Path = ()) -> ComposeError:
        return ComposeError(reason, path, _position(self._file, event.start_mark))

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES:
            raise self._fail(event, f"the file has more than {NODES:,} values with its aliases expanded: shorten it")

    def _scalar(self, event: Any) -> Any:
        tag = event.tag
        if tag is None or tag == "!":
            return plain(event.value) if event.implicit[0] else event.value
        if tag == "!reset":
            return _RESET
        try:
            return _tagged(tag, event.value)
        except ValueError:
            raise self._fail(
                event, f"{event.value!r} is no {tag.removeprefix(_PREFIX)}: correct tag or value"
            ) from None

    def _alias(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise self._fail(event, f"the alias *{event.anchor} has no anchor &{event.anchor} before it: define it")
        value, nodes = self._anchors[event.anchor]
        self._count(event, nodes)
        self._add(copy(value), event, None, nodes)

    def _open(self, event: Any) -> None:
        if len(self._stack) >= DEPTH:
            raise self._fail(event, f"the file nests deeper than {DEPTH} levels: flatten it")
        path = self._path(event)
        mapping = isinstance(event, yaml.MappingStartEvent)
        if path is None or (self._stack and mapping and self._is_key()):
            raise self._fail(event, "a key of a mapping must be a scalar: correct the key")
        self._stack.append(_Open({} if mapping else [], path, event.anchor, event.tag == "!reset"))
        if event.tag == "!override":
            self.documents[-1].resets.append(path)
        self.documents[-1].positions.setdefault(path, _position(self._file, event.start_mark))

    def _close(self, event: Any) -> None:
        done = self._stack.pop()
        if isinstance(done.value, dict):
            _apply_merges(done)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, done.nodes)
        self._place(_RESET if done.dropped else done.value, event, done.path, done.nodes)

    def _add(self, value: Any, event: Any, anchor: str | None, nodes: int) -> None:
        self._count(event, 1)
        if anchor:
            self._anchors[anchor] = (value, nodes)
        if self._is_key():
            self._set_key(value, event)
            return
        path = self._path(event)
        assert path is not None
        positions = self.documents[-1].positions
        positions.setdefault(path, _position(self._file, event.start_mark))
        if getattr(event, "tag", None) == "!override":
            self.documents[-1].resets.append(path)
        self._place(value, event, path, nodes)

    def _is_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and not self._stack[-1].has_key

    def _set_key(self, value: Any, event: Any) -> None:
        top = self._stack[-1]
        if isinstance(value, (dict, list, _Reset)):
            raise self._fail(event, "a key of a mapping must be a scalar: correct the key", top.path)
        key = value if isinstance(value, str) else as_text(value)
        if key != "<<" and key in top.value:
            before = self.documents[-1].positions.get((*top.path, key))
            line = f" at line {before.line}" if before else ""
            raise self._fail(event, f"the key {key!r} is already defined{line}: delete one of the two", top.path)
        top.key, top.has_key = key, True
        self.documents[-1].positions[(*top.path, key)] = _position(self._file, event.start_mark)

    def _path(self, event: Any) -> Path | None:
        """Return the path of the value that comes next; None where a key is expected."""
        if not self._stack:
            return ()
        top = self._stack[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value))
        return (*top.path, top.key) if top.has_key else None

    def _place(self, value: Any, event: Any, path: Path, nodes: int) -> None:
        document = self.documents[-1]
        if isinstance(value, _Reset):
            document.resets.append(path)
        if not self._stack:
            document.value = None if isinstance(value, _Reset) else value
            return
        top = self._stack[-1]
        top.nodes += nodes
        if isinstance(top.value, list):
            if not isinstance(value, _Reset):
                top.value.append(value)
            return
        if top.key == "<<":
            self._merge_key(top, value, event)
        elif not isinstance(value, _Reset):
            top.value[top.key] = value
        top.has_key = False

    def _merge_key(self, top: _Open, value: Any, event: Any) -> None:
        sources = value if isinstance(value, list) else [value]
        if not all(isinstance(source, dict) for source in sources):
            raise self._fail(event, "the merge key '<<' needs a mapping or a list of mappings: correct it", top.path)
        top.merges += sources


def _apply_merges(done: _Open) -> None:
    """Add the keys of ``<<`` that the mapping does not have itself; earlier sources take precedence."""
    for source in done.merges:
        for key, value in source.items():
            done.value.setdefault(key, copy(value))


def copy(value: Any) -> Any:
    """Return a deep copy; the depth is bounded by :data:`DEPTH`."""
    if isinstance(value, dict):
        return {key: copy(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [copy(entry) for entry in value]
    return value


def _tagged(tag: str, text: str) -> Any:
    kind = tag.removeprefix(_PREFIX)
    if kind in ("str", "binary", "timestamp") or not tag.startswith(_PREFIX):
        return plain(text) if not tag.startswith(_PREFIX) else text
    value = plain(text)
    if kind == "float" and isinstance(value, int):
        return float(value)
    wanted = {"int": int, "float": float, "bool": bool, "null": type(None)}.get(kind)
    if wanted and not (isinstance(value, wanted) and (kind != "int" or not isinstance(value, bool))):
        raise ValueError(text)
    return value
