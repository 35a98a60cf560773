"""Work of a build that is awaited to its end although the build is cancelled."""

import asyncio
import gc

from runtime.build.execute import blocking


def test_an_error_of_the_work_of_a_cancelled_build_is_not_logged_as_lost():
    async def scenario():
        lost = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context["message"]))
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def work():
            begun.set()
            await go_on.wait()
            raise ValueError("not an archive")

        waiting = asyncio.create_task(blocking.finished(work()))
        await begun.wait()
        waiting.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        del waiting
        gc.collect()
        return lost

    assert asyncio.run(scenario()) == []
