"""Page with the result: reads the counts from PostgreSQL; the browser requests them again every second."""

import html
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

OPTIONS = {"a": os.environ.get("OPTION_A", "Cats"), "b": os.environ.get("OPTION_B", "Dogs")}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{a} or {b}: the result</title>
<style>body {{ font: 2rem sans-serif; text-align: center; margin-top: 15vh }}
b {{ font-size: 4rem; display: block }} div {{ display: inline-block; margin: 1rem 3rem }}</style>
<h1>The result so far</h1>
<div><b id="a">{count_a}</b>{a}</div><div><b id="b">{count_b}</b>{b}</div>
<script>
setInterval(async () => {{
  const counts = await (await fetch("counts")).json();
  for (const name of ["a", "b"]) document.getElementById(name).textContent = counts[name];
}}, 1000);
</script>
</html>
"""


def counts() -> dict[str, int]:
    """Return the number of votes for each option.  Raises psycopg2.Error if the database is not available."""
    database = psycopg2.connect(connect_timeout=5)
    try:
        with database.cursor() as cursor:
            cursor.execute("SELECT vote, count(*) FROM votes GROUP BY vote")
            return dict.fromkeys(OPTIONS, 0) | dict(cursor.fetchall())
    except psycopg2.errors.UndefinedTable:
        return dict.fromkeys(OPTIONS, 0)
    finally:
        database.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            found = counts()
        except psycopg2.Error as error:
            self.answer(503, f"the votes cannot be read: {error}\n", "text/plain")
            return
        if self.path == "/counts":
            self.answer(200, json.dumps(found), "application/json")
            return
        words = {name: html.escape(text) for name, text in OPTIONS.items()}
        page = PAGE.format(**words, count_a=found["a"], count_b=found["b"])
        self.answer(200, page, "text/html; charset=utf-8")

    def answer(self, status: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("", 80), Handler).serve_forever()
