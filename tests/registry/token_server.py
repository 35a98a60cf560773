"""A token server for docker-registry: GET with Basic, and OAuth2 with a refresh token.

Grants everything to the user, and ``pull`` of repositories below ``public/`` to all; signs with the authority's key.
Writes a line for each request to ``requests`` in its folder.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.registry.servers import PASSWORD, USER

REFRESH = "refresh-token-of-the-tests"


class Handler(BaseHTTPRequestHandler):
    keys: Path
    folder: Path

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        given = self.headers.get("Authorization", "")
        if given and given != _basic():
            return self._send(401, {"details": "incorrect username or password"})
        answer = self._grant(query.get("scope", []), bool(given), query["service"][0])
        if given and query.get("offline_token"):
            answer["refresh_token"] = REFRESH
        return self._send(200, answer)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form.get("grant_type") != ["refresh_token"] or form.get("refresh_token") != [REFRESH]:
            return self._send(401, {"errors": [{"code": "UNAUTHORIZED", "message": "the refresh token is invalid"}]})
        answer = self._grant(form.get("scope", [""])[0].split(), True, form["service"][0])
        return self._send(200, {"access_token": answer["token"], "expires_in": 300})

    def _grant(self, scopes: list[str], known: bool, service: str) -> dict:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = [action for action in actions.split(",") if known or (action, name[:7]) == ("pull", "public/")]
            if granted:
                access.append({"type": kind, "name": name, "actions": granted})
        with (self.folder / "requests").open("a") as log:
            log.write(f"{self.command} {' '.join(scopes)}\n")
        return {"token": self._token(access, service), "expires_in": 300}

    def _token(self, access: list[dict], service: str) -> str:
        der = subprocess.run(
            ["openssl", "x509", "-in", self.keys / "ca.crt", "-outform", "DER"], capture_output=True, check=True
        ).stdout
        head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        claims = {
            "iss": "tests", "sub": USER, "aud": service, "exp": now + 300, "nbf": now - 10, "iat": now,
            "jti": str(time.monotonic_ns()), "access": access,
        }  # fmt: skip
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, claims))
        signature = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self.keys / "ca.key"],
            input=signed.encode(),
            capture_output=True,
            check=True,
        ).stdout
        return f"{signed}.{_encoded(signature)}"

    def _send(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _basic() -> str:
    return f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


if __name__ == "__main__":
    Handler.keys, Handler.folder = Path(sys.argv[2]), Path(sys.argv[3])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
