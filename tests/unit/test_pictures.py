"""Links and pictures of the documentation: pictures are small, well-formed, and load nothing from elsewhere."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "docs/pictures").iterdir())
PAGES = sorted(page for pattern in ("*.md", "docs/*.md", "examples/*/*.md") for page in ROOT.glob(pattern))
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_links_exist(page):
    assert [link for link in _LINK.findall(page.read_text()) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_a_picture_is_linked_and_small(picture):
    assert any(f"(docs/pictures/{picture.name})" in page.read_text() for page in PAGES)
    assert picture.stat().st_size < 200_000


@pytest.mark.parametrize("picture", [p for p in PICTURES if p.suffix == ".svg"], ids=lambda picture: picture.name)
def test_a_drawing_has_text_as_text_and_no_references_to_other_files(picture):
    text = picture.read_text()
    root = ElementTree.fromstring(text)
    assert sum(element.tag.endswith("}text") for element in root.iter()) > 10
    assert not re.search(r"href=|@import|@font-face|<script|url\((?!#)|(?<!xmlns=\")https?://", text)
    assert root.attrib["role"] == "img" and "viewBox" in root.attrib


def test_the_index_names_every_page():
    index = set(_LINK.findall((ROOT / "docs/README.md").read_text()))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= index
