"""``develop.watch``: which changes are whose, what the watcher sees, and what happens in containers."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from netd.cli.compose.watching import watch_rules
from netd.cli.compose.watching.tree_watcher import TreeWatcher
from netd.cli.errors import Fault
from netd.compose.model import (
    BuildSettings,
    ComposeProject,
    ComposeService,
    DevelopSettings,
    ServiceVolume,
    WatchCommand,
)
from netd.compose.model import WatchRule as Written
from netd.path_patterns import compile_all
from tests.installation import running_installation


def rules_of(*written, build=None, volumes=(), ignored=(), warn=lambda text: None):
    service = ComposeService(develop=DevelopSettings(watch=list(written)), build=build, volumes=list(volumes))
    project = ComposeProject(name="p", services={"web": service})
    return watch_rules.rules_of(project, ["web"], lambda _: ("/ctx", compile_all(ignored)), warn)


def test_patterns_are_relative_to_the_path_of_the_rule():
    (rule,) = rules_of(
        Written(path="/ctx/src", action="sync", target="/app", ignore=["*.tmp", "deps/"], include=["**/*.py", "*.tmp"]),
        ignored=["src/secret.py"],
    )
    wanted = {"/ctx/src/a.py": True, "/ctx/src/sub/b.py": True, "/ctx/src/c.txt": False, "/ctx/src/d.tmp": False}
    wanted |= {"/ctx/src/deps/e.py": False, "/ctx/src/secret.py": False, "/ctx/other/a.py": False}
    wanted |= {"/ctx/src/.git/x.py": False, "/ctx/src/.a.py.swp": False, "/ctx/src2/a.py": False}
    assert {path: rule.matches(path) for path in wanted} == wanted
    assert rule.place("/ctx/src/sub/b.py") == "/app/sub/b.py"
    assert rule.skips("/ctx/src/deps") and rule.skips("/ctx/other") and not rule.skips("/ctx/src/sub")
    assert not rule.skips("/ctx"), "the folders above have to be watched for the path to appear"


def test_a_batch_asks_for_each_action_once():
    found = rules_of(
        Written(path="/s", action="sync", target="/app"),
        Written(path="/c", action="sync+restart", target="/conf/"),
        Written(path="/x", action="sync+exec", target="/x", exec=WatchCommand(command=["true"])),
        Written(path="/r", action="restart"),
    )
    wanted = watch_rules.actions(found, ["/s/a", "/s/b", "/c/d", "/x", "/r/e", "/r/f"])
    assert wanted.sync == {"web": {"/app/a": "/s/a", "/app/b": "/s/b", "/conf/d": "/c/d", "/x": "/x"}}
    assert (list(wanted.restart), [rule.path for rule in wanted.execute], list(wanted.rebuild)) == (["web"], ["/x"], [])
    rebuilt = rules_of(
        Written(path="/r", action="rebuild"), Written(path="/r", action="restart"), build=BuildSettings()
    )
    wanted = watch_rules.actions(rebuilt, ["/r/e"])
    assert (list(wanted.rebuild), list(wanted.restart)) == (["web"], [])
    assert not watch_rules.actions(rebuilt, ["/elsewhere"])


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (Written(path="/a", action="rebuild"), "has no build section"),
        (Written(path="/a", action="sync"), "needs a target"),
        (Written(path="/a", action="sync+exec", target="/b"), "needs a command"),
        (Written(path="/a", action="sync", target="/b", ignore=["[a"]), "that is not closed"),
    ],
)
def test_a_rule_that_cannot_be_applied_is_refused_with_its_place(written, said):
    with pytest.raises(Fault, match=said) as fault:
        rules_of(written)
    assert str(fault.value).startswith("services.web.develop.watch[0]: ")


def test_a_path_that_is_mounted_is_not_watched():
    warnings = []
    mount = ServiceVolume(type="bind", source="/s", target="/app")
    with pytest.raises(Fault, match="none of the selected services is configured for watch"):
        rules_of(Written(path="/s/x", action="sync", target="/app"), volumes=[mount], warn=warnings.append)
    assert "by the mount of /s" in warnings[0]


def test_the_watcher_sees_new_folders_replaced_files_and_paths_that_appear_later(tmp_path):
    top, late = tmp_path / "top", tmp_path / "late"
    (top / "skipped").mkdir(parents=True)
    (top / "moved").mkdir()
    skips = {str(top / "skipped")}
    watcher = TreeWatcher([str(top), str(late)], skips.__contains__, lambda path: path.startswith(str(tmp_path)))

    def changed(wanted):
        """Return the changed names once *wanted* are among them; batches may be divided under load."""
        found = set()
        while not wanted <= found:
            found |= {os.path.relpath(path, tmp_path) for path in watcher.batch(poll)}
        return found

    def poll(fd, milliseconds):
        import select

        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        waiting.poll(milliseconds)

    try:
        (top / "new" / "deep").mkdir(parents=True)
        (top / "new" / "deep" / "file").write_text("1")
        (top / "skipped" / "file").write_text("1")
        assert not any("skipped" in name for name in changed({"top/new", "top/new/deep", "top/new/deep/file"}))
        (top / "new" / "deep" / "file").unlink()
        assert "top/new/deep/file" in changed({"top/new/deep/file"})
        os.rename(top / "moved", tmp_path / "elsewhere")
        changed({"top/moved"})
        (tmp_path / "elsewhere" / "file").write_text("1")
        late.mkdir()
        (late / "file").write_text("1")
        assert not any("moved" in name for name in changed({"late", "late/file"}))
    finally:
        watcher.close()


def test_the_number_of_watched_folders_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("netd.cli.compose.watching.tree_watcher.MOST_FOLDERS", 3)
    for name in "abcd":
        (tmp_path / "top" / name).mkdir(parents=True)
    with pytest.raises(Fault, match="more than 3 folders would be watched: ignore some"):
        TreeWatcher([str(tmp_path / "top")], lambda folder: False, lambda path: True)


@pytest.fixture(scope="module")
def host():
    with running_installation() as made:
        yield made


class Watching:
    """A call of compose that prints lines until it is interrupted."""

    def __init__(self, host, folder, *words):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "netd.cli.main", "compose", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NETD_RUN_DIR": str(host.run), "PYTHONPATH": os.getcwd()},
        )
        self._watchdog = threading.Timer(60, self._process.kill)
        self._watchdog.start()
        self.lines = []

    def until(self, *texts):
        """Read lines until each of *texts* was in one of those that were read."""
        missing = set(texts)
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            missing = {text for text in missing if text not in line}
            if not missing:
                return
        raise AssertionError(f"{missing} was not printed: {self.lines}")

    def interrupt(self):
        self._process.send_signal(signal.SIGINT)
        rest = self._process.communicate()[0]
        self._watchdog.cancel()
        self.lines += rest.splitlines()
        return self._process.returncode


def write_project(folder, watch):
    (folder / "src").mkdir()
    (folder / "src" / "first").write_text("1")
    (folder / "Dockerfile").write_text("FROM busybox\nRUN mkdir -p /app && echo one > /version\n")
    service = {
        "build": ".",
        "command": ["sh", "-c", "cat /version; exec sleep 1000"],
        "stop_grace_period": "0s",
        "develop": {"watch": watch},
    }
    (folder / "compose.yaml").write_text(json.dumps({"services": {"web": service}}))


def test_watch_copies_deletes_executes_restarts_and_rebuilds(host, tmp_path):
    folder = tmp_path / "watching"
    folder.mkdir()
    command = {"command": ["sh", "-c", "echo ran with $$(cat /ran)"]}
    write_project(
        folder,
        [
            {"path": "src", "action": "sync", "target": "/app", "ignore": ["*.tmp"], "initial_sync": True},
            {"path": "ran", "action": "sync+exec", "target": "/ran", "exec": command},
            {"path": "again", "action": "sync+restart", "target": "/again"},
            {"path": "Dockerfile", "action": "rebuild"},
        ],
    )
    (folder / "src" / "ignored.tmp").write_text("1")

    def listed():
        return host.netctl("exec", "watching-web-1", "ls", "/app").stdout.split()

    watching = Watching(host, folder, "watch", "--quiet")
    watching.until("Watch enabled")
    assert listed() == ["first"]
    (folder / "src" / "second").write_text("2")
    os.unlink(folder / "src" / "first")
    (folder / "ran").write_text("5")
    watching.until("ran with 5")
    assert listed() == ["second"]
    before = host.inspect("watching-web-1")
    (folder / "again").write_text("1")
    watching.until('service(s) ["web"] restarted')
    assert host.inspect("watching-web-1")["State"]["StartedAt"] != before["State"]["StartedAt"]
    (folder / "Dockerfile").write_text("FROM busybox\nRUN mkdir -p /app && echo two > /version\n")
    watching.until("web-1  Started")
    after = host.inspect("watching-web-1")
    assert after["Id"] != before["Id"] and after["Image"] != before["Image"]
    assert host.netctl("exec", "watching-web-1", "cat", "/version").stdout == "two\n"
    assert watching.interrupt() == 130
    assert host.inspect("watching-web-1")["State"]["Running"]
    gone = host.netctl("image", "inspect", before["Image"], check=False)
    assert gone.returncode == 1, "the image that was replaced is removed"
    host.netctl("compose", "down", "-t", "0", cwd=folder)


def test_up_with_watch_shows_the_output_of_the_container_that_replaces_another(host, tmp_path):
    folder = tmp_path / "attached"
    folder.mkdir()
    write_project(folder, [{"path": "Dockerfile", "action": "rebuild"}])
    attached = Watching(host, folder, "up", "--watch")
    attached.until("Watch enabled", "web-1  | one")
    (folder / "Dockerfile").write_text("FROM busybox\nRUN echo two > /version\n")
    attached.until("web-1  | two")
    assert attached.interrupt() == 130
    assert "web-1  Stopped" in "\n".join(attached.lines)
    assert not host.inspect("attached-web-1")["State"]["Running"]
    refused = host.netctl("compose", "up", "--watch", "-d", cwd=folder, check=False)
    assert (refused.returncode, "--watch and --detach are incompatible" in refused.stderr) == (125, True)
    host.netctl("compose", "down", "-t", "0", cwd=folder)
