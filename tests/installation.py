"""A complete installation for tests: netd and netd-runtime in a network namespace that stands for a host.

``destroy`` removes all of it: daemons, containers, the namespace, the state.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

BUSYBOX = Path("/bin/busybox")
IMAGE = "busybox:latest"


MAPPED = bool(os.environ.get("NETD_TEST_USERNS"))
"""Whether containers run in user namespaces, except those that need the host's namespaces."""
needs_host_namespaces = pytest.mark.skipif(MAPPED, reason="a user namespace excludes the host's namespaces")


def busybox_tar() -> bytes:
    """Return a root file system with busybox and its applet links, as a tar archive."""
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "root", "var", "home"):
            tar.addfile(_entry(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755))
        tar.add(BUSYBOX, "bin/busybox", recursive=False)
        for applet in applets:
            if applet != "busybox":
                link = _entry(f"bin/{applet}", tarfile.SYMTYPE, 0o777)
                link.linkname = "busybox"
                tar.addfile(link)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n"),
            ("etc/group", "root:x:0:\nuser:x:1000:\n"),
        ):
            info = _entry(name, tarfile.REGTYPE, 0o644)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@contextlib.contextmanager
def running_installation(config: str = "") -> Iterator[Installation]:
    """Yield an installation whose daemons run and which has the busybox image; it is destroyed afterwards."""
    made = Installation(config=config)
    try:
        made.start()
        made.load_busybox()
        yield made
    finally:
        made.destroy()


def wait_until(question, seconds: float = 30) -> None:
    """Poll *question* until it returns a true value; fail after *seconds*.  For changes without an event."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = kind, mode
    return info


class Installation:
    """Daemons in one network namespace; ``host`` is its name under /run/netns."""

    def __init__(self, host: str | None = None, config: str = "") -> None:
        self.host = host or f"ndt-{secrets.token_hex(4)}"
        self._made = host is None
        if self._made:
            subprocess.run(["ip", "netns", "add", self.host], check=True)
            subprocess.run(["ip", "-n", self.host, "link", "set", "lo", "up"], check=True)
        self.root = Path(tempfile.mkdtemp(prefix="ndt-"))
        self.state, self.run = self.root / "state", self.root / "run"
        self.config = self.root / "netd.toml"
        if MAPPED and "userns" not in config:
            config = 'userns = "auto"\nuserns_range = "1000000:6553600"\n' + config
        self.config.write_text(config)
        self.flags: list[str] = []
        """Additional flags for daemons that are started from now on."""
        self.source: Path | None = None
        """Folder with the code of daemons that are started from now on; None for that of the tests."""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._clients: list[docker.DockerClient] = []

    def start(self, *names: str) -> None:
        """Start the named daemons, by default both, and return when they answer."""
        for name in names or ("netd", "runtime"):
            with (self.root / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [
                        *self.within,
                        sys.executable,
                        "-m",
                        name,
                        "--state-dir",
                        self.state,
                        "--run-dir",
                        self.run,
                        "--config",
                        self.config,
                        "--log-level",
                        "info",
                        *self.flags,
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=self.source,
                )
            self.wait_for(name)

    def wait_for(self, name: str) -> None:
        socket = self.run / {"netd": "netd.sock", "runtime": "docker.sock"}[name]
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self.processes[name].poll() is not None:
                raise AssertionError(f"{name} ended with {self.processes[name].returncode}:\n{self.log(name)}")
            try:
                with contextlib.closing(docker.APIClient(base_url=f"unix://{socket}", version="1.51")) as client:
                    client.ping()
                return
            except Exception:
                time.sleep(0.02)
        raise AssertionError(f"{name} does not answer:\n{self.log(name)}")

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(20)

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(errors="replace")[-4000:]

    @property
    def within(self) -> list[str]:
        """Return the command prefix that runs a program in this host's network namespace."""
        return ["nsenter", f"--net=/run/netns/{self.host}"]

    @property
    def docker(self) -> docker.DockerClient:
        client = docker.DockerClient(base_url=f"unix://{self.run}/docker.sock", timeout=60)
        self._clients.append(client)
        return client

    def netctl(self, *words: str, check: bool = True, **kwargs) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "netd.cli.main", *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "NETD_RUN_DIR": str(self.run)},
            **kwargs,
        )
        assert not check or done.returncode == 0, (
            f"netctl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def inspect(self, name: str) -> dict:
        return json.loads(self.netctl("inspect", name).stdout)[0]

    def on_host(self, *words: str, **kwargs) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*self.within, *words], capture_output=True, text=True, timeout=30, **kwargs)

    def load_busybox(self) -> None:
        self.docker.api.import_image_from_data(busybox_tar(), repository="busybox", tag="latest")

    def stop(self) -> None:
        """Stop both daemons with SIGTERM, the runtime first."""
        for name in ("runtime", "netd"):
            if name in self.processes:
                self.kill(name, signal.SIGTERM)

    def remove_all(self) -> None:
        client = self.docker
        for container in client.containers.list(all=True):
            container.remove(force=True)
        for network in client.networks.list():
            if network.name not in ("bridge", "host", "none"):
                network.remove()

    def destroy(self) -> None:
        """End all processes of the installation and remove everything that it created, also after a failed start."""
        if "runtime" in self.processes and "netd" in self.processes:
            try:
                self.remove_all()
            except Exception as error:
                print(f"cleaning up: {error}")
        for client in self._clients:
            client.close()
        self.stop()
        for pid in self.leftovers():
            os.kill(pid, signal.SIGKILL)
        _unmount_below(self.root)
        if self._made:
            subprocess.run(["ip", "netns", "del", self.host], check=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def leftovers(self) -> list[int]:
        """Return the processes whose command line names this installation's directory."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if str(self.root).encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


def _unmount_below(root: Path) -> None:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for target in sorted((line.split()[4] for line in lines), reverse=True):
        if target.startswith(f"{root}/"):
            subprocess.run(["umount", "-l", target], check=False)
