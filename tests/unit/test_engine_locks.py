"""Per-object locks, and the exclusive lock that waits for all of them."""

import asyncio

import pytest

from netd.engine.locks import Locks


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_same_object_waits_and_others_do_not():
    async def play():
        locks, log = Locks(), []
        go = asyncio.Event()

        async def act(key, name):
            async with locks.hold(key):
                log.append(f"{name} begins")
                await go.wait()
                log.append(f"{name} ends")

        async with asyncio.TaskGroup() as tasks:
            for key, name in (("a", "first"), ("a", "second"), ("b", "other")):
                tasks.create_task(act(key, name))
            await settle()
            assert log == ["first begins", "other begins"]
            go.set()
        assert log.index("first ends") < log.index("second begins")
        assert not locks._queues

    asyncio.run(play())


def test_the_exclusive_lock_waits_for_all_and_blocks_all():
    async def play():
        locks, log = Locks(), []
        go, done = asyncio.Event(), asyncio.Event()

        async def act(key, event):
            async with locks.hold(key):
                log.append(key)
                await event.wait()

        async def alone():
            async with locks.exclusive():
                log.append("alone")
                await done.wait()
                log.append("alone ends")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(act("a", go))
            await settle()
            tasks.create_task(alone())
            await settle()
            tasks.create_task(act("b", go))
            await settle()
            assert log == ["a"]
            go.set()
            await settle()
            assert log == ["a", "alone"]
            done.set()
        assert log == ["a", "alone", "alone ends", "b"]

    asyncio.run(play())


def test_a_failure_releases_the_lock():
    async def play():
        locks = Locks()
        with pytest.raises(ZeroDivisionError):
            async with locks.hold("a"):
                raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            async with locks.exclusive():
                raise ZeroDivisionError
        async with asyncio.timeout(10), locks.hold("a"):
            await asyncio.sleep(0)

    asyncio.run(play())


def test_a_plugin_call_keeps_its_object_lock_and_does_not_block_the_exclusive_lock():
    async def play():
        locks, log = Locks(), []
        answer, done = asyncio.Event(), asyncio.Event()

        async def ask():
            async with locks.hold("a"):
                async with locks.released():
                    log.append("asks")
                    await answer.wait()
                log.append("goes on")

        async def alone():
            async with locks.exclusive():
                log.append("alone")
                await done.wait()
                log.append("no more alone")

        async def other():
            async with locks.hold("a"):
                log.append("other")

        async with asyncio.TaskGroup() as tasks:
            for body in (ask, alone, other):
                tasks.create_task(body())
                await settle()
            assert log == ["asks", "alone"]
            answer.set()
            await settle()
            assert log == ["asks", "alone"], "it resumes only after the exclusive lock was released"
            done.set()
        assert log == ["asks", "alone", "no more alone", "goes on", "other"]
        async with locks.exclusive():
            log.append("again")

    asyncio.run(play())
