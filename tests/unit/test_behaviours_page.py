"""docs/docker-behaviours.md lists every behaviour once, and names only tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/docker-behaviours.md").read_text()


def names_of_tests():
    texts = (path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return {name for text in texts for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)}


def test_every_behaviour_has_its_row():
    rows = re.findall(r"^\| (\d+) \| .+ \| (as Docker|differs)\b", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 101))


def test_every_test_that_is_named_is_there():
    assert set(re.findall(r"`(test_\w+)`", PAGE)) - names_of_tests() == set()
