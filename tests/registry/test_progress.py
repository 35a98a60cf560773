"""Progress messages as Docker sends them, to clients that read slowly or disconnect."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest

from netd.common.errors import Conflict
from runtime.api import progress_stream
from runtime.progress import Report, bar


@pytest.mark.parametrize(
    ("current", "total", "text"),
    [
        (33792, 1982256, "[>                                                  ]  33.79kB/1.982MB"),
        (36445, 1079953, "[=>                                                 ]  36.45kB/1.08MB"),
        (1079953, 1079953, "[==================================================>]   1.08MB/1.08MB"),
        (98304, 8001236, "[>                                                  ]   98.3kB/8.001MB"),
        (1986560, 1982256, "[==================================================>]  1.987MB"),
        (500, 0, "    500B"),
    ],
)
def test_the_bar_is_the_one_that_docker_sends(current, total, text):
    assert bar(current, total) == text


def test_messages_about_bytes_that_were_not_read_replace_each_other(monkeypatch):
    monkeypatch.setattr("runtime.progress._INTERVAL", 0)
    report = Report()
    report.status("Pulling fs layer", "a")
    for current in range(10_000):
        report.moved("Downloading", "a", current, 10_000)
        report.moved("Downloading", "b", current, 10_000)
    report.status("Download complete", "a")
    shown = [(found["status"], found["id"], found["progressDetail"].get("current")) for found in report.take()]
    assert shown == [
        ("Pulling fs layer", "a", None),
        ("Downloading", "a", 9999),
        ("Downloading", "b", 9999),
        ("Download complete", "a", None),
    ]
    assert report.take() == []


def test_an_error_because_the_client_has_disconnected_is_not_reported_as_a_bug(monkeypatch):
    class Requests:
        @contextlib.contextmanager
        def session(self, call):
            yield

    complaints = []

    async def job(report: Report) -> None:
        report.status("working")
        try:
            await asyncio.sleep(60)
        finally:
            raise Conflict("the archive is cut short")

    async def disconnected(call, response, messages):
        raise ConnectionResetError

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
        with pytest.raises(ConnectionResetError):
            await progress_stream.run(None, Requests(), job)
        gc.collect()

    monkeypatch.setattr(progress_stream, "_send", disconnected)
    asyncio.run(run())
    gc.collect()
    assert complaints == []
