"""Only runtime/kernel/openat.py and tree.py change, read and walk files of images and containers.

The test searches for calls that take a path or follow a symbolic link.  ``Path.open``, ``rename``, ``exists`` and
``stat`` cannot be distinguished from methods of our classes, so they are not searched for.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANDS = {"runtime/kernel/openat.py", "runtime/kernel/tree.py"}

BY_NAME = frozenset({"mkdir", "mkfifo", "mknod", "readlink", "rename", "rmdir", "symlink", "unlink"})
"""Calls that never follow the last component: safe with a descriptor of the folder."""
FOLLOWING = frozenset({"chown", "link", "stat", "utime"})
"""Calls that are safe with a descriptor and ``follow_symlinks=False``."""
OTHERS = frozenset({
    "access", "chdir", "chmod", "getxattr", "lchown", "listdir", "listxattr", "lstat", "makedirs", "open", "remove",
    "removedirs", "removexattr", "renames", "replace", "scandir", "setxattr", "statvfs", "truncate", "walk",
})  # fmt: skip
METHODS = frozenset({
    "chmod", "glob", "hardlink_to", "is_dir", "is_file", "is_symlink", "iterdir", "lstat", "mkdir", "read_bytes",
    "read_text", "resolve", "rglob", "rmdir", "symlink_to", "touch", "unlink", "write_bytes", "write_text",
})  # fmt: skip

OWN = "folders of the daemon's own, in which no container can put anything"
HOST = "paths of the host that a user names as sources of mounts"
KERNEL = "files of the kernel below /proc and /sys, or the host's /etc"
SKELETON = "the root skeleton or the host's root, before a file of an image is mounted"
INSIDE = "the container's own root, beyond which nothing can be reached"

EXCEPTIONS = {
    "runtime/build/execute/builder.py": (OWN, ".mkdir .unlink"),
    "runtime/build/execute/cache_mounts.py": (OWN, ".mkdir"),
    "runtime/build/execute/copy_steps.py": ("no path: copy_owners.resolve", ".resolve"),
    "runtime/build/execute/run_mount_sources.py": (OWN, ".mkdir"),
    "runtime/build/files/roots.py": (OWN, ".chmod .mkdir"),
    "runtime/api/system.py": (KERNEL, ".read_text"),
    "runtime/storage/copyup.py": (OWN, ".mkdir"),
    "runtime/daemon.py": (OWN, ".unlink"),
    "runtime/engine/lifecycle/create.py": (HOST, ".mkdir"),
    "runtime/engine/containers/etc_files.py": (OWN, ".mkdir"),
    "runtime/engine/lifecycle/start.py": (OWN + "; " + HOST, ".is_dir os.path.lexists"),
    "runtime/engine/containers/record_copies.py": (OWN, ".is_dir .iterdir .read_bytes open os.open"),
    "runtime/images/layers.py": (OWN, ".mkdir .chmod .rmdir"),
    "runtime/images/replaced.py": (OWN, ".mkdir"),
    "runtime/init/credentials.py": (INSIDE, "open os.access os.open os.path.isdir os.stat"),
    "runtime/init/init.py": (SKELETON, "os.open"),
    "runtime/init/init_exec.py": (INSIDE, "os.open"),
    "runtime/init/init_userns.py": (INSIDE, "os.chdir os.open os.readlink"),
    "runtime/init/mounts.py": (OWN, "os.chdir os.open"),
    "runtime/init/rootfs.py": (SKELETON, "os.listdir os.open os.path.ismount"),
    "runtime/init/idmapped_mounts.py": (KERNEL + "; " + HOST, "open os.stat"),
    "runtime/init/rootfs_skeleton.py": (SKELETON, "os.chdir os.mkdir os.mknod os.open os.rmdir os.symlink"),
    "runtime/log_reader.py": (OWN, "os.open os.stat"),
    "runtime/storage/deferred_delete.py": (OWN, ".iterdir"),
    "runtime/storage/detached.py": (KERNEL, "os.open"),
    "runtime/storage/drivers/btrfs.py": (OWN, "os.listdir"),
    "runtime/storage/drivers/copies.py": (OWN, ".mkdir"),
    "runtime/storage/drivers/overlay2.py": (OWN, ".mkdir"),
    "runtime/storage/volumes.py": (OWN, ".chmod .is_dir .iterdir .mkdir"),
}
"""The reason, and the calls, by file."""
FOLDERS = {
    "runtime/shim/": "the folder of the shims below RUN and the logs, which no container sees",
    "runtime/registry/": "downloads in the daemon's own scratch folder, and the administrator's certs.d",
    "runtime/shim_client/": "the folder of the shims below RUN",
    "runtime/kernel/": "files of the kernel, and devices of the host",
}
OTHER_MODULES = ("openat", "tree", "layer_files", "folders", "capabilities")
"""Our modules with functions that have the names of ``Path`` methods."""


PURE = frozenset({"basename", "dirname", "join", "split", "normpath", "relpath", "samestat"})


def called(node: ast.Call) -> str:
    """Return ``os.chmod``, ``.read_text``, ``open`` or ``shutil.rmtree``; "" for irrelevant calls."""
    function = node.func
    if isinstance(function, ast.Name):
        return "open" if function.id == "open" else ""
    if not isinstance(function, ast.Attribute):
        return ""
    module, name = ast.unparse(function.value), function.attr
    if module in ("shutil", "tempfile", "os.path") and name not in PURE:
        return f"{module}.{name}"
    if module == "os":
        return f"os.{name}" if name in BY_NAME | FOLLOWING | OTHERS else ""
    return f".{name}" if name in METHODS and module not in OTHER_MODULES else ""


def is_harmless(node: ast.Call, name: str) -> bool:
    words = {word.arg: ast.unparse(word.value) for word in node.keywords}
    has_folder = "dir_fd" in words or {"src_dir_fd", "dst_dir_fd"} <= set(words)
    if name.removeprefix("os.") in BY_NAME:
        return has_folder
    if name.removeprefix("os.") in FOLLOWING:
        return has_folder and words.get("follow_symlinks") == "False"
    if name == "os.open":
        flags = ast.unparse(node.args[1])
        return has_folder and ("O_NOFOLLOW" in flags or "O_EXCL" in flags)
    return False


def offences(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and (name := called(node)) and not is_harmless(node, name):
            found.add(name)
    return found


FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "runtime").rglob("*.py"))
LOOKED_AT = [file for file in FILES if file not in HANDS and not file.startswith(tuple(FOLDERS))]


@pytest.mark.parametrize("file", LOOKED_AT)
def test_only_what_has_a_reason_takes_paths(file):
    _reason, calls = EXCEPTIONS.get(file, ("", ""))
    assert offences((ROOT / file).read_text()) == set(calls.split()), (
        "use runtime.kernel.openat or tree, or give the reason in EXCEPTIONS, which has no call that is not there"
    )


def test_exceptions_are_of_files_that_are_there():
    assert set(EXCEPTIONS) <= set(LOOKED_AT) and set(FILES) >= HANDS


@pytest.mark.parametrize(
    "text",
    [
        "os.chmod(name, mode, dir_fd=folder)",
        "os.link(old, new, src_dir_fd=a, dst_dir_fd=b)",
        "os.stat(name, dir_fd=folder)",
        "os.open(name, os.O_RDONLY, dir_fd=folder)",
        "os.open(path, os.O_RDONLY | os.O_NOFOLLOW)",
        "os.unlink(path)",
        "open(path)",
        "path.write_text('x')",
        "shutil.rmtree(path)",
        "sum(path.lstat().st_size for path in folder.rglob('*'))",
    ],
)
def test_calls_that_follow_links_are_noticed(text):
    assert offences(text)


@pytest.mark.parametrize(
    "text",
    [
        "os.unlink(name, dir_fd=folder)",
        "os.link(old, new, src_dir_fd=a, dst_dir_fd=b, follow_symlinks=False)",
        "os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)",
        "openat.chmod(folder, name, mode)",
        "os.fchmod(handle, mode)",
        "os.path.join(a, b)",
    ],
)
def test_calls_that_follow_no_links_are_not_reported(text):
    assert not offences(text)
