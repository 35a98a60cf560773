"""Handshake and shutdown between netd and netd-dns; the messages are the same in all versions."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field

from netd.dns import protocol
from netd.dns.protocol import MessageSocket
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


async def shake_hands(connection: MessageSocket, version: str) -> Handshake:
    """Send Hello and return the server's state.  Raises EOFError if the server closes the connection."""
    handshake = Handshake()
    try:
        await _listen(connection, version, handshake)
    except BaseException:
        handshake.close()
        raise
    return handshake


async def _listen(connection: MessageSocket, version: str, handshake: Handshake) -> None:
    connection.queue(protocol.Hello(version))
    connection.push()
    while True:
        await readable(connection)
        for message, descriptors in connection.receive():
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


async def stop(connection: MessageSocket) -> None:
    """Send Stop and return when the server has closed the connection."""
    connection.queue(protocol.Stop())
    await drain(connection)
    try:
        while True:
            await readable(connection)
            for _ in connection.receive():
                pass
    except EOFError:
        return


async def drain(connection: MessageSocket) -> None:
    """Return when all queued messages have been sent."""
    loop = asyncio.get_running_loop()
    while not connection.push():
        ready = asyncio.Event()
        loop.add_writer(connection.sock, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(connection.sock)


async def readable(connection: MessageSocket) -> None:
    """Return when the socket is readable."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection.sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection.sock)
