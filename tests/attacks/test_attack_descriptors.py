"""Attack: a daemon runs out of file descriptors.  It refuses requests with the reason, and recovers."""

import os
import resource
import signal

import pytest

from tests.installation import Installation, wait_until


def limit(pid, soft):
    """Set a process's soft descriptor limit, and return the former one."""
    before, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    return before


@pytest.fixture(scope="module")
def installation():
    installation = Installation()
    try:
        installation.start()
        installation.load_busybox()
        installation.netctl("run", "-d", "--name", "web", "busybox", "sleep", "100000")
        yield installation
    finally:
        installation.destroy()


def ask(installation, *words):
    """Return netctl's error message, "" if there is none."""
    done = installation.netctl(*words, check=False)
    assert "Traceback" not in done.stderr
    return done.stderr if done.returncode else ""


CALLS = (
    ("network", "create", "n1"),
    ("network", "ls"),
    ("run", "-d", "--name", "c1", "-p", "8081:80", "busybox", "sleep", "100000"),
    ("ps", "-a"),
    ("exec", "web", "true"),
    ("info",),
    ("rm", "-f", "c1"),
    ("network", "rm", "n1"),
)


@pytest.mark.parametrize("name", ["netd", "runtime"])
@pytest.mark.parametrize("left", [0, 2, 5])
def test_a_daemon_without_descriptors_refuses_and_recovers(installation, name, left):
    installation.netctl("network", "create", "n0")
    installation.netctl("network", "rm", "n0")
    process = installation.processes[name]
    before_links = links(installation)
    lowest = next(number for number in range(4096) if not os.path.exists(f"/proc/{process.pid}/fd/{number}"))
    before = limit(process.pid, lowest + left)
    refusals = [ask(installation, *words) for words in CALLS]
    limit(process.pid, before)
    assert process.poll() is None, installation.log(name)
    assert any(refusals) or left > 4
    assert all(
        "descriptor" in told or "open files" in told or "not found" in told or "o such" in told
        for told in refusals
        if told
    ), (
        refusals,
        installation.log(name),
    )
    for words in (("rm", "-f", "c1"), ("network", "rm", "n1")):
        ask(installation, *words)
    for words in CALLS:
        installation.netctl(*words)
    assert installation.netctl("exec", "web", "echo", "alive").stdout == "alive\n"
    wait_until(lambda: links(installation) == before_links)


def links(installation):
    """Return the host's links without retired ones."""
    lines = installation.on_host("ip", "-o", "link").stdout.splitlines()
    return [name for line in lines if not (name := line.split(": ")[1].split("@")[0]).startswith("ndx")]


def test_containers_keep_the_limit_that_the_daemon_was_started_with(installation):
    """The daemons raise their limit; with it, programs that close all possible descriptors would take minutes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    installation.kill("runtime", signal.SIGTERM)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, hard))
    try:
        installation.start("runtime")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(installation.processes["runtime"].pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert installation.netctl("run", "--rm", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn").stdout.split() == [
        "1000",
        str(hard),
    ]
    assert installation.netctl("exec", "web", "sh", "-c", "ulimit -Sn").stdout == "1000\n"
    chosen = installation.netctl("run", "--rm", "--ulimit", "nofile=77:88", "busybox", "sh", "-c", "ulimit -Sn").stdout
    assert chosen == "77\n"
