"""Requests to a server of somebody who answers as he likes, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from services.hooks import posting
from services.hooks.addresses import networks
from services.hooks.posting import MAX_ANSWER_BYTES, Answer, Poster
from services.hooks.writing import Outgoing

KEY = b"k" * 32
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def outgoing(url: str) -> Outgoing:
    return Outgoing("message", "POST", url, {"user-agent": "x"}, b"body", True)


@asynccontextmanager
async def server(answer: bytes | Serve) -> AsyncIterator[tuple[int, list[bytes]]]:
    """What it was asked is in the list."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.append(await reader.readuntil(b"body"))
            if callable(answer):
                await answer(reader, writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1], asked
    finally:
        listening.close()


def reply(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def post(answer: bytes | Serve, path: str = "/in", allow: str = "127.0.0.1") -> tuple[Answer, list[bytes]]:
    async def run() -> tuple[Answer, list[bytes]]:
        poster = Poster(networks(allow))
        try:
            async with server(answer) as (port, asked):
                return await poster.post(outgoing(f"http://127.0.0.1:{port}{path}"), KEY), asked
        finally:
            await poster.close()

    return asyncio.run(run())


def test_a_request_arrives_signed_and_its_answer_comes_back() -> None:
    answer, [asked] = post(reply("200 OK", b"thanks"))
    assert (answer.status, answer.error, answer.body) == (200, "", b"thanks")
    head = asked.decode().lower()
    assert head.startswith("post /in http/1.1\r\nhost: 127.0.0.1:")
    assert all(name in head for name in ("webhook-id: message", "webhook-timestamp: ", "webhook-signature: v1,"))


def test_a_redirection_is_an_answer_and_nothing_is_asked_where_it_leads() -> None:
    answer, asked = post(reply("302 Found", b"", "Location: http://127.0.0.1:1/"))
    assert (answer.status, len(asked)) == (302, 1)


@pytest.mark.parametrize(("said", "seconds"), [("120", 120), ("Fri, 01 Jan 2100 00:00:00 GMT", 86_400), ("soon", None)])
def test_a_receiver_says_when_to_come_again(said: str, seconds: int | None) -> None:
    answer, _ = post(reply("503 Busy", b"", f"Retry-After: {said}"))
    assert answer.status == 503
    if seconds is None:
        assert answer.asked is None
    else:
        assert answer.asked is not None
        assert answer.asked >= timedelta(seconds=seconds)


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def broken(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


async def headless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 65_536)
        await writer.drain()


def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    answer, _ = post(endless)
    assert (answer.status, len(answer.body)) == (200, MAX_ANSWER_BYTES)


@pytest.mark.parametrize("serve", [broken, headless, reply("what")[8:]])
def test_what_is_no_answer_is_an_error(serve: Any) -> None:
    answer, _ = post(serve)
    assert answer.status is None
    assert answer.error


def test_who_does_not_answer_is_waited_for_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "TOTAL_S", 0.1)
    answer, _ = post(silent)
    assert (answer.status, answer.error) == (None, "no answer within 0.1 s")


def test_nobody_is_reached_inside_unless_that_is_allowed() -> None:
    for path in ("/in", "/"):
        answer, asked = post(reply("200 OK"), path, allow="10.0.0.0/8")
        assert answer.status is None
        assert "leads to no address that webhooks may be delivered to" in answer.error
        assert asked == []


def ask_by_name(resolve: Callable[[str, int], Sequence[str]], allow: str) -> tuple[Answer, list[bytes]]:
    async def run() -> tuple[Answer, list[bytes]]:
        poster = Poster(networks(allow), resolve=resolve)
        try:
            async with server(reply("200 OK")) as (port, asked):
                return await poster.post(outgoing(f"http://hook.example:{port}/"), KEY), asked
        finally:
            await poster.close()

    return asyncio.run(run())


def test_a_name_is_looked_up_once_and_the_connection_goes_to_what_was_judged() -> None:
    """A name that leads elsewhere the next time it is looked up leads nowhere."""
    looked_up: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        looked_up.append(host)
        return ["10.0.0.1", "127.0.0.1"] if len(looked_up) == 1 else ["10.0.0.1"]

    answer, [asked] = ask_by_name(resolve, "127.0.0.1")
    assert (answer.status, looked_up) == (200, ["hook.example"])
    assert b"host: hook.example" in asked.lower()


def test_a_name_that_leads_inside_or_nowhere_is_an_error() -> None:
    def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    def inside(host: str, port: int) -> Sequence[str]:
        return ["127.0.0.1", "169.254.169.254"]

    assert ask_by_name(inside, "")[0].error.startswith("hook.example leads to no address")
    assert ask_by_name(unknown, "")[0].error == "the name hook.example is not known"
