from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.server import ServerState

from services.gateway.web import WebServer
from services.gateway.web_protocol import HEAD_BYTES, BoundedHttp

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Impatient(BoundedHttp):
    head_s = 0.2


async def hello(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


@asynccontextmanager
async def serving(protocol: type[BoundedHttp] = BoundedHttp) -> AsyncIterator[int]:
    web = WebServer(Starlette(routes=[Route("/", hello, methods=["GET", "POST"])]), protocol=protocol)
    port = await web.start("127.0.0.1", 0)
    try:
        yield port
    finally:
        await web.stop()


async def talk(port: int, *pieces: bytes) -> bytes:
    """All that comes back until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await reader.read()
    finally:
        writer.close()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"\x10\x0e\x00\x04MQTT\x04\x02"])
def test_what_is_no_http_is_told_so_in_json_and_leaves_no_line_in_the_log(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with serving() as port:
            head, _, body = (await talk(port, garbage)).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert b"application/json" in head
            assert json.loads(body)["error"] == "invalid_request"

    run(scenario)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:"])
def test_a_connection_that_does_not_finish_its_first_request_is_closed(sent: bytes) -> None:
    async def scenario() -> None:
        async with serving(Impatient) as port:
            assert await talk(port, sent) == b""

    run(scenario)


def test_a_connection_that_does_not_finish_a_later_request_is_closed() -> None:
    async def scenario() -> None:
        async with serving(Impatient) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
            writer.write(b"GET / HT")
            assert await reader.read() == b""
            writer.close()

    run(scenario)


def test_a_request_whose_head_is_there_may_take_its_time_with_the_body() -> None:
    async def scenario() -> None:
        async with serving(Impatient) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 3 * Impatient.head_s)
            writer.write(b"cde" + GET)
            assert (await reader.readuntil(b"\r\n\r\n5")).startswith(b"HTTP/1.1 200")
            assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
            writer.close()

    run(scenario)


def test_a_body_that_nobody_reads_is_not_taken_for_a_head() -> None:
    async def scenario() -> None:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            size = 4 * HEAD_BYTES
            writer.write(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
            for _ in range(4):
                writer.write(bytes(HEAD_BYTES))
                await writer.drain()
            writer.write(GET)
            assert b"HTTP/1.1 200" in await reader.readuntil(b"\r\n\r\n0")
            writer.close()

    run(scenario)


def test_a_head_without_end_is_refused() -> None:
    async def scenario() -> None:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\n")
            line = b"A: " + b"b" * 997 + b"\r\n"
            for _ in range(HEAD_BYTES // len(line) + 1):
                writer.write(line)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 431 ")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"] == "too_large"
            writer.close()

    run(scenario)


class Crowded(BoundedHttp):
    most_of_one = 2

    def counted_as(self, address: str) -> str:
        return super().counted_as(address.replace("127.0.0.1", "192.0.2.1"))


def test_one_address_does_not_take_all_connections() -> None:
    async def scenario() -> None:
        async with serving(Crowded) as port:
            inside = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            refused = await talk(port)
            assert refused.startswith(b"HTTP/1.1 429 ")
            assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"] == "too_many_requests"
            for reader, writer in inside:
                writer.write(GET)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
                writer.close()
                await writer.wait_closed()
            closing = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            for _ in range(4):
                assert (await talk(port, closing)).startswith(b"HTTP/1.1 200")

    run(scenario)


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.1.2.3", ""),  # the proxy
        ("", ""),
    ],
)
def test_whose_connections_are_counted(address: str, counted: str) -> None:
    async def scenario() -> None:
        config = uvicorn.Config(Starlette(), forwarded_allow_ips=["10.0.0.0/8"])
        config.load()
        protocol = BoundedHttp(config, ServerState(), {}, asyncio.get_running_loop())
        assert protocol.counted_as(address) == counted

    run(scenario)


class Full(BoundedHttp):
    most_connections = 2


def test_a_connection_beyond_the_limit_is_told_to_come_again_and_those_inside_go_on() -> None:
    async def scenario() -> None:
        async with serving(Full) as port:
            inside = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            refused = await talk(port)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert json.loads(refused.partition(b"\r\n\r\n")[2])["error"] == "unavailable"
            for reader, writer in inside:
                writer.write(GET)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            inside[0][1].close()
            await inside[0][1].wait_closed()
            assert (await talk(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).startswith(
                b"HTTP/1.1 200"
            )
            inside[1][1].close()

    run(scenario)
