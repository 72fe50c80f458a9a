"""The listener over real sockets, with the client library that the SDKs are made from, and with raw bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import queue
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import paho.mqtt.client as paho
import pytest
import uvloop
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from services.gateway.devices.calls import FunctionCall, Probe, VariableRead
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.listener import MqttListener
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.transfers import TransferLimits
from services.gateway.epochs import Port
from shared.clock import system_clock
from shared.errors import Refused
from shared.events.gateway import DeviceConnected, DeviceDisconnected, FunctionCalled, SessionReplaced

DEVICE = "0123456789abcdef01234567"
OTHER = "ffffffffffffffffffffffff"
TOKEN = "token-of-the-first-device"
WAIT_S = 10.0
Serve = Callable[..., Any]


class Client:
    """A paho client on its own thread; what it hears lies in queues."""

    def __init__(
        self, port: int, protocol: int = paho.MQTTv5, token: str = TOKEN, client_id: str = "", **options: Any
    ) -> None:
        clean = {} if protocol == paho.MQTTv5 else {"clean_session": True}
        self.mqtt = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=protocol, reconnect_on_failure=False, **clean
        )
        self.mqtt.username_pw_set(token, options.get("password"))
        self.connected: queue.Queue[tuple[int, Any]] = queue.Queue()
        self.ended: queue.Queue[int] = queue.Queue()
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.acknowledged: queue.Queue[tuple[int, int]] = queue.Queue()
        self.granted: queue.Queue[list[int]] = queue.Queue()
        self.mqtt.on_connect = lambda c, u, f, reason, p: self.connected.put((reason.value, p))
        self.mqtt.on_disconnect = lambda c, u, f, reason, p: self.ended.put(reason.value)
        self.mqtt.on_message = lambda c, u, message: self.messages.put((message.topic, message.payload))
        self.mqtt.on_publish = lambda c, u, mid, reason, p: self.acknowledged.put((mid, reason.value))
        self.mqtt.on_subscribe = lambda c, u, mid, reasons, p: self.granted.put([one.value for one in reasons])
        if "will" in options:
            self.mqtt.will_set(*options["will"])
        self.mqtt.connect("127.0.0.1", port, keepalive=options.get("keepalive", 60))
        self.mqtt.loop_start()

    async def hears(self, heard: queue.Queue[Any]) -> Any:
        return await asyncio.to_thread(heard.get, True, WAIT_S)

    async def online(self) -> Client:
        code, _ = await self.hears(self.connected)
        assert code == 0
        return self

    async def subscribe(self, filter_: str, qos: int = 1) -> list[int]:
        self.mqtt.subscribe(filter_, qos)
        return await self.hears(self.granted)

    async def ask(self, topic: str, payload: bytes | str = b"", qos: int = 1) -> tuple[str, bytes]:
        self.mqtt.publish(topic, payload, qos)
        return await self.hears(self.messages)

    async def end(self) -> None:
        self.mqtt.disconnect()
        await asyncio.to_thread(self.mqtt.loop_stop)


@pytest.fixture
def serve(directory: Any, recorder: Any, blobs: Any) -> Serve:
    @asynccontextmanager
    async def serving(limits: MqttLimits | None = None, tls: Any = None) -> AsyncIterator[tuple[MqttListener, int]]:
        server = DeviceServer(
            directory=directory, facts=recorder, log=recorder, blobs=blobs, gateway="a", epoch=3, clock=system_clock
        )
        listener = MqttListener(server, limits or MqttLimits(tick_s=0.02, patience_s=0.05, unreported_s=0.2))
        server.serve({"mqtt": listener})
        port = await server.start("127.0.0.1", Port("mqtt", 0, tls))
        try:
            yield listener, port
        finally:
            await server.stop()

    return serving


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await body()

    uvloop.run(bounded())  # as in production


async def raw(port: int, *packets: bytes) -> bytes:
    """Everything that the gateway sends until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"".join(packets))
    async with asyncio.timeout(WAIT_S):
        try:
            return await rest(reader)
        finally:
            writer.close()


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What comes until the connection is closed or reset."""
    heard = b""
    try:
        while piece := await reader.read(65_536):
            heard += piece
    except ConnectionResetError:
        return heard
    return heard


@pytest.mark.parametrize(
    ("protocol", "name"), [(paho.MQTTv31, "mqtt/3.1"), (paho.MQTTv311, "mqtt/3.1.1"), (paho.MQTTv5, "mqtt/5.0")]
)
def test_a_device_comes_online_and_goes_offline(protocol: int, name: str, serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port, protocol, client_id="my-client").online()
            assert DEVICE in listener.server.sessions
            await client.end()
            await recorder.until(lambda r: len(r.facts) == 2)
        online, offline = recorder.facts
        assert isinstance(online, DeviceConnected)
        assert (online.device_id, online.product_id, online.gateway, online.epoch) == (DEVICE, 1000, "a", 3)
        assert (online.session, online.protocol, online.address) == (1, name, "127.0.0.1")
        assert (online.secure, online.client_id) == (False, "my-client")
        assert isinstance(offline, DeviceDisconnected)
        assert (offline.session, offline.reason) == (1, "disconnected")
        assert offline.bytes_in > 20
        assert offline.bytes_out >= 4

    run(body)


def test_a_client_of_5_is_told_what_the_server_takes(serve: Serve) -> None:  # MQC-5
    async def body() -> None:
        async with serve() as (_, port):
            client = Client(port, keepalive=2_000)
            code, properties = await client.hears(client.connected)
            assert code == 0
            told = properties.json()
            await client.end()
        assert told == {
            "SessionExpiryInterval": 0,
            "AssignedClientIdentifier": "a-3-1",
            "ServerKeepAlive": 1200,
            "ReceiveMaximum": 64,
            "TopicAliasMaximum": 8,
            "MaximumQoS": 1,
            "RetainAvailable": 0,
            "MaximumPacketSize": 65536,
            "SubscriptionIdentifierAvailable": 0,
            "SharedSubscriptionAvailable": 0,
        }

    run(body)


def test_connack_of_3_1_1_has_four_bytes(serve: Serve, wire: Any) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            assert await raw(port, wire.connect(), wire.packet(0xE0, b"")) == b"\x20\x02\x00\x00"

    run(body)


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"username": "no-token-of-anybody-here"}, 5, 0x86),
        ({"username": "short"}, 5, 0x86),
        ({"username": DEVICE, "password": "no-token-of-anybody-here"}, 5, 0x86),
        ({"username": OTHER, "password": TOKEN}, 5, 0x86),
        ({"username": DEVICE}, 5, 0x86),
        ({"username": None, "client_id": ""}, 5, 0x87),
        ({"username": None, "client_id": "somebody"}, 2, 0x85),
    ],
)
def test_who_may_not_connect_is_told_why(
    changes: dict[str, Any], old: int, new: int, serve: Serve, wire: Any, recorder: Any
) -> None:  # MQC-4
    async def body() -> None:
        async with serve() as (listener, port):
            assert await raw(port, wire.connect(**changes)) == bytes((0x20, 2, 0, old))
            assert await raw(port, wire.connect(level=5, **changes)) == bytes((0x20, 3, 0, new, 0))
            assert listener.server.status()["counts"]["refused_connects"] == 2
        # Of a log-in that names a device the device shows the last, once an hour at most.
        told = [(DEVICE, "refused_login", 1)] if changes.get("username") == DEVICE else []
        assert [(fact.device_id, fact.kind, fact.count) for fact in recorder.facts] == told

    run(body)


@pytest.mark.parametrize("member", [{"denied": True}, {"product_id": None}])
def test_a_device_that_was_removed_or_denied_is_refused_like_an_unknown_one(
    member: dict[str, Any], serve: Serve, wire: Any, directory: Any
) -> None:
    async def body() -> None:
        directory.change(member=member)
        async with serve() as (_, port):
            assert await raw(port, wire.connect()) == b"\x20\x02\x00\x05"

    run(body)


def test_device_id_and_token_are_a_log_in_too(serve: Serve, recorder: Any) -> None:  # MQC-2
    async def body() -> None:
        async with serve() as (_, port):
            client = await Client(port, token=DEVICE.upper(), password=TOKEN).online()
            await client.end()

    run(body)
    assert recorder.facts[0].device_id == DEVICE


def test_other_refusals_have_their_codes(serve: Serve, wire: Any, directory: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            assert await raw(port, wire.connect(client_id="", clean=False)) == b"\x20\x02\x00\x02"  # MQC-3
            enhanced = b"\x15" + wire.text("SCRAM")
            assert await raw(port, wire.connect(level=5, properties=enhanced)) == b"\x20\x03\x00\x8c\x00"
            assert await raw(port, wire.packet(0x10, wire.text("MQTT") + b"\x03\x02\0\0")) == b"\x20\x02\x00\x01"
            assert await raw(port, wire.packet(0x10, wire.text("MQTT") + b"\x06\x02\0\0")) == b"\x20\x03\x00\x84\x00"
            directory.away = True
            assert await raw(port, wire.connect()) == b"\x20\x02\x00\x03"
            assert await raw(port, wire.connect(level=5)) == b"\x20\x03\x00\x88\x00"
            directory.away = False
            listener.server.draining = True
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await rest(reader) == b""
            writer.close()

    run(body)


def test_a_fleet_that_comes_while_the_directory_is_away_is_told_of_once_and_without_a_traceback(
    serve: Serve, wire: Any, directory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def body() -> None:
        directory.away = True
        async with serve() as (listener, port):
            for _ in range(3):
                assert await raw(port, wire.connect()) == b"\x20\x02\x00\x03"
            assert listener.server.status()["counts"]["unavailable_connects"] == 3
            directory.away = False
            await (await Client(port).online()).end()

    run(body)
    told = [record for record in caplog.records if record.name.startswith("services.gateway")]
    assert [(record.levelname, record.exc_info) for record in told] == [("WARNING", None)]


def test_an_address_with_too_many_refused_log_ins_goes_unheard(serve: Serve, wire: Any) -> None:
    async def body() -> None:
        async with serve(MqttLimits(tick_s=0.02, refused_logins=3)) as (listener, port):
            for _ in range(4):
                assert await raw(port, wire.connect("no-token-of-anybody-here")) == b"\x20\x02\x00\x05"
            assert await raw(port, wire.connect()) == b""
            assert listener.server.status()["counts"]["unheard_connections"] == 1

    run(body)


def test_who_sends_no_connect_is_closed_in_time(serve: Serve) -> None:
    async def body() -> None:
        async with serve(MqttLimits(tick_s=0.02, connect_s=0.1)) as (listener, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"\x10\x20\x00")
            async with asyncio.timeout(WAIT_S):
                assert await rest(reader) == b""
            writer.close()
            assert listener.server.status()["counts"]["connect_timeouts"] == 1

    run(body)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"\xc0\x00", b"\x10\xff\xff\x7f", bytes(64)])
def test_who_speaks_something_else_is_closed_without_a_word(sent: bytes, serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            assert await raw(port, sent) == b""

    run(body)
    assert recorder.facts == []


@pytest.mark.parametrize("protocol", [paho.MQTTv311, paho.MQTTv5])
def test_telemetry_is_acknowledged_when_it_is_durable_and_not_before(
    protocol: int, serve: Serve, recorder: Any
) -> None:  # MQP-2
    async def body() -> None:
        async with serve() as (_, port):
            client = await Client(port, protocol).online()
            recorder.waits = True
            client.mqtt.publish("v1/devices/me/telemetry", '{"temperature":21.5}', 1)
            client.mqtt.publish("v2/t", '[{"a":1},{"b":2}]', 1)
            client.mqtt.publish("v1/devices/me/rpc/request/1", '{"method":"getTime"}', 1)  # its answer needs not wait
            topic, _ = await client.hears(client.messages)
            assert topic == "v1/devices/me/rpc/response/1"
            await recorder.until(lambda r: len(r.published) == 3)
            assert client.acknowledged.empty()
            recorder.open.reverse()
            recorder.store()
            acknowledged = [await client.hears(client.acknowledged) for _ in range(3)]
            assert acknowledged == [(1, 0), (2, 0), (3, 0)]  # in the order of the publishes, MQC-7
            recorder.waits = False
            await client.end()
        assert [json.loads(event.data) for event in recorder.published] == [{"temperature": 21.5}, {"a": 1}, {"b": 2}]

    run(body)


def test_what_cannot_be_stored_is_not_acknowledged_and_the_client_sends_again(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            recorder.fails = True
            client.mqtt.publish("v2/t", '{"a":1}', 1)
            assert await client.hears(client.ended) == 0x89
            assert client.acknowledged.empty()
            assert listener.server.status()["counts"]["lost_events"] >= 1
            await client.end()

    run(body)


def test_qos_2_of_3_1_1_is_stored_once_however_often_it_comes(serve: Serve, recorder: Any, wire: Any) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            client = await Client(port, paho.MQTTv311).online()
            client.mqtt.publish("v2/t", '{"a":1}', 2)
            await client.hears(client.acknowledged)
            await client.end()
            assert len(recorder.published) == 1
            publish = wire.publish("v2/t", b'{"b":1}', 2, 5)
            pubrel = wire.packet(0x62, b"\x00\x05")
            end = wire.packet(0xE0, b"")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wire.connect() + publish + publish + pubrel)
            answers = await reader.readexactly(16)
            writer.write(end)
            assert await rest(reader) == b""
            writer.close()
        assert answers[:4] == b"\x20\x02\x00\x00"
        packets = [answers[at : at + 4] for at in (4, 8, 12)]
        assert sorted(packets) == [b"\x50\x02\x00\x05", b"\x50\x02\x00\x05", b"\x70\x02\x00\x05"]
        assert len(recorder.published) == 2

    run(body)


def test_a_newer_connection_takes_over_without_an_offline(serve: Serve, recorder: Any) -> None:  # MQS-2
    async def body() -> None:
        async with serve() as (listener, port):
            older = await Client(port, client_id="one", will=("v2/t", '{"will":1}')).online()
            newer = await Client(port, client_id="two").online()
            assert await older.hears(older.ended) == 0x8E
            assert len(listener.server.sessions) == 1
            assert recorder.kinds() == ["DeviceConnected", "SessionReplaced"]
            replaced = recorder.facts[1]
            assert isinstance(replaced, SessionReplaced)
            assert (replaced.session, replaced.client_id, replaced.replaced_address) == (2, "two", "127.0.0.1")
            await newer.ask("v2/r/req/1", '{"method":"getTime"}')
            await newer.end()
            await older.end()
            await recorder.until(lambda r: len(r.facts) == 3)
        assert recorder.facts[2].session == 2
        assert recorder.published == []

    run(body)


def test_two_devices_with_one_token_are_kept_from_throwing_each_other_out_for_ever(
    serve: Serve, recorder: Any, wire: Any
) -> None:  # MQS-3
    async def body() -> None:
        async with serve() as (_, port):
            sockets = []
            for _ in range(31):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(wire.connect())
                assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
                sockets.append(writer)
            assert await raw(port, wire.connect()) == b"\x20\x02\x00\x03"
            assert await raw(port, wire.connect(level=5)) == b"\x20\x03\x00\x9f\x00"
            for writer in sockets:
                writer.close()

    run(body)
    assert recorder.kinds().count("SessionReplaced") == 30
    assert [fact.kind for fact in recorder.facts if hasattr(fact, "kind")] == ["token_used_twice"]


def test_a_silent_connection_is_closed_after_one_and_a_half_keep_alives(
    serve: Serve, recorder: Any, wire: Any
) -> None:  # MQS-4
    async def body() -> None:
        async with serve() as (_, port):
            loop = asyncio.get_running_loop()
            since = loop.time()
            told = await raw(port, wire.connect(level=5, keep_alive_s=1))
            assert 1.4 < loop.time() - since < 2.5
        assert b"\xe0" in told
        assert told[told.rindex(b"\xe0") + 2] == 0x8D
        assert recorder.facts[1].reason == "keepalive"

    run(body)


@pytest.mark.parametrize("orderly", [True, False])
def test_the_will_is_published_unless_the_device_says_good_bye(
    orderly: bool, serve: Serve, recorder: Any, wire: Any
) -> None:  # MQS-5
    async def body() -> None:
        async with serve() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wire.connect(will=("v1/devices/me/telemetry", b'{"gone":true}')))
            assert len(await reader.readexactly(4)) == 4
            if orderly:
                writer.write(wire.packet(0xE0, b""))
            writer.close()
            await recorder.until(lambda r: "DeviceDisconnected" in r.kinds())
        assert [event.data for event in recorder.published] == ([] if orderly else ['{"gone":true}'])
        assert recorder.facts[-1].reason == ("disconnected" if orderly else "connection_lost")

    run(body)


def test_oversize_packets_are_refused_at_their_header(serve: Serve, recorder: Any, wire: Any) -> None:  # MQE-2
    async def body() -> None:
        async with serve() as (_, port):
            huge = b"\x30\xff\xff\x7f"
            assert await raw(port, wire.connect(), huge) == b"\x20\x02\x00\x00"
            told = await raw(port, wire.connect(level=5), huge)
            assert told[told.rindex(b"\xe0") + 2] == 0x95
        misbehaved = [fact for fact in recorder.facts if type(fact).__name__ == "DeviceMisbehaved"]
        assert [(fact.kind, fact.count) for fact in misbehaved] == [("packet_too_large", 1)]
        assert recorder.facts[-1].reason == "misbehaved"

    run(body)


def test_a_device_whose_token_was_replaced_is_sent_away(serve: Serve, directory: Any, recorder: Any) -> None:  # MQS-6
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            directory.tokens.clear()
            listener.server.sessions.directory_changed(frozenset({DEVICE}), frozenset())
            assert await client.hears(client.ended) == 0x98
            await client.end()
        assert recorder.facts[-1].reason == "kicked"

    run(body)


def test_draining_ends_all_sessions_and_accepts_no_more(serve: Serve, directory: Any, recorder: Any) -> None:
    async def body() -> None:
        for number in range(10):
            directory.add(f"{number:024x}", f"token-of-a-device-{number:05}")
        async with serve() as (listener, port):
            clients = [await Client(port, token=f"token-of-a-device-{number:05}").online() for number in range(10)]
            await listener.server.drain(0.3)
            assert [await client.hears(client.ended) for client in clients] == [0x8B] * 10
            assert len(listener.server.sessions) == 0
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            for client in clients:
                await client.end()
        ends = [fact.reason for fact in recorder.facts if isinstance(fact, DeviceDisconnected)]
        assert ends == ["draining"] * 10

    run(body)


def release(directory: Any, blobs: Any, version: int, data: bytes) -> None:
    directory.put_image(version, data)
    blobs.put(data)
    directory.change(released_version=version)


def test_the_python_sdk_takes_a_release(serve: Serve, directory: Any, blobs: Any, recorder: Any) -> None:
    image = bytes(range(256)) * 1_000
    release(directory, blobs, 7, image)

    async def body() -> None:
        async with serve() as (_, port):
            client = await Client(port).online()
            for filter_ in (
                "v1/devices/me/attributes",
                "v1/devices/me/attributes/response/+",
                "v1/devices/me/rpc/request/+",
                "v1/devices/me/rpc/response/+",
            ):
                assert await client.subscribe(filter_) == [1]
            topic, limits = await client.ask("v1/devices/me/rpc/request/1", '{"method":"getSessionLimits","params":{}}')
            assert topic == "v1/devices/me/rpc/response/1"
            assert json.loads(limits)["maxInflightMessages"] == 64
            assert await client.subscribe("v2/fw/response/+", 0) == [0]
            state = {"current_fw_title": "1000", "current_fw_version": "6", "fw_error": ""}

            def says(word: str, version: str = "6") -> None:
                told = {**state, "current_fw_version": version, "fw_state": word}
                client.mqtt.publish("v1/devices/me/telemetry", json.dumps([told]), 1)

            says("IDLE")
            keys = "fw_title,fw_version,fw_size,fw_checksum,fw_checksum_algorithm"
            topic, answer = await client.ask("v1/devices/me/attributes/request/2", json.dumps({"sharedKeys": keys}))
            offer = json.loads(answer)["shared"]
            assert topic == "v1/devices/me/attributes/response/2"
            assert (offer["fw_title"], offer["fw_version"], offer["fw_size"]) == ("1000", "7", len(image))
            says("DOWNLOADING")
            got = b""
            while len(got) < offer["fw_size"]:
                number = len(got) // 10_000
                topic, chunk = await client.ask(f"v2/fw/request/1/chunk/{number}", b"10000")
                assert topic == f"v2/fw/response/1/chunk/{number}"
                got += chunk
            assert hashlib.sha256(got).hexdigest() == offer["fw_checksum"]
            for word in ("DOWNLOADED", "VERIFIED", "UPDATING"):
                says(word)
            await recorder.until(lambda r: getattr(r.facts[-1], "state", "") == "applying")
            await client.end()
            again = await Client(port).online()
            again.mqtt.publish("v1/devices/me/telemetry", '[{"current_fw_title":"1000","current_fw_version":"7"}]', 1)
            await recorder.until(lambda r: "UpdateSucceeded" in r.kinds())
            assert again.messages.empty()
            await again.end()
        progress = [fact for fact in recorder.facts if type(fact).__name__.startswith("Update")]
        assert [getattr(fact, "state", type(fact).__name__) for fact in progress] == [
            "UpdateStarted",
            "downloaded",
            "verified",
            "applying",
            "UpdateSucceeded",
        ]
        assert {fact.attempt for fact in progress} == {1}

    run(body)


def test_the_arduino_sdk_takes_a_release_that_it_is_offered(
    serve: Serve, directory: Any, blobs: Any, recorder: Any
) -> None:
    image = bytes(reversed(range(256))) * 32  # two chunks of 4096 bytes exactly
    release(directory, blobs, 7, image)

    async def body() -> None:
        async with serve() as (_, port):
            client = await Client(port, paho.MQTTv311, client_id=TOKEN).online()
            for filter_ in ("v1/devices/me/attributes", "v2/fw/response/+", "v2/fw/error"):
                assert await client.subscribe(filter_, 0) == [0]
            client.mqtt.publish("v2/t", '{"current_fw_title":"1000","current_fw_version":"6"}')
            topic, offer = await client.hears(client.messages)
            assert topic == "v1/devices/me/attributes"
            assert list(json.loads(offer)) == [
                "fw_title",
                "fw_version",
                "fw_size",
                "fw_checksum",
                "fw_checksum_algorithm",
            ]
            chunks = [await client.ask(f"v2/fw/request/0/chunk/{n}", b"4096", 0) for n in range(3)]
            assert [topic for topic, _ in chunks] == [f"v2/fw/response/0/chunk/{n}" for n in range(3)]
            assert b"".join(chunk for _, chunk in chunks) == image
            assert chunks[2][1] == b""  # one past the end, MQF-5
            client.mqtt.publish("v2/t", '{"fw_state":"DOWNLOADED"}')
            client.mqtt.publish("v2/t", '{"fw_state":"UPDATING"}')
            await recorder.until(lambda r: getattr(r.facts[-1], "state", "") == "applying")
            await client.end()
            again = await Client(port, paho.MQTTv311, client_id=TOKEN).online()
            again.mqtt.publish("v2/t", '{"current_fw_title":"1000","current_fw_version":"7"}')
            await recorder.until(lambda r: "UpdateSucceeded" in r.kinds())
            await again.end()

    run(body)


def test_a_whole_image_is_streamed_in_one_message(serve: Serve, directory: Any, blobs: Any) -> None:  # MQF-6
    image = hashlib.sha256(b"seed").digest() * 100_000
    release(directory, blobs, 7, image)

    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            topic, whole = await client.ask("v2/fw/request/5/chunk/0")
            assert topic == "v2/fw/response/5/chunk/0"
            assert whole == image
            assert (await client.ask("v2/r/req/1", '{"method":"no such"}'))[1] == b'{"error":"unknown method"}'
            assert listener.server.status()["image_cache_bytes"] == len(image)
            await client.end()

    run(body)


@pytest.mark.parametrize("chunk", [b"", b"20000"])
def test_images_are_not_sent_faster_than_a_device_may_be_sent_them(
    serve: Serve, directory: Any, blobs: Any, chunk: bytes
) -> None:
    image = hashlib.sha256(b"seed").digest() * 5_000  # 160,000 bytes: 100,000 at once, the rest at their rate
    release(directory, blobs, 7, image)

    async def body() -> None:
        async with serve() as (listener, port):
            listener.server.transfers.limits = TransferLimits(device_bytes_per_s=100_000)
            client = await Client(port).online()
            begun = listener.loop.time()
            received = b""
            while len(received) < len(image):
                received += (await client.ask(f"v2/fw/request/5/chunk/{len(received) // 20_000}", chunk))[1]
            assert received == image
            assert 0.25 < listener.loop.time() - begun < WAIT_S
            assert listener.server.status()["transfers"] == {"running": 1, "waiting": 0}
            await client.end()

    run(body)


def test_a_device_that_goes_while_its_bytes_wait_leaves_nothing(
    serve: Serve, directory: Any, blobs: Any, wire: Any
) -> None:
    release(directory, blobs, 7, bytes(500_000))

    async def body() -> None:
        async with serve() as (listener, port):
            listener.server.transfers.limits = TransferLimits(device_bytes_per_s=150_000)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wire.connect() + wire.publish("v2/fw/request/5/chunk/0"))
            await reader.readexactly(65_536)
            assert listener.server.transfers.status()["running"] == 1
            writer.transport.abort()
            async with asyncio.timeout(WAIT_S):
                while listener.connections:
                    await asyncio.sleep(0)
            assert listener.server.transfers.status() == {"running": 0, "waiting": 0}

    run(body)


def test_an_image_that_cannot_be_read_is_told_to_the_device(serve: Serve, directory: Any, blobs: Any) -> None:
    release(directory, blobs, 7, b"image")
    blobs.data.clear()

    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            assert await client.ask("v2/fw/request/5/chunk/0", b"2") == ("v2/fw/error", b"FAILURE")
            assert listener.server.status()["counts"]["unreadable_images"] == 1
            assert (await client.ask("v2/r/req/1", '{"method":"getTime"}'))[0] == "v2/r/res/1"
            await client.end()

    run(body)


def test_lock_and_flash_now_is_offered_at_once(serve: Serve, directory: Any, blobs: Any) -> None:  # FW-3
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            await client.subscribe("v2/a")
            client.mqtt.publish("v2/a", '{"current_fw_title":"1000","current_fw_version":"6"}', 1)
            await client.hears(client.acknowledged)
            directory.put_image(5, b"image")
            directory.change(member={"locked_version": 5, "flash_pending": True})
            listener.server.sessions.directory_changed(frozenset({DEVICE}), frozenset())
            topic, offer = await client.hears(client.messages)
            assert (topic, json.loads(offer)["fw_version"]) == ("v2/a", "5")
            await client.end()

    run(body)


def test_an_intelligent_release_reaches_those_who_are_online(serve: Serve, directory: Any, blobs: Any) -> None:  # FW-4
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            await client.subscribe("v1/devices/me/attributes")
            client.mqtt.publish("v2/t", '{"current_fw_title":"1000","current_fw_version":"6"}', 1)
            await client.hears(client.acknowledged)
            release(directory, blobs, 7, b"image")
            listener.server.sessions.directory_changed(frozenset(), frozenset({999}))
            listener.server.sessions.directory_changed(frozenset({OTHER}), frozenset({1000}))
            assert (await client.ask("v2/r/req/1", '{"method":"getTime"}'))[0] == "v2/r/res/1"  # nothing else came
            directory.intelligent = True
            listener.server.sessions.directory_changed(frozenset(), frozenset({1000}))
            topic, offer = await client.hears(client.messages)
            assert (topic, json.loads(offer)["fw_version"]) == ("v1/devices/me/attributes", "7")
            await client.end()

    run(body)


def test_a_device_that_does_not_come_back_within_a_day_has_failed_though_it_is_offline(
    serve: Serve, directory: Any, blobs: Any, recorder: Any
) -> None:
    release(directory, blobs, 7, b"image")

    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            await client.ask("v2/fw/request/1/chunk/0", b"9")
            client.mqtt.publish("v2/t", '{"fw_state":"UPDATING"}', 1)
            await client.hears(client.acknowledged)
            await client.end()
            await recorder.until(lambda r: "DeviceDisconnected" in r.kinds())
            now = listener.now()
            listener.server.sessions.sweep(now._replace(s=now.s + 86_000))
            assert recorder.kinds()[-1] == "DeviceDisconnected"
            listener.server.sessions.sweep(now._replace(s=now.s + 86_401))
            assert recorder.facts[-1].reason == "did_not_come_back"
            count = len(recorder.facts)
            listener.server.sessions.sweep(now._replace(s=now.s + 200_000))
            assert len(recorder.facts) == count

    run(body)


def test_a_client_that_does_not_read_is_closed_and_holds_little_memory(
    serve: Serve, directory: Any, blobs: Any, recorder: Any, wire: Any
) -> None:  # MQL-5
    release(directory, blobs, 7, bytes(8 * 1024 * 1024))

    async def body() -> None:
        async with serve(MqttLimits(tick_s=0.02, standing_still_s=0.3)) as (_, port):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            await asyncio.to_thread(sock.sendall, wire.connect() + wire.publish("v2/fw/request/1/chunk/0") * 20)
            await recorder.until(lambda r: "DeviceDisconnected" in r.kinds())
            sock.close()
        kinds = [fact.kind for fact in recorder.facts if hasattr(fact, "kind")]
        assert kinds == ["slow_reader"]
        assert recorder.facts[-1].bytes_out < 6 * 1024 * 1024

    run(body)


def test_a_publisher_that_is_too_fast_is_read_more_slowly_and_loses_nothing(
    serve: Serve, recorder: Any, wire: Any
) -> None:  # MQL-2
    async def body() -> None:
        limits = MqttLimits(tick_s=0.02, messages_a_second=200.0, messages_burst=50.0)
        async with serve(limits) as (_, port):
            loop = asyncio.get_running_loop()
            since = loop.time()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wire.connect() + b"".join(wire.publish("v2/t", b'{"n":%d}' % n) for n in range(150)))
            await recorder.until(lambda r: len(r.published) == 150)
            assert loop.time() - since > 0.4
            writer.close()
        assert [json.loads(event.data)["n"] for event in recorder.published] == list(range(150))

    run(body)


def test_many_packets_in_one_piece_are_answered_over_several_turns(serve: Serve, wire: Any) -> None:  # MQL-4
    async def body() -> None:
        async with serve() as (_, port):
            answers = await raw(port, wire.connect(), b"\xc0\x00" * 20_000, wire.packet(0xE0, b""))
            assert answers == b"\x20\x02\x00\x00" + b"\xd0\x00" * 20_000

    run(body)


def test_3_1_1_is_read_on_when_acknowledgements_have_gone_out(serve: Serve, recorder: Any, wire: Any) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(wire.connect())
            assert len(await reader.readexactly(4)) == 4
            recorder.waits = True
            writer.write(b"".join(wire.publish("v2/t", b'{"a":1}', 1, number) for number in range(1, 101)))
            await recorder.until(lambda r: len(r.published) == 64)
            recorder.waits = False
            recorder.store()
            answers = await reader.readexactly(400)
            assert [answers[at + 3] for at in range(0, 400, 4)] == list(range(1, 101))
            writer.close()

    run(body)


def test_an_error_of_ours_ends_one_connection_and_no_other(
    serve: Serve, directory: Any, recorder: Any
) -> None:  # MQE-10
    async def body() -> None:
        directory.add(OTHER, "token-of-the-other-device")
        async with serve() as (listener, port):
            other = await Client(port, token="token-of-the-other-device").online()
            client = await Client(port).online()

            def broken(device_id: str) -> Any:
                raise RuntimeError("a bug")

            directory.device = broken
            client.mqtt.publish("v2/fw/request/1/chunk/0", b"5", 1)
            assert await client.hears(client.ended) == 0x83
            assert listener.server.status()["counts"]["our_errors"] == 1
            assert (await other.ask("v2/r/req/1", '{"method":"getTime"}'))[0] == "v2/r/res/1"
            await other.end()
            await client.end()

    run(body)


def test_a_client_of_5_gets_no_reason_strings_that_it_does_not_want(serve: Serve) -> None:  # MQP-6
    async def body() -> None:
        async with serve() as (_, port):
            for wanted in (1, 0):
                client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
                client.username_pw_set(TOKEN)
                told: queue.Queue[Any] = queue.Queue()
                client.on_publish = lambda c, u, mid, reason, p, told=told: told.put((reason.value, p.json()))
                properties = Properties(PacketTypes.CONNECT)
                properties.RequestProblemInformation = wanted
                await asyncio.to_thread(client.connect, "127.0.0.1", port, properties=properties)
                client.loop_start()
                client.publish("v2/t", "no JSON", 1)
                reason, found = await asyncio.to_thread(told.get, True, WAIT_S)
                assert reason == 0x99
                assert ("ReasonString" in found) == bool(wanted)
                client.disconnect()
                await asyncio.to_thread(client.loop_stop)

    run(body)


def test_tls_connections_are_served_and_told_apart(serve: Serve, recorder: Any, tmp_path: Any, wire: Any) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    made = subprocess.run([*command.split(), *files], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    client = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))

    async def body() -> None:
        async with serve(tls=server) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
            writer.write(wire.connect() + wire.publish("v2/t", b'{"a":"' + b"x" * 60_000 + b'"}', 1))
            assert await reader.readexactly(8) == b"\x20\x02\x00\x00\x40\x02\x00\x01"
            writer.write(wire.packet(0xE0, b""))
            assert await rest(reader) == b""
            writer.close()

    run(body)
    assert recorder.facts[0].secure is True
    assert len(recorder.published) == 1


@pytest.mark.parametrize("protocol", [paho.MQTTv311, paho.MQTTv5])
def test_a_function_is_called_and_answers(protocol: int, serve: Serve, recorder: Any) -> None:  # MQX-1, DEV-9
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port, protocol).online()
            call = asyncio.create_task(listener.server.ask(DEVICE, FunctionCall("brew", {"cups": 2})))
            await client.subscribe("v1/devices/me/rpc/request/+")
            topic, payload = await client.hears(client.messages)
            assert json.loads(payload) == {"method": "brew", "params": {"cups": 2}}
            client.mqtt.publish(topic.replace("request", "response"), '{"return_value":7}', 1)
            assert await call == {"return_value": 7}
            assert 0 < int(topic.rpartition("/")[2]) < 2**31
            with pytest.raises(Refused, match="timeout"):
                await listener.server.ask(DEVICE, FunctionCall("brew"), 0.1)
            lost = asyncio.create_task(listener.server.ask(DEVICE, FunctionCall("brew")))
            await client.hears(client.messages)
            await client.hears(client.messages)
            await client.end()
            with pytest.raises(Refused, match="device_offline"):
                await lost
        fates = [fact.outcome for fact in recorder.facts if isinstance(fact, FunctionCalled)]
        assert fates == ["answered", "timeout", "offline"]

    run(body)


def test_variables_and_probes_are_answered(serve: Serve) -> None:  # MQX-2, MQX-4
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            await client.subscribe("v1/devices/me/attributes")
            await client.subscribe("v1/devices/me/rpc/request/+")
            client.mqtt.publish("v1/devices/me/telemetry", '{"level":3}', 1)
            await client.hears(client.acknowledged)
            known = await listener.server.ask(DEVICE, VariableRead("level"))
            assert (known["value"], set(known)) == (3, {"value", "at"})
            assert await listener.server.ask(DEVICE, Probe()) is True
            assert await client.hears(client.messages) == ("v1/devices/me/attributes", b"{}")
            read = asyncio.create_task(listener.server.ask(DEVICE, VariableRead("level", fresh=True)))
            topic, _ = await client.hears(client.messages)
            client.mqtt.publish(topic.replace("request", "response"), "4")
            assert await read == {"value": 4}
            await client.end()

    run(body)


def test_a_device_is_told_of_desired_attributes_and_asks_for_them(serve: Serve, directory: Any) -> None:  # MQX-3, MQU-4
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port).online()
            await client.subscribe("v1/devices/me/attributes")
            directory.desire({"rate": 5, "mode": "eco"})
            listener.server.sessions.directory_changed(frozenset({DEVICE}), frozenset())
            assert await client.hears(client.messages) == ("v1/devices/me/attributes", b'{"rate":5,"mode":"eco"}')
            client.mqtt.publish("v1/devices/me/attributes", '{"serial":"S-17"}', 1)
            topic, answer = await client.ask(
                "v1/devices/me/attributes/request/1", '{"clientKeys":"serial","sharedKeys":"rate"}'
            )
            assert topic == "v1/devices/me/attributes/response/1"
            assert json.loads(answer) == {"client": {"serial": "S-17"}, "shared": {"rate": 5}}
            await client.end()

    run(body)


def test_reported_attributes_that_cannot_be_stored_end_the_connection_and_are_told_again(
    serve: Serve, recorder: Any
) -> None:  # MQP-2, MQU-3
    async def body() -> None:
        async with serve() as (_, port):
            client = await Client(port).online()
            recorder.fails = True
            client.mqtt.publish("v1/devices/me/attributes", '{"n":1}', 0)
            assert await client.hears(client.ended) == 0x89
            recorder.fails = False
            await client.end()
            client = await Client(port).online()
            client.mqtt.publish("v1/devices/me/attributes", '{"n":1}', 1)
            await client.hears(client.acknowledged)
            await client.end()
        assert recorder.kinds().count("AttributesReported") == 2

    run(body)


@pytest.mark.parametrize(("protocol", "reason"), [(paho.MQTTv5, 0x8E), (paho.MQTTv311, None)])
def test_a_newer_connection_on_another_gateway_ends_the_one_here(
    protocol: int, reason: int | None, serve: Serve
) -> None:  # MQS-2
    async def body() -> None:
        async with serve() as (listener, port):
            client = await Client(port, protocol).online()
            session = listener.server.sessions.connection(DEVICE).session
            later = session.connected_at + timedelta(milliseconds=1)
            older = session.connected_at - timedelta(milliseconds=1)
            about = (DEVICE, 1000, "b", 1, 1)
            rest_of_it = ("mqtt/5.0", "192.0.2.7", False, "")
            listener.server.connected_elsewhere(DeviceConnected(*about, older, *rest_of_it))
            assert DEVICE in listener.server.sessions
            listener.server.connected_elsewhere(DeviceConnected(*about, later, *rest_of_it))
            ended = await client.hears(client.ended)
            assert ended == reason or reason is None
            assert DEVICE not in listener.server.sessions
            await client.end()

    run(body)
