"""RPC round trips over RabbitMQ, gateway to service, against a raw pika echo in the same run.

Server and client are processes of their own, as in a cluster. The goal is p50 <= 2 x raw with one caller. Shown, not
asserted. ``RABBITMQ_URL`` names a broker; else a private node is started.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pika
from nameko.rpc import rpc
from rich.console import Console
from rich.table import Table

from deploy.rabbitmq import RabbitNode
from shared.bus.client import AmqpBus
from shared.bus.connection import Connection
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.context import Context

SECONDS = float(os.environ.get("SECS", "2"))
ROUNDS = 3
CALLERS = (1, 8, 64)
GOAL = 2.0
ECHO = "bench-raw-echo"

Call = Callable[[], Awaitable[object]]


class Echo:
    name = "bench_echo"

    @rpc
    def echo(self, value: dict[str, Any]) -> dict[str, Any]:
        return value


def serve_ours(url: str) -> None:
    transport = open_transport(url, name="bench-server")
    transport.start()
    host = ServiceHost(Echo, transport, workers=32)
    host.start()
    print("ready", flush=True)
    sys.stdin.read()
    host.stop()
    transport.stop()


def serve_raw(url: str) -> None:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.queue_declare(ECHO, auto_delete=True)
    channel.basic_qos(prefetch_count=64)

    def on_message(channel: Any, method: Any, sent: pika.BasicProperties, body: bytes) -> None:
        reply = pika.BasicProperties(correlation_id=sent.correlation_id)
        channel.basic_publish("", sent.reply_to or "", body, reply)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(ECHO, on_message)
    print("ready", flush=True)
    channel.start_consuming()


@contextmanager
def server(kind: str, url: str) -> Iterator[None]:
    command = [sys.executable, "-W", "ignore", __file__, kind, url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"the {kind} server did not start")
        try:
            yield
        finally:
            process.terminate()


class RawClient:
    """Correlation ids and a reply queue, nothing else."""

    def __init__(self, connection: Connection, channel: Any, replies: str) -> None:
        self._connection = connection
        self._channel = channel
        self._replies = replies
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    @classmethod
    async def open(cls, url: str) -> RawClient:
        connection = await Connection.open(url, "bench-raw")
        channel = await connection.channel()
        replies = f"bench-replies-{uuid4()}"
        made = cls(connection, channel, replies)
        await connection.ask(channel, channel.queue_declare, replies, exclusive=True)
        await connection.ask(channel, channel.basic_consume, replies, made._on_reply, auto_ack=True)
        return made

    async def call(self) -> bytes:
        identity = str(uuid4())
        answered = self._waiting[identity] = asyncio.get_running_loop().create_future()
        sent = pika.BasicProperties(correlation_id=identity, reply_to=self._replies)
        self._channel.basic_publish("", ECHO, b'{"n": 1}', sent)
        return await answered

    async def close(self) -> None:
        self._connection.close()
        await asyncio.wait({self._connection.closed}, timeout=5)

    def _on_reply(self, _channel: Any, _method: Any, sent: pika.BasicProperties, body: bytes) -> None:
        self._waiting.pop(sent.correlation_id or "").set_result(body)


async def measure(call: Call, callers: int) -> list[float]:
    """Milliseconds of each call, sorted."""
    end = time.monotonic() + SECONDS
    took: list[float] = []

    async def caller() -> None:
        while time.monotonic() < end:
            began = time.perf_counter()
            await call()
            took.append((time.perf_counter() - began) * 1_000)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return sorted(took)


async def run(url: str) -> dict[tuple[str, int], list[list[float]]]:
    """Rounds in turn, so that a noisy neighbour hits both."""
    bus = AmqpBus(url, "bench-client")
    await bus.start()
    raw = await RawClient.open(url)
    context = Context.new("account:bench", "bench")

    async def ours() -> object:
        return await bus.call("bench_echo", "echo", context, value={"n": 1})

    results: dict[tuple[str, int], list[list[float]]] = {}
    await measure(ours, 8)
    await measure(raw.call, 8)
    for _ in range(ROUNDS):
        for callers in CALLERS:
            contenders: tuple[tuple[str, Call], ...] = (("raw pika echo", raw.call), ("gateway -> service", ours))
            for name, call in contenders:
                results.setdefault((name, callers), []).append(await measure(call, callers))
    await raw.close()
    await bus.stop()
    return results


def at(share: float, took: list[float]) -> float:
    return took[min(int(len(took) * share), len(took) - 1)]


def show(results: dict[tuple[str, int], list[list[float]]]) -> None:
    """The best round of each, by p50."""
    best = {key: min(rounds, key=lambda took: at(0.5, took)) for key, rounds in results.items()}
    table = Table(title=f"RPC over RabbitMQ, best of {ROUNDS} rounds of {SECONDS:g} s")
    for heading in ("callers", "", "calls/s", "p50 ms", "p99 ms", "p50 / raw", f"goal {GOAL:g}"):
        table.add_column(heading, justify="left" if heading == "" else "right")
    for callers in CALLERS:
        raw_p50 = at(0.5, best["raw pika echo", callers])
        for name in ("raw pika echo", "gateway -> service"):
            took = best[name, callers]
            ratio = at(0.5, took) / raw_p50
            verdict = "" if callers > 1 or name == "raw pika echo" else "met" if ratio <= GOAL else "MISSED"
            numbers = (f"{len(took) / SECONDS:,.0f}", f"{at(0.5, took):.2f}", f"{at(0.99, took):.2f}", f"{ratio:.2f}")
            table.add_row(str(callers), name, *numbers, verdict)
    Console(width=120).print(table)


def main() -> None:
    given = os.environ.get("RABBITMQ_URL")
    with tempfile.TemporaryDirectory() as folder:
        node = None if given else RabbitNode(Path(folder))
        if node is not None:
            node.start()
        try:
            url = given or (node.url if node else "")
            with server("ours", url), server("raw", url):
                results = asyncio.run(run(url))
        finally:
            if node is not None:
                node.stop()
    show(results)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        {"ours": serve_ours, "raw": serve_raw}[sys.argv[1]](sys.argv[2])
    else:
        main()
