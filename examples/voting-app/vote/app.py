"""Page with two buttons.  Appends every vote to a list in Redis, from which the worker reads it."""

import html
import json
import os
import secrets
import signal
import socket
import sys
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import redis

OPTIONS = {"a": os.environ.get("OPTION_A", "Cats"), "b": os.environ.get("OPTION_B", "Dogs")}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{a} or {b}?</title>
<style>body {{ font: 2rem sans-serif; text-align: center; margin-top: 15vh }}
button {{ font: inherit; padding: 1rem 3rem; margin: 1rem }} button.chosen {{ background: #2a7; color: #fff }}
small {{ font-size: 1rem; color: #777 }}</style>
<h1>{a} or {b}?</h1>
<form method="post">
<button name="vote" value="a" class="{chosen_a}">{a}</button>
<button name="vote" value="b" class="{chosen_b}">{b}</button>
</form>
<p><small>answered by container {host}</small></p>
</html>
"""
QUEUE = redis.Redis(host="redis", socket_timeout=5, socket_connect_timeout=5)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.show(self.voter(), "")

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        choice = form.get("vote", [""])[0]
        if choice not in OPTIONS:
            self.answer(400, "vote must be a or b\n")
            return
        voter = self.voter()
        try:
            QUEUE.rpush("votes", json.dumps({"voter": voter, "vote": choice}))
        except redis.RedisError as error:
            self.answer(503, f"the vote could not be stored: {error}\n")
            return
        self.show(voter, choice)

    def voter(self) -> str:
        """Return the id of the browser from its cookie, or a new id; each browser has one vote."""
        cookie = SimpleCookie(self.headers.get("Cookie", "")).get("voter")
        return cookie.value if cookie else secrets.token_hex(8)

    def show(self, voter: str, choice: str) -> None:
        words = {name: html.escape(text) for name, text in OPTIONS.items()}
        chosen = {f"chosen_{name}": "chosen" if name == choice else "" for name in OPTIONS}
        page = PAGE.format(**words, **chosen, host=socket.gethostname())
        self.answer(200, page, "text/html; charset=utf-8", f"voter={voter}; HttpOnly; SameSite=Lax")

    def answer(self, status: int, text: str, kind: str = "text/plain", cookie: str = "") -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("", 80), Handler).serve_forever()
