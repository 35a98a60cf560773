"""A failing background task is logged once, restarted, reported, and ends no other task."""

import ast
import asyncio
import logging
import threading
from pathlib import Path

from netd.common import tasks as module
from netd.common.tasks import Tasks

ROOT = Path(__file__).parents[2]
STARTERS = {"create_task", "ensure_future", "TaskGroup"}


def test_a_loop_that_fails_is_started_again_and_its_traceback_is_logged_once(caplog, monkeypatch):
    monkeypatch.setattr(module, "_SHORTEST_PAUSE", 0.001)
    calls, done = [], asyncio.Event()

    async def body():
        calls.append(1)
        if len(calls) == 4:
            done.set()
            return
        raise ValueError("unexpected")

    async def scenario():
        tasks = Tasks()
        await tasks.loop(body, "repair x")
        assert done.is_set()
        return tasks.failures.sentences()

    told = asyncio.run(scenario())
    assert told == ["background task repair failed (3): ValueError: unexpected"]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert "task=repair x" in caplog.text and "Traceback" in caplog.text


def test_a_job_that_fails_just_ends():
    async def job():
        raise OSError("the disk is gone")

    async def scenario():
        tasks = Tasks()
        await tasks.start(job(), "note 1")
        await tasks.start(asyncio.sleep(0), "note 2")
        return tasks.failures.sentences()

    assert asyncio.run(scenario()) == ["background task note failed (1): OSError: the disk is gone"]


def test_exceptions_of_callbacks_threads_and_unawaited_tasks_are_reported(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def fail():
        raise ValueError("here")

    async def scenario():
        tasks = Tasks()
        tasks.install_exception_handlers()
        asyncio.get_running_loop().call_soon(fail)
        thread = threading.Thread(target=fail, name="reaper")
        thread.start()
        await asyncio.to_thread(thread.join)
        return tasks.failures.sentences()

    told = asyncio.run(scenario())
    assert len(told) == 2 and any("thread-reaper" in line for line in told), told


def test_closing_ends_every_task():
    async def scenario():
        tasks = Tasks()
        loop = tasks.loop(asyncio.Event().wait, "wait")
        await asyncio.sleep(0)
        await tasks.close()
        assert loop.cancelled()

    asyncio.run(scenario())


def test_a_failure_of_many_kinds_of_places_is_counted_apart(caplog):
    caplog.set_level(logging.ERROR)

    async def job(kind):
        raise kind("x")

    async def scenario():
        tasks = Tasks()
        for kind in (ValueError, TypeError, ValueError):
            await tasks.start(job(kind), "watch 1")
        return sorted(tasks.failures.sentences())

    assert asyncio.run(scenario()) == [
        "background task watch failed (1): TypeError: x",
        "background task watch failed (2): ValueError: x",
    ]
    assert len(caplog.records) == 2


def starters(text):
    """Return the lines where a module starts asyncio tasks directly."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in STARTERS:
                found.append((node.lineno, name))
    return found


def test_tasks_are_started_in_one_module_only():
    files = [path for top in ("netd", "runtime") for path in (ROOT / top).rglob("*.py")]
    found = {str(path.relative_to(ROOT)): starters(path.read_text()) for path in files}
    assert [path for path, places in found.items() if places] == ["netd/common/tasks.py"], found


def test_a_task_that_is_started_elsewhere_is_noticed():
    assert starters("async def f():\n    asyncio.create_task(g())\n    async with asyncio.TaskGroup() as t: pass\n")
