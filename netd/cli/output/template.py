"""Renders templates of ``--format``: Go's text/template with the functions of Docker's command.  Pure.

Values are JSON documents.  A missing key of a map that users fill (labels, options, ports …) is rendered as
``<no value>``, as a missing optional field is; any other missing field is an error, so that a misspelled name does not
print an empty line.
"""

from __future__ import annotations

from netd.cli.output.template_functions import FUNCTIONS, MISSING, is_true, text
from netd.cli.output.template_parser import (
    Block,
    Call,
    FieldPath,
    Jump,
    Literal,
    Pipeline,
    TemplateError,
    parse,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from netd.cli.output.template_parser import Node, Operand

    Variables = dict[str, Any]

_FREE_MAPS = frozenset(
    (
        *("Labels", "Options", "Ports", "Networks", "Annotations", "Sysctls", "ExposedPorts", "Volumes", "Containers"),
        *("DriverOpts", "Data", "Config", "Tmpfs", "StorageOpt", "PortBindings", "AuxiliaryAddresses", "Attributes"),
        "Runtimes",
    )
)
_OPTIONAL = frozenset(
    (
        *(
            "Health",
            "Healthcheck",
            "StopSignal",
            "StopTimeout",
            "Mounts",
            "Shell",
            "OnBuild",
            "MacAddress",
            "RepoDigests",
        ),
        *("Descriptor", "Status", "ConfigFrom", "Error", "Parent", "Comment", "UsageData", "SizeRw", "SizeRootFs"),
        *("Variant", "Author", "Metadata", "GraphDriver", "NetworkID", "Annotations", "Tmpfs", "Sysctls"),
    )
)


class _Jumped(Exception):
    """``break`` or ``continue``."""


def render(template: str, value: Any) -> str:
    """Return *template* rendered with *value*.  Raises TemplateError (a ValueError) with the position of the fault."""
    out: list[str] = []
    _run(parse(template), value, {"$": value}, out)
    return "".join(out)


def _run(nodes: list[Node], dot: Any, variables: Variables, out: list[str]) -> None:
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
        elif isinstance(node, Block):
            (_range if node.keyword == "range" else _choose)(node, dot, variables, out)
        elif isinstance(node, Jump):
            raise _Jumped(node.keyword)
        else:
            value = _pipeline(node, dot, variables)
            if node.declares:
                variables[node.declares[0]] = value
            else:
                out.append(text(value))


def _choose(block: Block, dot: Any, variables: Variables, out: list[str]) -> None:
    value = _pipeline(block.pipeline, dot, variables)
    inner = _Scope(variables)
    if block.pipeline.declares:
        inner[block.pipeline.declares[0]] = value
    if is_true(value):
        _run(block.body, value if block.keyword == "with" else dot, inner, out)
    else:
        _run(block.otherwise, dot, inner, out)


def _range(block: Block, dot: Any, variables: Variables, out: list[str]) -> None:
    over = _pipeline(block.pipeline, dot, variables)
    items = _items(over)
    for key, value in items:
        inner = _Scope(variables)
        names = block.pipeline.declares
        inner.update(zip(names, (value,) if len(names) == 1 else (key, value), strict=False))
        try:
            _run(block.body, value, inner, out)
        except _Jumped as jump:
            if str(jump) == "break":
                break
    if not items:
        _run(block.otherwise, dot, variables, out)


class _Scope(dict[str, "Any"]):
    """Variables of a block: those of the outer scope are visible, and assignments with ``=`` change them."""

    def __init__(self, outer: Variables) -> None:
        super().__init__(outer)
        self.outer = outer

    def assign(self, name: str, value: Any) -> None:
        self[name] = value
        if isinstance(self.outer, _Scope):
            self.outer.assign(name, value)
        elif name in self.outer:
            self.outer[name] = value


def _items(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    if value is None or value == "":
        return []
    raise TemplateError(f"template: range cannot iterate over {text(value)}")


def _pipeline(pipeline: Pipeline, dot: Any, variables: Variables) -> Any:
    found: tuple[Any, ...] = ()
    for call in pipeline.calls:
        try:
            found = (_call(call, found, dot, variables),)
        except TemplateError as error:
            words = str(error)
            raise error if words.startswith("template:") else _at(call.column, words) from None
    if pipeline.assigns and isinstance(variables, _Scope):
        variables.assign(pipeline.declares[0], found[0])
    return found[0]


def _call(call: Call, piped: tuple[Any, ...], dot: Any, variables: Variables) -> Any:
    if not call.function:
        value, *arguments = [_operand(operand, dot, variables) for operand in call.operands]
        if callable(value):
            return _applied(call, value, (*arguments, *piped))
        if arguments or piped:
            raise _at(call.column, "cannot give an argument to a value that is not a function")
        return value
    if call.function in ("and", "or"):
        return _shortcut(call, piped, dot, variables)
    function = FUNCTIONS.get(call.function)
    if function is None:
        raise _at(call.column, f'function "{call.function}" not defined; there are {", ".join(sorted(FUNCTIONS))}')
    return _applied(call, function, (*(_operand(operand, dot, variables) for operand in call.operands), *piped))


def _applied(call: Call, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except (TypeError, AttributeError, OverflowError):
        name = call.function or "this field"
        raise _at(call.column, f"wrong number or type of arguments for {name}") from None


def _shortcut(call: Call, piped: tuple[Any, ...], dot: Any, variables: Variables) -> Any:
    """``and`` returns the first empty argument or the last one, ``or`` the first that is not empty or the last one."""
    value: Any = None
    for operand in (*call.operands, *map(Literal, piped)):
        value = _operand(operand, dot, variables)
        if is_true(value) == (call.function == "or"):
            break
    return value


def _operand(operand: Operand, dot: Any, variables: Variables) -> Any:
    if isinstance(operand, Literal):
        return operand.value
    if isinstance(operand, Pipeline):
        return _pipeline(operand, dot, variables)
    return _field(operand, dot, variables)


def _field(path: FieldPath, dot: Any, variables: Variables) -> Any:
    if path.base is not None:
        value = _pipeline(path.base, dot, variables)
    elif path.variable:
        if path.variable not in variables:
            raise _at(path.column, f"undefined variable {path.variable}")
        value = variables[path.variable]
    else:
        value = dot
    free = False
    for name in path.fields:
        if isinstance(value, dict) and name in value:
            value, free = value[name], name in _FREE_MAPS
        elif free or (isinstance(value, dict) and name in _OPTIONAL):
            value = MISSING
        else:
            raise _at(path.column, _missing(name, value))
    return value


def _missing(name: str, value: Any) -> str:
    from netd.nearest_names import nearest

    if not isinstance(value, dict):
        return f"can't evaluate field {name} in {'nil' if value is None else text(value)[:40]}"
    near = nearest(name, value)
    hint = f"did you mean {near}?" if near else f"there are {', '.join(sorted(value))}"
    return f"can't evaluate field {name}; {hint}"


def _at(column: int, words: str) -> TemplateError:
    return TemplateError(f"template: column {column}: {words}")
