"""Detection of state folders that were in use."""

from netd.common.folders import any_content


def test_only_what_a_daemon_put_there_shows_that_a_folder_was_in_use(tmp_path):
    disk, used = tmp_path / "disk", tmp_path / "used"
    (disk / "lost+found").mkdir(parents=True)
    assert not any_content(tmp_path / "absent", disk)
    (used / "layer").mkdir(parents=True)
    assert any_content(disk, used)
