"""How devices get in over real sockets: TLS with certificates, products that demand TLS, provisioning, WebSocket."""

from __future__ import annotations

import asyncio
import json
import queue
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import uvloop

from services.gateway.devices.mqtt.effects import Provision
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.listener import MqttListener
from services.gateway.devices.server import DeviceServer
from services.gateway.entries import AuthorityEntry
from services.gateway.epochs import Port
from shared.clock import system_clock
from shared.errors import NotFound
from shared.ids import digest
from tests.certificates import authority, device_certificate, key_text, new_key

DEVICE = "0123456789abcdef01234567"
NEW_DEVICE = "ffffffffffffffffffffffff"
TOKEN = "token-of-the-first-device"
KEY, SECRET = "the-key", "the-secret"
WAIT_S = 10.0
LIMITS = MqttLimits(tick_s=0.02, provisioning=3, provisioning_an_address=2, refused_logins=2)


class Registry:
    """The devices service and the directory behind it: a device that it lets in can connect."""

    def __init__(self, directory: Any) -> None:
        self.directory = directory
        self.asked: list[Provision] = []

    async def provision(self, *wanted: Any) -> str:
        asked = Provision(*wanted)
        self.asked.append(asked)
        if asked.device_name == "nobody":
            raise NotFound("no such device")
        self.directory.add(NEW_DEVICE)
        self.directory.tokens[asked.token_digest] = NEW_DEVICE
        return NEW_DEVICE


class Site:
    """A gateway's MQTT with all of its doors; ``ports`` by kind."""

    def __init__(self, listener: MqttListener, ports: dict[str, int], folder: Path, registry: Registry) -> None:
        self.listener = listener
        self.ports = ports
        self.folder = folder
        self.registry = registry

    def identity(self, certificate: str, key: Any) -> tuple[str, str]:
        """Files with a certificate and its key."""
        name = digest(certificate)[:12]
        (self.folder / f"{name}.pem").write_text(certificate)
        (self.folder / f"{name}.key").write_text(key_text(key))
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")

    def client_tls(self, identity: tuple[str, str] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "server.pem"))
        if identity is not None:
            context.load_cert_chain(*identity)
        return context


Serve = Callable[..., Any]


@pytest.fixture
def serve(directory: Any, recorder: Any, blobs: Any, tmp_path: Path) -> Serve:
    key = new_key()
    certificate = authority("server", key)
    server_key = new_key()
    (tmp_path / "server.pem").write_text(certificate)
    (tmp_path / "own.pem").write_text(device_certificate(certificate, key, "gateway", server_key, address="127.0.0.1"))
    (tmp_path / "own.key").write_text(key_text(server_key))

    def tls() -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tmp_path / "own.pem", tmp_path / "own.key")
        return context

    @asynccontextmanager
    async def serving(*kinds: str, limits: MqttLimits = LIMITS) -> AsyncIterator[Site]:
        server = DeviceServer(
            directory=directory, facts=recorder, log=recorder, blobs=blobs, gateway="a", epoch=3, clock=system_clock
        )
        registry = Registry(directory)
        listener = MqttListener(server, limits, registry)
        server.serve(dict.fromkeys(kinds, listener))
        ports = {
            kind: await server.start("127.0.0.1", Port(kind, 0, tls() if kind in ("mqtts", "mqtt-wss") else None))
            for kind in kinds
        }
        try:
            yield Site(listener, ports, tmp_path, registry)
        finally:
            await server.stop()

    return serving


