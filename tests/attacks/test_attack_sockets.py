"""Every socket in RUN refuses connections of other users."""

import subprocess
import sys

import pytest

CONNECT = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in sys.argv[1:]:
    try:
        os.lstat(path)
        socket.socket(socket.AF_UNIX).connect(path)
        print(path, "connected")
    except FileNotFoundError:
        print(path, "missing")
    except PermissionError:
        pass
"""


@pytest.fixture
def reachable(place):
    """Make the installation's folder searchable for other users, as /run is."""
    before = place.root.stat().st_mode
    place.root.chmod(0o755)
    yield place
    place.root.chmod(before)


def test_no_socket_takes_a_connection_from_another_user(reachable, api, run):
    run()
    sockets = [path for path in reachable.run.rglob("*") if path.is_socket()]
    assert {"netd.sock", "docker.sock", "dns.sock"} <= {path.name for path in sockets} and len(sockets) > 3
    assert all(not path.stat().st_mode & 0o002 and path.stat().st_uid == 0 for path in sockets)
    done = subprocess.run([sys.executable, "-c", CONNECT, *sockets], capture_output=True, text=True, check=True)
    assert done.stdout == ""
