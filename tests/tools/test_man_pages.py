"""The manual pages: each verb and flag is in its page, and groff(1) renders all of them without a warning."""

from __future__ import annotations

import subprocess
import sys

import pytest

from netd.cli.index import ALIASES, VERBS
from netd.cli.main import load
from netd.common.config import definitions
from tests.tools.conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import man_pages

PAGES = man_pages.pages()
SHOWN = [name for name in VERBS if not name.startswith("__")]


def plain(page: str) -> str:
    """Return a page without escapes, as a reader sees its words."""
    for escape, text in ((r"\-", "-"), (r"\(aq", "'"), (r"\e", "\\"), (r"\fB", ""), (r"\fI", ""), (r"\fR", "")):
        page = page.replace(escape, text)
    return page


@pytest.mark.parametrize("verb", SHOWN)
def test_each_flag_of_a_verb_is_in_its_page(verb):
    page = plain(PAGES[f"man1/netctl-{verb.replace(' ', '-')}.1"])
    assert f"netctl {verb}" in page and f"\n{VERBS[verb][1]}.\n" in page
    for flag in load(verb).flags:
        assert f"--{flag.name}" in page and (not flag.short or f"-{flag.short}, --{flag.name}" in page)
    assert f"\n{verb}\n" in plain(PAGES["man1/netctl.1"])


def test_the_daemons_their_settings_and_all_aliases_have_pages():
    for program in ("netd", "netd-runtime"):
        assert {"--config", "--print-config", "--log-level"} <= set(plain(PAGES[f"man8/{program}.8"]).split())
    settings = plain(PAGES["man5/netd.toml.5"])
    assert all(f"\n{name}\n" in settings for name in definitions())
    for alias, verb in ALIASES.items():
        page = PAGES[f"man1/netctl-{alias.replace(' ', '-')}.1"]
        assert page == f".so man1/netctl-{verb.replace(' ', '-')}.1\n"


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        (".TP is no request", r"\&.TP is no request"),
        ("'quoted' and `code`", r"\(aqquoted\(aq and \(gacode\(ga"),
        ("a\\nb -x ~ ^", r"a\enb \-x \(ti \(ha"),
        ('say "…"', r"say \(dq\[u2026]\(dq"),
    ],
)
def test_special_characters_are_escaped(text, roff):
    assert man_pages.escaped(text) == roff


def test_groff_renders_every_page_without_a_warning(tmp_path):
    man_pages.write(tmp_path)
    files = sorted(str(path) for path in tmp_path.rglob("*.[158]") if not path.read_text().startswith(".so"))
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", *files], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "NETCTL-NETWORK-CREATE(1)" in done.stdout and "…" in done.stdout
