from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from services.gateway.web import WebServer
from shared.errors import Refused


async def hello(request: Request) -> Response:
    return PlainTextResponse("hello")


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await scenario()

    asyncio.run(bounded())


def test_it_serves_on_a_free_port_until_it_is_stopped() -> None:
    async def scenario() -> None:
        web = WebServer(Starlette(routes=[Route("/", hello)]))
        port = await web.start("127.0.0.1", 0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            answer = await client.get("/")
            assert (answer.status_code, answer.text) == (200, "hello")
            assert "server" not in answer.headers
            await web.stop()
            with pytest.raises(httpx.ConnectError):
                await client.get("/")
        await web.stop()

    run(scenario)


def test_an_answer_that_is_under_way_ends_before_the_server_stops() -> None:
    async def scenario() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow(request: Request) -> Response:
            async def body() -> AsyncIterator[bytes]:
                yield b"be"
                begun.set()
                await go_on.wait()
                yield b"gun"

            return StreamingResponse(body())

        web = WebServer(Starlette(routes=[Route("/", slow)]))
        port = await web.start("127.0.0.1", 0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            asking = asyncio.create_task(client.get("/"))
            await begun.wait()
            stopping = asyncio.create_task(web.stop())
            go_on.set()
            assert (await asking).text == "begun"
            await stopping

    run(scenario)


def test_a_port_that_is_taken_is_refused() -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(Refused, match="cannot listen on") as refusal:
                await WebServer(Starlette()).start("127.0.0.1", taken.getsockname()[1])
        assert refusal.value.code == "address_in_use"
        with pytest.raises(Refused):
            await WebServer(Starlette()).start("no host of this name.invalid", 0)

    run(scenario)


async def whence(request: Request) -> Response:
    return PlainTextResponse(request.client.host if request.client else "")


@pytest.mark.parametrize(
    ("proxies", "said", "address"),
    [
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.0/8, ::1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1,192.0.2.0/24", "203.0.113.9, 198.51.100.7, 192.0.2.5", "198.51.100.7"),  # what a client says itself
        ("192.0.2.0/24", "198.51.100.7", "127.0.0.1"),
        ("", "198.51.100.7", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
    ],
)
def test_a_proxy_says_where_a_call_comes_from_if_it_is_trusted(proxies: str, said: str, address: str) -> None:
    async def scenario() -> None:
        web = WebServer(Starlette(routes=[Route("/", whence)]), proxies=proxies)
        port = await web.start("127.0.0.1", 0)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/", headers={"X-Forwarded-For": said})).text == address
        await web.stop()

    run(scenario)


@pytest.mark.parametrize("proxies", ["*", "proxy.example.org", "10.0.0.1/8", "10.0.0.0/8;10.1.0.0/16"])
def test_proxies_that_are_no_addresses_are_refused(proxies: str) -> None:
    with pytest.raises(Refused, match="FLOTILLA_TRUSTED_PROXIES") as refusal:
        WebServer(Starlette(), proxies=proxies)
    assert refusal.value.code == "bad_setting"
