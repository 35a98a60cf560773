"""Every command in tools/ prints its help for --help, and refuses an unknown option before it does anything.

The file system is read-only meanwhile, so that a command that ignored the option could not do anything either.
"""

import os
import subprocess

import pytest

from tests.tools.conftest import ROOT

PROGRAMS = [path for path in (ROOT / "tools").iterdir() if path.is_file() and os.access(path, os.X_OK)]
COMMANDS = sorted(path.name for path in PROGRAMS if not path.suffix)
REFUSING = [name for name in COMMANDS if name not in {"bench", "test"}]
"""tools/test passes unknown words on to pytest."""


def call(name, *words):
    script = 'mount -o remount,bind,ro / && exec "$@"'
    command = ["unshare", "--mount", "--net", "sh", "-c", script, "sh", ROOT / "tools" / name, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "bench"])
def test_help_is_printed(name):
    done = call(name, "--help")
    assert done.returncode == 0 and len(done.stdout.splitlines()) >= 2 and not done.stderr, done


@pytest.mark.parametrize("name", REFUSING)
def test_an_unknown_option_is_refused(name):
    done = call(name, "--nonsense")
    assert done.returncode == 2 and done.stderr and not done.stdout, done


@pytest.mark.parametrize("words", [("install", "--no-start", "--purge"), ("uninstall", "--purge", "--nonsense")])
def test_an_unknown_option_after_a_known_one_is_refused(words):
    done = call(*words)
    assert done.returncode == 2 and words[2] in done.stderr, done


@pytest.mark.parametrize("words", [("install", "--no-start", "--help"), ("uninstall", "--purge", "--help")])
def test_help_after_another_option_does_nothing_else(words):
    done = call(*words)
    assert done.returncode == 0 and "sudo tools/" in done.stdout and not done.stderr, done


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_relative_prefix_is_refused(command, monkeypatch):
    monkeypatch.setenv("PREFIX", "opt/netd")
    done = call(command)
    assert done.returncode == 1 and "opt/netd" in done.stderr and "absolute" in done.stderr, done
