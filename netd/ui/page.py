"""The page as one HTML document: from netd, live; or with a topology in it, as a file that needs no server.  Pure.

Scripts and style are inline and known to the Content-Security-Policy by their hashes, so no other script can run.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from pathlib import Path

_FOLDER = Path(__file__).parent / "files"
SCRIPTS = ("texts.js", "model.js", "layout.js", "picture.js", "panel.js", "keys.js", "live.js", "main.js")
"""In the order in which they run; each may use the constants of those before it."""
_STYLE = "style.css"
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


@cache
def live() -> str:
    """Return the document that follows netd's stream."""
    return _document("", "")


def snapshot(topology: str) -> str:
    """Return the document with *topology*, a text in JSON, which no element of HTML can end."""
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(_policy("none"))}">'
    return _document(meta, f'<script type="application/json" id="data">{topology.translate(_UNSAFE)}</script>')


@cache
def headers() -> dict[str, str]:
    """Return the headers of the live document: nothing else may be loaded, and no other page may embed or read it."""
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": f"{_policy('self')}; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def text(name: str) -> str:
    """Return the text of a file of the page."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def _policy(connect: str) -> str:
    scripts = " ".join(_hash(text(name)) for name in SCRIPTS)
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_hash(text(_STYLE))}; connect-src '{connect}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _document(meta: str, data: str) -> str:
    scripts = "\n".join(f"<script>{text(name)}</script>" for name in SCRIPTS)
    document = text("page.html")
    for mark, value in (("meta", meta), ("style", f"<style>{text(_STYLE)}</style>"), ("scripts", scripts)):
        document = document.replace(f"<!-- {mark} -->", value)
    before, _, after = document.partition("<!-- data -->")
    return before + data + after


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
