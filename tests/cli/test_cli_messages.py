"""Errors of netctl quote files and daemons: the terminal gets none of their control characters."""

import pytest

from netd.cli.errors import for_terminal

HOSTILE = "title \x1b]0;x\x07, clear \x1b[2J, C1 \x9b31m, back \b\r, direction \u202e"


def test_control_characters_are_escaped_except_line_breaks_and_tabs():
    shown = for_terminal(f"a\tb\nc {HOSTILE}")
    assert shown.startswith("a\tb\nc title \\x1b]0;x\\x07, clear ")
    assert all(c.isprintable() or c in "\n\t" for c in shown)


def test_a_long_message_loses_its_middle():
    shown = for_terminal("first" + "x" * 100_000 + "last")
    assert len(shown) < 5_000 and shown.startswith("first") and shown.endswith("last")


@pytest.mark.parametrize(
    "files",
    [
        {"compose.yaml": 'services:\n  a:\n    image: x\n    "\\e]0;x\\a\\e[2J": 1\n'},
        {"compose.yaml": "services:\n  a:\n    image: x\n    env_file: e\n", "e": "\x1b[2J!\n"},
        {"compose.yaml": "services:\n  a:\n    image: x\n    mem_limit: " + "9" * 50_000},
    ],
)
def test_what_a_hostile_project_says_reaches_the_terminal_escaped(files, tmp_path, netctl):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    done = netctl("compose", "-f", str(tmp_path / "compose.yaml"), "config")
    assert done.code == 1 and done.err.startswith("netctl: ") and len(done.err) < 5_000
    assert all(c.isprintable() or c == "\n" for c in done.err)


def test_what_a_daemon_says_reaches_the_terminal_escaped(peer, netctl):
    peer.on("GET", "/networks", (500, {"message": HOSTILE}))
    done = netctl("network", "ls")
    assert done.code == 1 and "\\x1b]0;x\\x07" in done.err and "\x1b" not in done.err
