"""Headless Chromium (Debian's package chromium-headless-shell), driven by the DevTools protocol over a websocket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = "chromium-headless-shell"
_LISTENING = re.compile(rb"DevTools listening on (ws://\S+)")


class Tab:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: str) -> None:
        self._socket = socket
        self._session = session
        self._number = 0
        self.problems: list[str] = []
        """Messages of the console and uncaught exceptions."""

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        body = {"id": self._number, "method": method, "params": params}
        await self._socket.send_json(body | ({"sessionId": self._session} if self._session else {}))
        while True:
            message = await self._socket.receive_json(timeout=30)
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(params["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def run(self, script: str) -> Any:
        """Evaluate an expression in the page; promises are awaited."""
        found = await self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, condition: str, seconds: float = 20) -> Any:
        """Return the value of an expression as soon as it is true."""
        end = f"Date.now() + {int(seconds * 1000)}"
        return await self.run(
            f"new Promise((done, fail) => {{ const end = {end}; const look = () => {{ const found = ({condition});"
            f" if (found) done(found); else if (Date.now() > end) fail(new Error({condition!r}));"
            " else setTimeout(look, 20); }; look(); })"
        )

    async def open(self, url: str) -> None:
        """Open an address and wait until the page has drawn its picture."""
        await self.command("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def key(self, name: str, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            extra = {"text": text} if text and kind == "keyDown" else {}
            codes = {
                "Enter": 13,
                "Escape": 27,
                "Tab": 9,
                "ArrowDown": 40,
                "ArrowRight": 39,
                "ArrowUp": 38,
                "ArrowLeft": 37,
            }
            code = {"windowsVirtualKeyCode": codes[name]} if name in codes else {}
            await self.command("Input.dispatchKeyEvent", type=kind, key=name, code=name, **extra, **code)

    async def point(self, selector: str, click: bool = False) -> None:
        """Move the pointer to the middle of the first element, and click it."""
        await self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center'}})")
        x, y = await self.run(
            f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        kinds = ("mouseMoved", "mousePressed", "mouseReleased") if click else ("mouseMoved",)
        for kind in kinds:
            await self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def look(self, width: int, height: int, dark: bool = False) -> None:
        """Set the size of the window and the preferred colours."""
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.command("Emulation.setEmulatedMedia", features=features)
        await self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")

    async def screenshot(self, path: Path) -> None:
        found = await self.command("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.asynccontextmanager
async def browser(within: tuple[str, ...] = ()) -> AsyncIterator[Tab]:
    """Yield a tab of a new browser; *within* is the prefix of a command that runs it in another network namespace."""
    profile = tempfile.mkdtemp(prefix="ndt-chromium-")
    words = [*within, PROGRAM, "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--hide-scrollbars"]
    words += ["--remote-allow-origins=*", f"--user-data-dir={profile}", "about:blank"]
    process = await asyncio.create_subprocess_exec(
        *words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stderr is not None
        address = b""
        while not address:
            line = await asyncio.wait_for(process.stderr.readline(), 30)
            assert line, "Chromium ended"
            if found := _LISTENING.search(line):
                address = found[1]
        drain = asyncio.create_task(process.stderr.read())
        async with aiohttp.ClientSession() as http, http.ws_connect(address.decode(), max_msg_size=0) as socket:
            root = Tab(socket, "")
            target = (await root.command("Target.createTarget", url="about:blank"))["targetId"]
            session = (await root.command("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
            tab = Tab(socket, session)
            for domain in ("Page", "Runtime", "Log"):
                await tab.command(f"{domain}.enable")
            yield tab
        drain.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            # Its helper processes hold its standard error, for whose end asyncio waits.
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)
