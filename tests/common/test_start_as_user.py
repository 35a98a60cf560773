"""The daemons, started by a user who is not root."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("module", "name"), [("netd", "netd"), ("runtime", "netd-runtime")])
def test_a_daemon_says_that_it_needs_root(tmp_path, module, name):
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    code = f"import runpy, sys; sys.argv[1:] = []; runpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == f"{name}: needs root: run it with sudo, or start its unit with systemctl start {name}\n"
