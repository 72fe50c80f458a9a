"""Listening sockets whose connections go through admissions."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from services.gateway.devices import accepting
from services.gateway.devices.accepting import Acceptor, Kind
from services.gateway.devices.admissions import Admissions
from services.gateway.devices.throttle import AdmissionLimits

WAIT_S = 10.0


class Greeter(asyncio.Protocol):
    """Tells the admissions of its end, as every protocol must, and greets."""

    def __init__(self, port: Port, address: str) -> None:
        self._port, self._address = port, address

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._port.made += 1
        transport.write(b"hello")  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.admissions.gone(self._address, proven=False)
        self._port.ended.set()


class Port:
    """One port that is listened to. ``behind_s``: nobody is let in while it is above a second."""

    def __init__(self, context: ssl.SSLContext | None = None, *, deaf: bool = False, **limits: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.behind_s = 0.0
        self.made = 0
        self.ended = asyncio.Event()
        self.admissions = Admissions(self.loop, Counter(), lambda: self.behind_s, AdmissionLimits(**limits))
        kind = Kind(lambda address: Greeter(self, address), lambda address: not deaf, context, 0.3)
        self.acceptor = Acceptor(self.loop, self.admissions, kind)
        self.number = -1
        self.clients: list[socket.socket] = []

    async def listen(self, host: str = "127.0.0.1") -> Port:
        self.number = await self.acceptor.listen(host, 0)
        return self

    async def connect(self) -> socket.socket:
        made = socket.socket()
        self.clients.append(made)
        made.setblocking(False)
        await self.loop.sock_connect(made, ("127.0.0.1", self.number))
        return made

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        while not holds(self.admissions.status()):
            await asyncio.sleep(0)

    def close(self) -> None:
        self.acceptor.close()
        self.admissions.close()

    def hang_up(self) -> None:
        for client in self.clients:
            client.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(WAIT_S):
            await body()

    uvloop.run(bounded())


def test_a_connection_is_let_in_and_leaves_nothing_behind() -> None:
    async def body() -> None:
        port = await Port().listen()
        made = await port.connect()
        assert await port.loop.sock_recv(made, 10) == b"hello"
        made.close()
        await port.ended.wait()
        assert port.admissions.status()["addresses"] == 0
        port.close()

    run(body)


def test_nothing_is_done_for_a_connection_whose_turn_has_not_come() -> None:
    async def body() -> None:
        port = await Port().listen()
        port.behind_s = 2.0
        made = await port.connect()
        await port.loop.sock_sendall(made, b"an hour of music")
        await port.until(lambda status: status["waiting"] == 1)
        assert port.made == 0
        port.behind_s = 0.0
        assert await port.loop.sock_recv(made, 10) == b"hello"
        made.close()
        await port.ended.wait()
        port.close()

    run(body)


def test_nothing_is_done_for_a_peer_that_has_gone_while_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "IMPATIENT_S", 0.0)

    async def body() -> None:
        port = await Port().listen()
        port.behind_s = 2.0
        (await port.connect()).close()
        await port.until(lambda status: status["waiting"] == 1)
        port.behind_s = 0.0
        await port.until(lambda status: status["let_in"] == 1)
        assert port.admissions.status()["addresses"] == 0
        assert port.made == 0
        port.close()

    run(body)


def test_an_address_that_is_not_heard_is_closed_at_once() -> None:
    async def body() -> None:
        port = await Port(deaf=True).listen()
        assert await port.loop.sock_recv(await port.connect(), 10) == b""
        assert port.admissions.status()["let_in"] == 0
        port.close()
        port.hang_up()

    run(body)


def test_whoever_waits_is_closed_when_the_gateway_ends() -> None:
    async def body() -> None:
        port = await Port().listen()
        port.behind_s = 2.0
        made = await port.connect()
        await port.until(lambda status: status["waiting"] == 1)
        port.close()
        assert await port.loop.sock_recv(made, 10) == b""
        with pytest.raises(ConnectionRefusedError):
            await port.connect()
        port.hang_up()

    run(body)


def test_a_handshake_that_never_ends_or_is_none_gives_its_place_back() -> None:
    async def body() -> None:
        port = await Port(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)).listen()
        silent, wrong = await port.connect(), await port.connect()
        await port.loop.sock_sendall(wrong, b"\0" * 100)
        await port.until(lambda status: status["let_in"] == 2)
        await port.until(lambda status: status["addresses"] == 0)
        assert port.made == 0
        silent.close()
        wrong.close()
        port.close()

    run(body)


def test_a_process_without_files_to_give_takes_connections_again_when_it_has_some(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "SCARCE_S", 0.05)
    scarce = [OSError(errno.EMFILE, "too many open files")]
    real = socket.socket.accept

    def accept(listening: socket.socket) -> tuple[socket.socket, Any]:
        if scarce:
            raise scarce.pop()
        return real(listening)

    monkeypatch.setattr(socket.socket, "accept", accept)

    async def body() -> None:
        port = await Port().listen()
        made = await port.connect()
        assert await port.loop.sock_recv(made, 10) == b"hello"
        assert "open files" in caplog.text
        made.close()
        await port.ended.wait()
        port.close()

    run(body)


def test_a_port_that_is_taken_is_an_error_and_nothing_listens() -> None:
    async def body() -> None:
        port = await Port().listen()
        other = Port()
        with pytest.raises(OSError, match="in use"):
            await other.acceptor.listen("127.0.0.1", port.number)
        other.close()
        port.close()

    run(body)
