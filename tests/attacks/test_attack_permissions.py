"""Other users cannot enter STATE, whatever modes and umask the daemons are started with."""

import os
import stat
import subprocess

import pytest

from netd.common import folders
from netd.common.config import Settings
from netd.common.errors import Conflict
from tests.installation import Installation

NOBODY = 65534


@pytest.fixture
def installation():
    place = Installation()
    place.root.chmod(0o755)
    yield place
    place.destroy()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def as_nobody(*words):
    """Run a command as an unprivileged user; return whether it succeeded."""
    try:
        done = subprocess.run(words, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False)
    except PermissionError:
        return False
    return done.returncode == 0


def test_a_set_user_id_program_in_a_volume_is_out_of_reach_for_local_users(installation):
    installation.state.mkdir(mode=0o755)
    installation.start()
    installation.load_busybox()
    installation.netctl(
        "run", "--rm", "-v", "loot:/loot", "busybox", "sh", "-c", "cp /bin/busybox /loot/su; chmod 4755 /loot/su"
    )
    program = installation.state / "volumes/loot/_data/su"
    assert mode(program) == 0o4755
    assert as_nobody("test", "-x", installation.root) and not as_nobody(program, "true")
    installation.stop()
    for folder in (
        installation.state,
        installation.state / "volumes",
        installation.state / "layers",
        installation.run / "shims",
    ):
        folder.chmod(0o777)
    installation.start("netd")
    assert not as_nobody(program, "true")
    installation.start("runtime")
    assert [mode(installation.state / name) for name in (".", "volumes", "layers", "tmp")] == [
        0o710,
        0o710,
        0o700,
        0o700,
    ]
    assert [mode(installation.run / name) for name in (".", "shims", "netns", "sandboxes")] == [
        0o755,
        0o700,
        0o700,
        0o700,
    ]
    assert {mode(path) & 0o077 for path in installation.state.glob("*.db*")} == {0}


def test_the_umask_that_daemons_are_started_with_does_not_reach_containers(installation):
    before = os.umask(0o077)
    try:
        installation.start()
    finally:
        os.umask(before)
    installation.load_busybox()
    source = installation.root / "made/by/daemon"
    shown = installation.netctl(
        "run", "--rm", "-v", f"{source}:/x", "busybox", "stat", "-c", "%a", "/etc/hosts", "/etc/resolv.conf"
    )
    assert shown.stdout.split() == ["644", "644"]
    assert [mode(path) for path in (source, source.parent, installation.run)] == [0o755] * 3
    assert as_nobody("test", "-e", installation.run / "docker.sock")


def stranger(path):
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path


def link(path):
    path.with_name("real").mkdir()
    path.symlink_to(path.with_name("real"))
    return path


def open_to_all(path):
    path.mkdir()
    path.chmod(0o777)
    return path / "state"


def file(path):
    path.touch()
    return path


@pytest.mark.parametrize(
    ("prepared", "fault"),
    [
        (stranger, "belongs to user 65534"),
        (lambda path: stranger(path) / "state", "belongs to user 65534"),
        (link, "symbolic link"),
        (open_to_all, "sticky"),
        (file, "no folder"),
    ],
)
def test_a_folder_that_another_user_controls_is_refused(tmp_path, prepared, fault):
    path = prepared(tmp_path / "given")
    before = os.umask(0o022)
    try:
        for settings in (
            Settings(state_dir=path, run_dir=tmp_path / "r"),
            Settings(state_dir=tmp_path / "s", run_dir=path),
        ):
            with pytest.raises(Conflict, match=fault):
                folders.prepare(settings)
    finally:
        os.umask(before)
