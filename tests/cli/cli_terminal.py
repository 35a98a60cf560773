"""A pseudo-terminal with a program, and its controlling side, which types and reads."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

PATIENCE = 30
ROOT = Path(__file__).parents[2]


class Typist:
    def __init__(self, command: list[str], rows: int, columns: int) -> None:
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.master)
        self.shown = b""
        own = ["setsid", "--ctty", *command]
        self.process = subprocess.Popen(own, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size; the kernel tells the program on the terminal."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, mark: bytes) -> bytes:
        """Return the output up to and including *mark*."""
        deadline = time.monotonic() + PATIENCE
        while mark not in self.shown:
            left = deadline - time.monotonic()
            ready = select.select([self.master], [], [], left)[0] if left > 0 else []
            assert ready, f"{mark!r} did not appear in {self.shown!r}"
            self.shown += os.read(self.master, 4096)
        seen, mark, self.shown = self.shown.partition(mark)
        return seen + mark

    @property
    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.master)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    @property
    def is_restored(self) -> bool:
        return termios.tcgetattr(self.master) == self.before

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self.master)
