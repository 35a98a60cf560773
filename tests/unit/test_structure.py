"""The rules for names and folders: modules per folder, names used once, and which code may touch the kernel."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict

import pytest

from tests.unit import source_tree
from tests.unit.source_tree import covers

MOST_MODULES = 20
SAME_ROLE = {
    "__main__": "the start of a process",
    "daemon": "the composition root of each daemon",
    "actions": "the requests about one kind of object",
    "backend": "the entry of each firewall backend",
    "dns_redirect": "the redirect of DNS, by each firewall backend",
    "errors": "the errors of the daemons and of netctl",
    "event_loop": "the epoll loop of netd-dns and of a shim",
    "load": "reading an archive of images, and reading a project",
    "main": "the start of a process",
    "model": "the values that a part is about",
    "publishing": "publishing ports, in netd and for a container",
    "restore": "the start of each daemon from its records",
    "shapes": "Docker's JSON of each daemon",
}
"""Module names that are used more than once, with the role that all modules of the name have."""
LAYERS = (
    "netd.cli.commands",
    "netd.cli.compose",
    "netd.server",
    "netd.engine",
    "runtime.api",
    "runtime.engine",
    "runtime.storage",
)
"""Verbs of netctl, routes and engines name their modules after the same objects of Docker's API."""
PROCESSES = {
    "netd": "netd.__main__",
    "netd-dns": "netd.dns.__main__",
    "netd-runtime": "runtime.__main__",
    "shim": "runtime.shim.zygote",
    "netctl": "netd.cli.main",
}


KERNEL = ("netd.kernel", "runtime.kernel", "runtime.init", "runtime.shim")
KERNEL_MODULES = {"ctypes", "fcntl", "mmap", "resource", "socket", "termios"}
"""Modules of the standard library that reach the kernel directly."""
TOUCHES = {
    "netd.common.daemon_locks": "locks of files and of the network namespace",
    "netd.common.descriptor_limit": "the process's own file descriptors",
    "netd.common.http": "the daemons' unix sockets",
    "netd.cli.transport.terminal": "netctl's own terminal",
    "netd.process_memory": "glibc's memory of the own process",
    "netd.cli.compose.watching.tree_watcher": "inotify(7) on the user's own files",
    "netd.service_manager": "sd_notify(3) and sd_listen_fds(3)",
    "netd.dns": "a name server: sockets are its work",
    "netd.log_output": "the journal's socket",
    "netd.host_protocol": "names the type of the sockets that it hands over",
    "runtime.engine.options.mount_options": "names paths inside containers",
    "runtime.registry": "names the family of addresses for the resolver",
    "runtime.shim_client": "starts the zygote, and speaks to it and to the shims by unix sockets",
}
"""Code outside of the kernel packages that reaches the kernel, and why; a package's entry covers its modules."""


def test_a_folder_holds_at_most_twenty_modules():
    found = Counter(module.name.rpartition(".")[0] for module in source_tree.modules())
    assert [(folder, count) for folder, count in found.items() if count > MOST_MODULES] == []


@pytest.mark.parametrize("package", sorted(source_tree.packages()))
def test_a_package_says_what_it_owns(package):
    assert ast.get_docstring(source_tree.parsed(source_tree.files()[package]))


def test_modules_of_one_name_play_one_role():
    found = defaultdict(list)
    for module in source_tree.modules():
        if module.name not in source_tree.packages():
            found[module.name.rpartition(".")[2]].append(module.name)
    twice = {name: modules for name, modules in found.items() if len(modules) > 1 and name not in SAME_ROLE}
    assert {name: found for name, found in twice.items() if not all(map(_in_layers, found))} == {}


def _in_layers(name: str) -> bool:
    return any(covers(layer, name) for layer in LAYERS)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_class_name_is_used_once_in_a_process(process):
    loaded = source_tree.closure(PROCESSES[process])
    found = defaultdict(list)
    for module in source_tree.modules():
        if module.name in loaded:
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(module.name)
    assert {name: where for name, where in found.items() if len(where) > 1} == {}


def test_only_the_kernel_packages_touch_the_kernel():
    touching = {module.name: found for module in source_tree.modules() if (found := _touches(module))}
    known = (*KERNEL, *TOUCHES)
    assert {name: found for name, found in touching.items() if not any(covers(row, name) for row in known)} == {}
    assert [row for row in TOUCHES if not any(covers(row, name) for name in touching)] == []


def _touches(module: source_tree.Module) -> set[str]:
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] in KERNEL_MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in KERNEL_MODULES:
            found.add(node.module)
    return found | {text for text in _texts(module.tree) if re.match(r"/(proc|sys)\b", text)}


def _texts(tree: ast.Module) -> set[str]:
    """Return all string constants but docstrings."""
    comments = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in comments)
    return {node.value for node in constants if isinstance(node.value, str)}


def test_no_variable_is_named_one():
    """A variable has the name of what it holds: ``endpoint``, ``address``, ``rule``."""
    files = [path for top in (*source_tree.TOPS, "tests", "tools") for path in (source_tree.ROOT / top).rglob("*.py")]
    named = [
        f"{path.relative_to(source_tree.ROOT)}:{node.lineno}"
        for path in files
        for node in ast.walk(source_tree.parsed(path))
        if (isinstance(node, ast.Name) and node.id == "one") or (isinstance(node, ast.arg) and node.arg == "one")
    ]
    assert named == []
