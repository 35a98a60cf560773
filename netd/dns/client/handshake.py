"""Handshake and shutdown between netd and netd-dns; the messages are the same in all versions."""

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
    """The state of a server.  The caller owns the sockets."""

    version: str = ""
    networks: tuple[str, ...] = ()
    held: dict[str, Resolver] = field(default_factory=dict)

    def close(self) -> None:
        """Close all sockets."""
        for resolver in self.held.values():
            close_resolver(resolver)
        self.held.clear()


def close_resolver(resolver: Resolver) -> None:
    resolver.udp.close()
    resolver.tcp.close()
    os.close(resolver.netns)


async def shake_hands(pipe: Pipe, version: str) -> Handshake:
    """Send Hello and return the server's state.  Raises EOFError if the server closes the connection."""
    handshake = Handshake()
    try:
        await _listen(pipe, version, handshake)
    except BaseException:
        handshake.close()
        raise
    return handshake


async def _listen(pipe: Pipe, version: str, handshake: Handshake) -> None:
    pipe.queue(protocol.Hello(version))
    pipe.push()
    while True:
        await readable(pipe)
        for message, descriptors in pipe.receive():
            match message:
                case protocol.Welcome(theirs, networks):
                    handshake.version, handshake.networks = theirs, networks
                case protocol.Held(sandbox):
                    udp, tcp, netns = descriptors
                    handshake.held[sandbox] = Resolver(socket.socket(fileno=udp), socket.socket(fileno=tcp), netns)
                case protocol.Ready():
                    return
                case _:
                    raise EOFError(f"unexpected {type(message).__name__}")


async def stop(pipe: Pipe) -> None:
    """Send Stop and return when the server has closed the connection."""
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
    """Return when all queued messages have been sent."""
    loop = asyncio.get_running_loop()
    while not pipe.push():
        ready = asyncio.Event()
        loop.add_writer(pipe.sock, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(pipe.sock)


async def readable(pipe: Pipe) -> None:
    """Return when the socket is readable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(pipe.sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(pipe.sock)