class Client:
    """A paho client on its own thread; what it hears lies in queues."""

    def __init__(self, token: str | None, protocol: int = paho.MQTTv5, client_id: str = "", **options: Any) -> None:
        self.mqtt = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id, protocol=protocol, reconnect_on_failure=False, **options
        )
        if token is not None:
            self.mqtt.username_pw_set(token)
        self.connected: queue.Queue[int] = queue.Queue()
        self.ended: queue.Queue[int] = queue.Queue()
        self.messages: queue.Queue[bytes] = queue.Queue()
        self.acknowledged: queue.Queue[int] = queue.Queue()
        connected, ended, messages, acknowledged = self.connected, self.ended, self.messages, self.acknowledged
        # None of these holds the client, which closes its last sockets when nobody does.
        self.mqtt.on_connect = lambda c, u, f, reason, p: connected.put(reason.value)
        self.mqtt.on_disconnect = lambda c, u, f, reason, p: ended.put(reason.value)
        self.mqtt.on_message = lambda c, u, message: messages.put(message.payload)
        self.mqtt.on_publish = lambda c, u, mid, reason, p: acknowledged.put(reason.value)

    async def reaches(self, port: int, tls: ssl.SSLContext | None = None) -> int:
        """The reason code of CONNACK."""
        if tls is not None:
            self.mqtt.tls_set_context(tls)
        await asyncio.to_thread(self.mqtt.connect, "127.0.0.1", port)
        self.mqtt.loop_start()
        return await self.hears(self.connected)

    async def hears(self, heard: queue.Queue[Any]) -> Any:
        return await asyncio.to_thread(heard.get, True, WAIT_S)

    async def asks(self, qos: int = 0, **members: Any) -> dict[str, Any]:
        whole = {"provisionDeviceKey": KEY, "provisionDeviceSecret": SECRET, **members}
        self.mqtt.publish("/provision/request", json.dumps(whole), qos)
        answer: dict[str, Any] = json.loads(await self.hears(self.messages))
        return answer

    async def end(self) -> None:
        self.mqtt.disconnect()
        await asyncio.to_thread(self.mqtt.loop_stop)
        left = self.mqtt.socket()
        if left is not None:  # paho's thread may stop before it has closed what the gateway has closed
            left.close()


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(40):
            await body()

    uvloop.run(bounded())  # as in production


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


# -- certificates -------------------------------------------------------------------------------------------------

ACME_KEY, FOREIGN_KEY = new_key(), new_key()
ACME, FOREIGN = authority("Acme", ACME_KEY), authority("Foreign", FOREIGN_KEY)
TRUSTED = AuthorityEntry("1", "org", ACME, digest(ACME), True)
FOREIGNER = AuthorityEntry("2", "elsewhere", FOREIGN, digest(FOREIGN), True)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_lets_a_device_in_and_its_authoritys_end_puts_it_out(
    version: ssl.TLSVersion, serve: Serve, directory: Any
) -> None:  # MQC-6
    async def body() -> None:
        async with serve("mqtts") as site:
            directory.trust(TRUSTED)  # while the gateway listens already
            await until(lambda: bool(site.listener.around.authorities.certificates))
            key = new_key()
            tls = site.client_tls(site.identity(device_certificate(ACME, ACME_KEY, DEVICE, key), key))
            tls.minimum_version = tls.maximum_version = version
            client = Client(None)
            assert await client.reaches(site.ports["mqtts"], tls) == 0
            assert DEVICE in site.listener.server.sessions
            directory.trust()
            assert await client.hears(client.ended) == 0x98
            await client.end()
            again = Client(None)  # with a session that OpenSSL may resume
            assert await again.reaches(site.ports["mqtts"], tls) == 0x87
            await again.end()

    run(body)


def test_a_certificate_of_no_authority_and_one_that_has_lapsed_fail_the_handshake(
    serve: Serve, directory: Any
) -> None:  # MQC-6
    async def body() -> None:
        directory.trust(TRUSTED)
        lapsed = datetime.now(UTC) - timedelta(days=1)
        key = new_key()
        shown = [
            device_certificate(FOREIGN, FOREIGN_KEY, DEVICE, key),
            device_certificate(ACME, ACME_KEY, DEVICE, key, starts_at=lapsed - timedelta(days=1), ends_at=lapsed),
        ]
        async with serve("mqtts") as site:
            for certificate in shown:
                tls = site.client_tls(site.identity(certificate, key))
                tls.maximum_version = ssl.TLSVersion.TLSv1_2  # whose client hears of it in the handshake
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await asyncio.open_connection("127.0.0.1", site.ports["mqtts"], ssl=tls)

    run(body)


def test_an_authority_of_another_organization_is_refused_behind_the_handshake(
    serve: Serve, directory: Any
) -> None:  # MQC-6
    async def body() -> None:
        directory.trust(TRUSTED, FOREIGNER)
        key = new_key()
        async with serve("mqtts") as site:
            tls = site.client_tls(site.identity(device_certificate(FOREIGN, FOREIGN_KEY, DEVICE, key), key))
            client = Client(None)
            assert await client.reaches(site.ports["mqtts"], tls) == 0x87
            await client.end()

    run(body)


