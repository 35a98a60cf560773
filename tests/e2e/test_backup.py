"""Backup and restore as docs/operations.md describes them."""

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.installation import running_installation

PAGE = (Path(__file__).resolve().parents[2] / "docs/operations.md").read_text()


@pytest.fixture
def host():
    with running_installation() as made:
        yield made


def documented(heading):
    """Return the commands below a heading of the page."""
    part = PAGE.split(f"### {heading}\n")[1].split("\n#")[0]
    return re.findall(r"^    (?!systemctl)(.+)$", part, re.MULTILINE)


def on_host(host, line):
    for name, path in (("/var/lib/netd", host.state), ("/backup", host.root / "backup")):
        line = line.replace(name, str(path))
    if line.startswith("netctl "):
        host.netctl(*line.split()[1:])
    else:
        subprocess.run(["bash", "-c", line], check=True, timeout=60)


def test_everything_is_there_after_a_restore(host):
    (host.root / "backup").mkdir()
    host.netctl("network", "create", "--subnet", "10.66.0.0/24", "--label", "a=b", "shop")
    host.netctl("volume", "create", "data")
    host.netctl("run", "-d", "--name", "web", "--network", "shop", "--ip", "10.66.0.9", "-v", "data:/data", "busybox",
                "sh", "-c", "echo kept >/data/file; echo own >/root/file; exec sleep 1000")  # fmt: skip
    host.netctl("exec", "web", "cat", "/root/file")
    for line in documented("Back up"):
        on_host(host, line)
    host.netctl("rm", "--force", "web")
    host.netctl("volume", "rm", "data")
    host.netctl("network", "rm", "shop")
    for name in ("runtime", "netd"):
        host.kill(name, signal.SIGTERM)
    shutil.rmtree(host.state)
    shutil.rmtree(host.run)
    for line in documented("Restore"):
        on_host(host, line)
    host.start()
    assert host.netctl("info").stderr == ""
    host.netctl("start", "web")
    assert host.netctl("exec", "web", "cat", "/data/file", "/root/file").stdout == "kept\nown\n"
    assert host.inspect("web")["NetworkSettings"]["Networks"]["shop"]["IPAddress"] == "10.66.0.9"
    assert host.docker.networks.get("shop").attrs["Labels"] == {"a": "b"}


def test_a_backup_that_cannot_be_written_is_refused_and_leaves_nothing(host, tmp_path):
    refused = host.netctl("system", "backup", str(tmp_path / "no" / "file"), check=False)
    assert refused.returncode == 1 and "cannot be written to" in refused.stderr
    assert list(tmp_path.iterdir()) == []
