"""The first words between netd and a server, and the last; they are the same in all versions."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field

from netd.dns import protocol
from netd.dns.protocol import Pipe
from netd.host import Resolver


@dataclass(slots=True)
class Greeting:
    """What a server said of itself.  The sockets are the taker's."""

    version: str = ""
    networks: tuple[str, ...] = ()
    held: dict[str, Resolver] = field(default_factory=dict)


async def greet(pipe: Pipe, version: str) -> Greeting:
    """Say hello and return what the server holds.  Raises EOFError when it leaves meanwhile."""
    greeting = Greeting()
    pipe.queue(protocol.Hello(version))
    pipe.push()
    while True:
        await readable(pipe)
        for message, descriptors in pipe.receive():
            match message:
                case protocol.Welcome(theirs, networks):
                    greeting.version, greeting.networks = theirs, networks
                case protocol.Held(sandbox):
                    udp, tcp, netns = descriptors
                    greeting.held[sandbox] = Resolver(socket.socket(fileno=udp), socket.socket(fileno=tcp), netns)
                case protocol.Ready():
                    return greeting
                case _:
                    raise EOFError(f"unexpected {type(message).__name__}")


async def stop(pipe: Pipe) -> None:
    """Make the server end and return when its end of the connection is closed."""
    pipe.queue(protocol.Stop())
    await drain(pipe)
    try:
        while True:
            await readable(pipe)
            for _ in pipe.receive():
                pass
    except EOFError:
        return


async def drain(pipe: Pipe) -> None:
    """Return when all that was queued has been sent."""
    loop = asyncio.get_running_loop()
    while not pipe.push():
        ready = asyncio.Event()
        loop.add_writer(pipe.sock, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(pipe.sock)


async def readable(pipe: Pipe) -> None:
    """Return when there is something to receive."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(pipe.sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(pipe.sock)