def test_no_certificate_is_needed_where_one_is_asked_for(serve: Serve, directory: Any, recorder: Any) -> None:  # MQC-6
    async def body() -> None:
        directory.trust(TRUSTED)
        async with serve("mqtts") as site:
            client = Client(TOKEN)
            assert await client.reaches(site.ports["mqtts"], site.client_tls()) == 0
            await client.end()
        assert recorder.facts[0].secure

    run(body)


def test_tls_sessions_can_be_resumed(serve: Serve, directory: Any) -> None:
    async def body() -> None:
        directory.trust(TRUSTED)
        async with serve("mqtts") as site:
            tls = site.client_tls()
            tls.maximum_version = ssl.TLSVersion.TLSv1_2
            assert await asyncio.to_thread(_resumes, tls, site.ports["mqtts"])

    run(body)


def _resumes(tls: ssl.SSLContext, port: int) -> bool:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1") as first,
    ):
        session = first.session
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        tls.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as second,
    ):
        return bool(second.session_reused)


# -- products that demand TLS -------------------------------------------------------------------------------------


def test_a_product_that_demands_tls_is_not_served_without(serve: Serve, directory: Any) -> None:  # MQC-4
    async def body() -> None:
        directory.access = {"tls_only": True}
        async with serve("mqtt", "mqtts") as site:
            plain = Client(TOKEN)
            assert await plain.reaches(site.ports["mqtt"]) == 0x87
            await plain.end()
            secure = Client(TOKEN)
            assert await secure.reaches(site.ports["mqtts"], site.client_tls()) == 0
            await secure.end()

    run(body)


def test_demanding_tls_ends_plain_sessions_and_no_others(serve: Serve, directory: Any) -> None:  # MQC-4, MQS-6
    async def body() -> None:
        directory.add(NEW_DEVICE, "token-of-the-other-device")
        async with serve("mqtt", "mqtts") as site:
            plain, secure = Client(TOKEN), Client("token-of-the-other-device")
            assert await plain.reaches(site.ports["mqtt"]) == 0
            assert await secure.reaches(site.ports["mqtts"], site.client_tls()) == 0
            directory.access = {"tls_only": True}
            site.listener.server.sessions.directory_changed(frozenset(), frozenset({1000}))
            assert await plain.hears(plain.ended) == 0x98
            assert list(site.listener.server.sessions) == [NEW_DEVICE]
            await plain.end()
            await secure.end()

    run(body)


# -- provisioning -------------------------------------------------------------------------------------------------

OPEN = {"provisioning": "create", "provisioning_key": KEY, "provisioning_secret_digest": digest(SECRET)}


@pytest.mark.parametrize(("token", "client_id"), [("provision", ""), (None, "provision")])
def test_a_device_is_provisioned_and_connects_at_once(
    token: str | None, client_id: str, serve: Serve, directory: Any, recorder: Any
) -> None:
    async def body() -> None:
        directory.access = OPEN
        async with serve("mqtt") as site:
            stranger = Client(token, paho.MQTTv311, client_id)
            assert await stranger.reaches(site.ports["mqtt"]) == 0
            answer = await stranger.asks(deviceName="Pump")
            assert (answer["status"], answer["credentialsType"]) == ("SUCCESS", "ACCESS_TOKEN")
            assert site.registry.asked == [Provision(1000, "Pump", digest(answer["credentialsValue"]), None, True)]
            assert len(site.listener.server.sessions) == 0
            device = Client(answer["credentialsValue"])
            assert await device.reaches(site.ports["mqtt"]) == 0
            assert NEW_DEVICE in site.listener.server.sessions
            await device.end()
            await stranger.end()
        assert {fact.device_id for fact in recorder.facts} == {NEW_DEVICE}

    run(body)


def test_what_the_service_refuses_is_a_failure_and_the_connection_stays(serve: Serve, directory: Any) -> None:
    async def body() -> None:
        directory.access = OPEN
        async with serve("mqtt") as site:
            stranger = Client("provision")
            assert await stranger.reaches(site.ports["mqtt"]) == 0
            assert (await stranger.asks(1, deviceName="nobody"))["status"] == "FAILURE"
            assert await stranger.hears(stranger.acknowledged) == 0
            assert (await stranger.asks(1, deviceName="Pump"))["status"] == "SUCCESS"
            stranger.mqtt.publish("v1/devices/me/telemetry", "{}", 1)
            assert await stranger.hears(stranger.ended) == 0x90
            await stranger.end()

    run(body)


