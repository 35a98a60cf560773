"""Paths of the repository that the pages name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for pattern in ("*.md", "docs/*.md", "examples/*/*.md", "tests/*/*.md") for page in ROOT.glob(pattern)
)
_PATH = re.compile(r"(?<![\w/.~-])(?:netd|runtime|tests|tools|docs|examples)/[\w./-]*\w")


def missing(text):
    named = set(_PATH.findall(text))
    return sorted(name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page):
    assert missing(page.read_text()) == []


def test_a_path_that_does_not_exist_is_found():
    assert missing("see `netd/facts.py`, `netd/engine/turns.py` and /etc/netd/netd.toml") == ["netd/engine/turns.py"]
