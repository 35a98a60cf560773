"""What shows that a folder of the state was in use."""

from netd.common.folders import hold_anything


def test_only_what_a_daemon_put_there_shows_that_a_folder_was_in_use(tmp_path):
    disk, used = tmp_path / "disk", tmp_path / "used"
    (disk / "lost+found").mkdir(parents=True)
    assert not hold_anything(tmp_path / "absent", disk)
    (used / "layer").mkdir(parents=True)
    assert hold_anything(disk, used)