def test_wrong_secrets_count_as_refused_logins(serve: Serve, directory: Any) -> None:
    async def body() -> None:
        directory.access = OPEN
        async with serve("mqtt") as site:
            stranger = Client("provision")
            assert await stranger.reaches(site.ports["mqtt"]) == 0
            for _ in range(LIMITS.refused_logins + 1):
                assert (await stranger.asks(provisionDeviceSecret="guess"))["status"] == "NOT_FOUND"
            reader, writer = await asyncio.open_connection("127.0.0.1", site.ports["mqtt"])
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            await stranger.end()

    run(body)


@pytest.mark.parametrize("limits", [{"provisioning": 2}, {"provisioning_an_address": 2}])
def test_so_many_are_provisioned_at_once_and_no_more(limits: dict[str, int], serve: Serve, directory: Any) -> None:
    async def body() -> None:
        async with serve("mqtt", limits=MqttLimits(tick_s=0.02, **limits)) as site:
            first, second, third, fourth = (Client("provision", client_id="provision") for _ in range(4))
            assert await first.reaches(site.ports["mqtt"]) == 0
            assert await second.reaches(site.ports["mqtt"]) == 0
            assert await third.reaches(site.ports["mqtt"]) == 0x9F
            await first.end()
            await until(lambda: site.listener.status()["provisioning"] == 1)
            assert await fourth.reaches(site.ports["mqtt"]) == 0
            assert second.ended.empty()  # none has thrown another out (MQS-2)
            for client in (second, third, fourth):
                await client.end()

    run(body)


def test_a_connection_for_provisioning_ends_after_its_time(serve: Serve) -> None:
    async def body() -> None:
        async with serve("mqtt", limits=MqttLimits(tick_s=0.02, provisioning_s=0.3)) as site:
            stranger = Client("provision")
            assert await stranger.reaches(site.ports["mqtt"]) == 0
            assert await stranger.hears(stranger.ended) == 0x80
            await stranger.end()
            assert site.listener.status()["provisioning"] == 0

    run(body)


# -- WebSocket ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mqtt-ws", "mqtt-wss"])
def test_a_device_speaks_mqtt_over_websocket(kind: str, serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve(kind) as site:
            client = Client(TOKEN, transport="websockets")
            tls = site.client_tls() if kind == "mqtt-wss" else None
            assert await client.reaches(site.ports[kind], tls) == 0
            values = {f"key-{number}": "x" * 50 for number in range(500)}
            client.mqtt.publish("v1/devices/me/telemetry", json.dumps(values), 1)
            assert await client.hears(client.acknowledged) == 0
            client.mqtt.publish("v1/devices/me/rpc/request/1", '{"method":"getTime"}', 1)
            assert "time" in json.loads(await client.hears(client.messages))
            await client.end()
            await recorder.until(lambda r: len(r.facts) == 2)
        online, offline = recorder.facts
        assert (online.protocol, online.address, online.secure) == ("mqtt/5.0", "127.0.0.1", kind == "mqtt-wss")
        assert offline.reason == "disconnected"
        assert json.loads(recorder.published[0].data) == values

    run(body)


def test_a_gateway_that_stops_says_so_over_websocket(serve: Serve) -> None:  # MQS-6
    async def body() -> None:
        async with serve("mqtt-ws") as site:
            client = Client(TOKEN, transport="websockets")
            assert await client.reaches(site.ports["mqtt-ws"]) == 0
        assert await client.hears(client.ended) == 0x8B
        await client.end()

    run(body)


def test_whoever_does_not_shake_hands_is_closed_in_time(serve: Serve) -> None:
    async def body() -> None:
        async with serve("mqtt-ws", limits=MqttLimits(tick_s=0.02, connect_s=0.2)) as site:
            reader, writer = await asyncio.open_connection("127.0.0.1", site.ports["mqtt-ws"])
            writer.write(b"GET /mqtt HTTP/1.1\r\n")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            writer.close()
            await until(lambda: not site.listener.connections)

    run(body)
