"""Edits of a running container's hosts file keep the lines that its user wrote."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.engine.containers.etc_files import rewrite_hosts, with_line_changes

BEFORE = "127.0.0.1\tlocalhost\n10.0.0.2\tfoo\n"
AFTER = "127.0.0.1\tlocalhost\n10.0.0.2\tfoo\n10.1.0.2\tfoo\n"


@pytest.fixture
def edit(tmp_path):
    own = SimpleNamespace(hosts=tmp_path / "hosts")

    def run(text: bytes, before: str, after: str) -> bytes:
        own.hosts.write_bytes(text)
        number = os.stat(own.hosts).st_ino
        rewrite_hosts(own, before, after)
        assert os.stat(own.hosts).st_ino == number, "the file is bind-mounted, so its inode must not change"
        return own.hosts.read_bytes()

    return run


def test_an_untouched_file_becomes_what_it_should_be(edit):
    assert edit(BEFORE.encode(), BEFORE, AFTER) == AFTER.encode()
    assert edit(AFTER.encode(), AFTER, BEFORE) == BEFORE.encode()


def test_lines_of_users_are_kept_and_only_netds_lines_change(edit):
    mine = b"# \xff mine\n" + BEFORE.encode() + b"9.9.9.9 nine\n\n127.0.0.1\tlocalhost"
    joined = edit(mine, BEFORE, AFTER)
    assert joined == mine + b"\n10.1.0.2\tfoo\n"
    assert edit(joined, AFTER, BEFORE) == mine + b"\n"


def test_a_line_that_the_user_removed_is_no_error(edit):
    assert edit(b"1.1.1.1 x\n", AFTER, BEFORE) == b"1.1.1.1 x\n"


lines = st.lists(st.sampled_from("abcdef"), max_size=6)


@given(lines, lines, lines)
def test_connecting_and_disconnecting_leaves_the_users_lines(mine, before, joined):
    text, old, new = (
        "".join(f"{line}\n" for line in lines) for lines in ([*before, *mine], before, [*before, *joined])
    )
    there = with_line_changes(text, old, new)
    assert sorted(there.split()) == sorted([*before, *mine, *joined])
    assert sorted(with_line_changes(there, new, old).split()) == sorted(text.split())
