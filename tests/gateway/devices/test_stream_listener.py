"""What listeners over TCP share, with a protocol of a few lines: whoever says a word is answered with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest
import uvloop

from services.gateway.devices.accepting import Kind
from services.gateway.devices.effects import Now
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.sessions import Dismissal
from services.gateway.devices.stream_listener import LINGER_S, StreamListener
from services.gateway.epochs import Port
from shared.clock import system_clock

WAIT_S = 10.0
SILENCE_S = 0.05


@dataclass(frozen=True)
class Limits:
    connections: int = 2
    refused_logins: int = 1
    refused_logins_s: float = 60.0
    tick_s: float = 0.01


class Echo(asyncio.Protocol):
    """Closed when its time is over."""

    def __init__(self, listener: EchoListener, address: str) -> None:
        self.listener, self.address, self.proven = listener, address, False
        self.bucket: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self.listener.welcomes(self):
            self.transport.abort()
            return
        self.listener.wheel.schedule(self, self.listener.now().s + self.listener.silence_s)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.gone(self)

    def wake(self, now: Now) -> None:
        self.transport.abort()

    def dismiss(self, ending: Dismissal, text: str) -> None:
        self.listener.ended.append(ending)
        self.transport.close()
        self.listener.wheel.schedule(self, self.listener.now().s + LINGER_S)


class EchoListener(StreamListener[Echo]):
    def __init__(self, server: DeviceServer, silence_s: float) -> None:
        super().__init__(server, Limits())
        self.silence_s = silence_s
        self.ended: list[str] = []

    async def start(self, host: str, port: Port) -> int:
        return await self._listen(host, port.number, Kind(partial(Echo, self), self._hears))

    def status(self) -> dict[str, Any]:
        return {"connections": len(self.connections)}


Serve = Callable[..., Any]
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def serve(directory: Any, recorder: Any, blobs: Any) -> Serve:
    @asynccontextmanager
    async def serving(silence_s: float = WAIT_S) -> AsyncIterator[tuple[EchoListener, int]]:
        server = DeviceServer(
            directory=directory, facts=recorder, log=recorder, blobs=blobs, gateway="a", epoch=1, clock=system_clock
        )
        listener = EchoListener(server, silence_s)
        server.serve({"echo": listener})
        try:
            yield listener, await server.start("127.0.0.1", Port("echo", 0))
        finally:
            await server.stop()

    return serving


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await body()

    uvloop.run(bounded())


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


@asynccontextmanager
async def answered(port: int) -> AsyncIterator[Peer]:
    async with connected(port) as (reader, writer):
        writer.write(b"word")
        assert await reader.readexactly(4) == b"word"
        yield reader, writer


async def closed(reader: asyncio.StreamReader) -> None:
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)


async def unanswered(port: int) -> None:
    async with connected(port) as (reader, _):
        await closed(reader)


def test_there_are_no_more_connections_than_the_limit_says(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port), answered(port):
            async with answered(port):
                await unanswered(port)
                assert listener.server.counts["connections_above_limit"] == 1
                assert len(listener.connections) == 2
            while len(listener.connections) == 2:
                await asyncio.sleep(0)
            async with answered(port):
                assert len(listener.connections) == 2

    run(body)


def test_an_address_with_too_many_refused_log_ins_is_not_heard(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            for _ in range(2):
                listener.guard.refused("127.0.0.1", listener.now().s)
            await unanswered(port)
            assert listener.server.counts["unheard_connections"] == 1

    run(body)


def test_a_connection_is_woken_at_the_moment_that_it_waits_for(serve: Serve) -> None:
    async def body() -> None:
        async with serve(SILENCE_S) as (listener, port):
            begun = listener.now().s
            async with answered(port) as (reader, _):
                await closed(reader)
            assert listener.now().s - begun >= SILENCE_S

    run(body)


def test_all_are_ended_when_it_stops_and_stopping_twice_is_harmless(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            async with answered(port) as (reader, _):
                await listener.stop()
                assert listener.ended == ["draining"]
                assert not listener.connections
                assert await reader.read() == b""
            await listener.stop()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    run(body)
