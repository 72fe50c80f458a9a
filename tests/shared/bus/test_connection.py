"""What the connection leans on in pika, and what it says when nobody answers."""

from __future__ import annotations

import asyncio
import inspect

import pika.connection
import pytest
from pika.adapters.base_connection import BaseConnection

from deploy.rabbitmq import free_ports
from shared.bus.connection import HEARTBEAT_S, Connection, parameters
from shared.errors import Unavailable


def test_pika_emits_all_bytes_through_the_method_that_joins_them() -> None:
    assert "_adapter_emit_data" in vars(BaseConnection)
    assert "self._adapter_emit_data(" in inspect.getsource(pika.connection.Connection._output_marshaled_frames)


def test_where_nobody_listens_it_is_unavailable_at_once() -> None:
    (port,) = free_ports(1)
    with pytest.raises(Unavailable, match="no connection to the broker"):
        asyncio.run(Connection.open(f"amqp://guest:guest@127.0.0.1:{port}/", "test"))


def test_a_server_that_says_nothing_is_unavailable_in_time() -> None:
    async def silent() -> None:
        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _reader, writer: writers.append(writer), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            await Connection.open(f"amqp://guest:guest@127.0.0.1:{port}/", "test")
        finally:
            for writer in writers:
                writer.close()
                await writer.wait_closed()
            server.close()

    with pytest.raises(Unavailable):
        asyncio.run(silent())


def test_who_wants_it_no_more_while_it_opens_leaves_no_socket_behind() -> None:
    async def impatient() -> bytes:
        ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            greeting = await reader.readexactly(8)
            opening.cancel()
            ended.set_result(greeting + await reader.read())
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"amqp://guest:guest@127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        opening = asyncio.create_task(Connection.open(url, "test"))
        with pytest.raises(asyncio.CancelledError):
            await opening
        server.close()
        return await asyncio.wait_for(ended, 1.0)

    assert asyncio.run(impatient()) == b"AMQP\x00\x00\x09\x01"


def test_the_heartbeat_of_the_url_wins() -> None:
    assert parameters("amqp://localhost/", "x").heartbeat == HEARTBEAT_S
    assert parameters("amqp://localhost/?heartbeat=33", "x").heartbeat == 33
