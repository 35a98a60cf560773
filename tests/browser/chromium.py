"""Headless Chromium (Debian's package chromium-headless-shell), driven by the DevTools protocol over pipes.

Pipes work from any network namespace.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

PROGRAM = "chromium-headless-shell"
_MOST = 64 << 20
"""Bytes of the longest message: a screenshot."""


class Pipes:
    """Messages of the protocol, each ended by a zero byte."""

    def __init__(self, reader: asyncio.StreamReader, out: BinaryIO) -> None:
        self._reader = reader
        self._out = out

    def send(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message).encode() + b"\0")

    async def receive(self) -> dict[str, Any]:
        data = await asyncio.wait_for(self._reader.readuntil(b"\0"), 30)
        return json.loads(data[:-1])


class Tab:
    """One page of the browser."""

    def __init__(self, pipes: Pipes, session: str) -> None:
        self._pipes = pipes
        self._session = session
        self._number = 0
        self.problems: list[str] = []
        """Messages of the console and uncaught exceptions."""

    async def command(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        body = {"id": self._number, "method": method, "params": params}
        self._pipes.send(body | ({"sessionId": self._session} if self._session else {}))
        while True:
            message = await self._pipes.receive()
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
    (its_in, our_out), (our_in, its_out) = os.pipe(), os.pipe()
    # The browser reads descriptor 3 and writes descriptor 4.
    words = ["bash", "-c", f'exec "$@" 3<&{its_in} 4>&{its_out}', "bash", *within, PROGRAM, "--no-sandbox"]
    words += ["--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars", f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=(its_in, its_out), start_new_session=True
    )
    os.close(its_in)
    os.close(its_out)
    reader = asyncio.StreamReader(limit=_MOST)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(our_in, "rb", buffering=0)
    )
    try:
        with os.fdopen(our_out, "wb", buffering=0) as out:
            pipes = Pipes(reader, out)
            root = Tab(pipes, "")
            target = (await root.command("Target.createTarget", url="about:blank"))["targetId"]
            session = (await root.command("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
            tab = Tab(pipes, session)
            for domain in ("Page", "Runtime", "Log"):
                await tab.command(f"{domain}.enable")
            yield tab
    finally:
        transport.close()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(profile, ignore_errors=True)
