"""The first words between netd and a server, and the last; they are the same in all versions."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field

from netd.dns import protocol
from netd.dns.protocol import Pipe
from netd.host_protocol import Resolver


@dataclass(slots=True)
class Handshake:
    """What a server said of itself.  The sockets are the taker's."""

    version: str = ""
    networks: tuple[str, ...] = ()
    held: dict[str, Resolver] = field(default_factory=dict)

    def close(self) -> None:
        """Close the sockets that nobody has taken."""
        for resolver in self.held.values():
            close_resolver(resolver)
        self.held.clear()


def close_resolver(resolver: Resolver) -> None:
    resolver.udp.close()
    resolver.tcp.close()
    os.close(resolver.netns)


async def greet(pipe: Pipe, version: str) -> Handshake:
    """Say hello and return what the server holds.  Raises EOFError when it leaves meanwhile."""
    greeting = Handshake()
    try:
        await _listen(pipe, version, greeting)
    except BaseException:
        greeting.close()
        raise
    return greeting


async def _listen(pipe: Pipe, version: str, greeting: Handshake) -> None:
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
                    return
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
