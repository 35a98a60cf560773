"""netctl imports few modules, for a short start time."""

import subprocess
import sys

import pytest
from cli_terminal import ROOT
from recorded import NETWORKS

SLOW = {"argparse", "asyncio", "collections", "dataclasses", "enum", "functools", "http.client", "inspect", "json",
        "ipaddress", "logging", "pathlib", "re", "socket", "subprocess", "typing", "urllib.parse"}  # fmt: skip
MOST_MODULES = 56
"""Of a listing, with those that the interpreter loads for itself (24 in Python 3.11)."""
VERSION = {"Version": "1", "ApiVersion": "1.51", "MinAPIVersion": "1.24", "Os": "linux", "Arch": "x",
           "KernelVersion": "6"}  # fmt: skip

SHOW = """
import sys
from netd.cli.main import main
code = main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
raise SystemExit(code)
"""


def test_listing_networks_imports_only_what_it_needs(peer):
    peer.on("GET", "/networks", NETWORKS)
    done = subprocess.run(
        [sys.executable, "-S", "-c", SHOW, "network", "ls"], cwd=ROOT, capture_output=True, text=True, timeout=10
    )
    loaded = set(done.stderr.split())
    assert done.returncode == 0 and "bridge" in done.stdout
    assert not loaded & SLOW
    assert len(loaded) <= MOST_MODULES, sorted(loaded)
    ours = {name for name in loaded if name.startswith("netd")}
    packages = {f"netd.cli.{name}" for name in ("commands", "output", "parse", "transport")}
    modules = (
        "main",
        "errors",
        "index",
        "session",
        "transport.http",
        "transport.json_decoding",
        "signal_waits",
        "output.columns",
        "output.list_output",
        "commands.network",
    )
    modules += ("commands.inspect", "parse.flags", "parse.common_flags", "parse.filter_flags", "parse.network_flags")
    assert ours == {"netd", "netd.cli"} | packages | {f"netd.cli.{name}" for name in modules}


@pytest.mark.parametrize("words", [["network", "ls"], ["ps"], ["run", "--help"], ["--help"]])
def test_no_verb_imports_anything_of_the_daemons(peer, words):
    peer.on("GET", "/(networks|containers/json)", [])
    done = subprocess.run([sys.executable, "-c", SHOW, *words], cwd=ROOT, capture_output=True, text=True, timeout=10)
    assert done.returncode == 0
    assert not [name for name in done.stderr.split() if name.startswith("netd.") and not name.startswith("netd.cli")]


def test_the_version_imports_no_slow_module(peer):
    peer.on("GET", "/version", VERSION)
    done = subprocess.run(
        [sys.executable, "-S", "-c", SHOW, "--version"], cwd=ROOT, capture_output=True, text=True, timeout=10
    )
    loaded = set(done.stderr.split())
    assert "netd.cli.main" in loaded and not loaded & SLOW
    assert len(loaded) <= MOST_MODULES, sorted(loaded)
