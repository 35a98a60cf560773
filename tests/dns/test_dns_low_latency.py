"""Requests to keep processors awake: only while queries arrive quickly, on mains, and if the kernel can."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from netd.dns.event_loop import READ, Loop
from netd.dns.low_latency import HOLD_TIME, QUICK_QUERIES, QUICK_TIME, LowLatency

NONE, DEFAULT = bytes(4), (2_000_000_000).to_bytes(4, "little")


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "cpu_dma_latency"
    path.touch()
    return path


def enabled(device: Path, supplies: Path = Path("/nonexistent")) -> LowLatency:
    latency = LowLatency(device, supplies)
    latency.enable(True)
    return latency


def ask(latency: LowLatency, count: int, begin: float, gap: float) -> float:
    """Let *count* queries arrive, each *gap* seconds after the server began to wait; return the time."""
    for _ in range(count):
        latency.waited(begin, begin + gap, True)
        begin += gap
    return begin


def requests(device: Path) -> list[bytes]:
    data = device.read_bytes()
    return [data[at : at + 4] for at in range(0, len(data), 4)]


def test_quick_queries_request_it_and_a_pause_withdraws_it(device):
    latency = enabled(device)
    now = ask(latency, QUICK_QUERIES - 1, 1.0, QUICK_TIME / 10)
    assert not device.read_bytes()
    now = ask(latency, 1 + 1000, now, QUICK_TIME / 10)
    assert latency.is_held and requests(device) == [NONE], "one system call for many queries"
    latency.waited(now, now + HOLD_TIME * 0.9, False)
    assert latency.is_held
    latency.waited(now, now + HOLD_TIME * 1.01, False)
    assert not latency.is_held and requests(device) == [NONE, DEFAULT]
    ask(latency, QUICK_QUERIES, now, QUICK_TIME / 10)
    assert requests(device) == [NONE, DEFAULT, NONE]
    latency.enable(False)
    assert not latency.is_held and requests(device) == [NONE, DEFAULT, NONE, DEFAULT]


def test_slow_queries_do_not_request_it(device):
    latency = enabled(device)
    ask(latency, 5 * QUICK_QUERIES, 1.0, QUICK_TIME * 2)
    assert not latency.is_held and not device.read_bytes()


@pytest.mark.parametrize(("status", "is_held"), [("Discharging\n", False), ("Charging\n", True)])
def test_it_is_not_requested_on_battery(device, tmp_path, status, is_held):
    (tmp_path / "supplies" / "AC").mkdir(parents=True)
    (tmp_path / "supplies" / "BAT0").mkdir()
    (tmp_path / "supplies" / "BAT0" / "status").write_text(status)
    latency = enabled(device, tmp_path / "supplies")
    ask(latency, 2 * QUICK_QUERIES, 1.0, QUICK_TIME / 10)
    assert latency.is_held == is_held and bool(device.read_bytes()) == is_held


def test_a_missing_device_is_tried_once(tmp_path, monkeypatch):
    latency = enabled(tmp_path / "none")
    ask(latency, QUICK_QUERIES, 1.0, QUICK_TIME / 10)
    monkeypatch.setattr(os, "open", lambda *words: pytest.fail("opened again"))
    ask(latency, 100 * QUICK_QUERIES, 2.0, QUICK_TIME / 10)
    assert not latency.is_held


def test_the_event_loop_withdraws_it_without_any_event(device):
    """Datagrams in quick succession are followed by silence; the loop has no timers that would wake it."""
    loop, (left, right) = Loop(), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    loop.low_latency = enabled(device)
    received = 0

    def on_readable(events: int) -> None:
        nonlocal received
        right.recv(10)
        received += 1
        if received < 10 * QUICK_QUERIES:
            left.send(b"x")

    withdrawn = loop.low_latency.waited

    def waited(begin: float, end: float, has_events: bool) -> None:
        withdrawn(begin, end, has_events)
        if not has_events and not loop.low_latency.is_held:
            loop.stop()

    loop.low_latency.waited = waited  # type: ignore[method-assign]
    with left, right:
        loop.watch(right.fileno(), READ, on_readable)
        left.send(b"x")
        loop.run()
    assert requests(device) == [NONE, DEFAULT]
