"""Pictures of a real installation: a terminal session as SVG, and a screenshot of the page."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.chromium import browser  # noqa: E402
from tests.installation import Installation, running_installation  # noqa: E402

PICTURES = ROOT / "docs/pictures"
ADDRESS = "127.0.0.1:9752"
SESSION = (
    "netctl network create --subnet 172.30.0.0/16 shop",
    "netctl run -d --name web --network shop -p 8000:80 busybox httpd -f -p 80 -h /etc",
    "netctl run -d --name db --network shop busybox sleep 10000",
    "netctl run --rm --network shop busybox ping -c 1 web",
    "netctl port add web 8443:443",
    "netctl run -d -p 8000:80 busybox sleep 10",
    "netctl graph shop",
)
FURTHER = (
    "netctl network create --subnet 172.31.0.0/16 --internal vault",
    "netctl run -d --name vote --network shop --network-alias www -p 8080:80 busybox httpd -f -p 80 -h /etc",
    "netctl run -d --name worker --network shop busybox sleep 10000",
    "netctl network connect vault worker",
    "netctl run -d --name postgres --network vault busybox sleep 10000",
    "netctl run -d --name redis --network vault busybox sleep 10000",
    "netctl run -d --name tools busybox sleep 10000",
)
_THEME = TerminalTheme(
    (17, 24, 39),
    (226, 232, 240),
    [(17, 24, 39), (248, 113, 113), (74, 222, 128), (251, 191, 36), (147, 197, 253), (240, 171, 252), (103, 232, 249),
     (226, 232, 240)],
)  # fmt: skip
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="A terminal session">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="12" fill="#111827"/>
<g transform="translate(22, 26)" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with running_installation(f'ui_address = "{ADDRESS}"\n') as host:
        host.on_host("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0p")
        for words in ("link set eth0 up", "link set eth0p up", "address add 192.0.2.10/24 dev eth0"):
            host.on_host("ip", *words.split())
        host.on_host("ip", "route", "add", "default", "via", "192.0.2.1")
        (PICTURES / "session.svg").write_text(picture([(line, run(host, line)) for line in SESSION]))
        for line in FURTHER:
            run(host, line)
        asyncio.run(screenshot(host))


def run(host: Installation, line: str) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*host.within, "sh", "-c", line],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NETD_RUN_DIR": str(host.run), "PATH": path},
        check=False,
    )
    return done.stdout


def picture(session: list[tuple[str, str]]) -> str:
    """Return the session as SVG without fonts of other hosts; ids are cut to twelve digits, as lists show them."""
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    for line, output in session:
        console.print(Text.assemble(("# ", "green"), (line, "bold")), soft_wrap=False)
        for text in output.splitlines():
            short = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)
            console.print(Text(short, "red" if short.startswith("netctl: ") else "none"), soft_wrap=False)
    return console.export_svg(title="", theme=_THEME, code_format=_FORMAT, unique_id="session")


async def screenshot(host: Installation) -> None:
    async with browser(tuple(host.within)) as tab:
        await tab.look(1160, 620)
        await tab.open(f"http://{ADDRESS}/")
        await tab.until("document.querySelectorAll('.chip').length === 8")
        await tab.run("[...document.querySelectorAll('.chip')].find((c) => c.textContent.includes('vote')).id = 'vote'")
        await tab.point("#vote", click=True)
        for name in ("web", "db"):
            run(host, f"netctl exec vote ping -c 10 -i 0.02 -s 1000 {name}")
        await tab.until("/kB.s/.test(document.getElementById('svg').textContent)")
        find = "[...document.querySelectorAll('.chip')].find((c) => c.textContent.includes('postgres'))"
        await tab.run(f"{find}.id = 'postgres'")
        await tab.point("#postgres")
        await tab.run("window.scrollTo(0, 0)")
        await tab.screenshot(PICTURES / "page.png")


if __name__ == "__main__":
    main()
