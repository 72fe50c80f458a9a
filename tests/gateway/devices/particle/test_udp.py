"""The UDP listener over real sockets: handshakes good and bad, sessions that move and that outlive their gateway."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from services.gateway.devices.calls import FunctionCall, Probe, VariableRead
from services.gateway.devices.particle import coap, device_messages, device_reading, keys
from services.gateway.devices.particle.device_updates import Habits, Receiver
from services.gateway.devices.particle.dtls.client import LATER, NEW, OLD
from services.gateway.devices.particle.dtls.client import Firmware as DtlsFirmware
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.records import ALERT, encode, number_of
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.hello import UPDATES_V3
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.session import Session
from services.gateway.devices.particle.session_store import SessionStore
from services.gateway.devices.particle.udp import ParticleUdpListener
from services.gateway.devices.particle.udp_limits import StoreLimits, UdpLimits
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.subscriptions import Publisher
from services.gateway.entries import ImageEntry
from services.gateway.epochs import Port
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events.gateway import DeviceConnected, DeviceDisconnected, DeviceMisbehaved, KeyPresented, SessionReplaced
from tests.gateway.devices.particle.desk import DESCRIPTION, DEVICE, ORG, PRODUCT, ParticleDirectory
from tests.gateway.devices.particle.udp_device import (
    DEVICE_EC_DER,
    ELECTRON,
    WAIT_S,
    UdpDevice,
    bad_network,
)
from tests.gateway.devices.particle.vectors import SERVER_EC

OTHER = "f" * 24
Serve = Callable[..., Any]


@pytest.fixture
def directory() -> ParticleDirectory:
    made = ParticleDirectory()
    made.add(key_der=DEVICE_EC_DER, key_algorithm="ecc")
    return made


@pytest.fixture
def serve(directory: ParticleDirectory, recorder: Any, blobs: Any, tmp_path: Path) -> Serve:
    """A gateway; the next one of a test is its restart. ``killed``: nothing is stored at its end."""

    @asynccontextmanager
    async def serving(
        port: int = 0, killed: bool = False, dtls: DtlsLimits | None = None, udp: UdpLimits | None = None, **limits: Any
    ) -> AsyncIterator[tuple[ParticleUdpListener, int]]:
        server = DeviceServer(
            directory=directory,  # type: ignore[arg-type]  # as on the desk
            facts=recorder,
            log=recorder,
            blobs=blobs,
            gateway="a",
            epoch=3,
            clock=system_clock,
        )
        store = SessionStore(tmp_path / "sessions.db", SERVER_EC, limits=StoreLimits(again_s=0.1))
        listener = ParticleUdpListener(
            server, SERVER_EC, store, ParticleLimits(**limits), udp_limits=udp, dtls_limits=dtls
        )
        server.serve({"particle-udp": listener})
        try:
            yield listener, await server.start("127.0.0.1", Port("particle-udp", port))
        finally:
            if killed:
                await kill(listener)
            else:
                await server.stop()
            await store.stop()

    return serving


async def kill(listener: ParticleUdpListener) -> None:
    """End the listener as a crash does: what was not stored is lost."""
    listener.save = lambda *_, **__: None  # type: ignore[method-assign]
    listener.store.forget = lambda device_id: None  # type: ignore[method-assign]
    await listener.server.stop()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    assert UdpDevice.opened == []


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            try:
                await body()
            finally:
                UdpDevice.close_all()

    uvloop.run(bounded())  # as in production


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def ping(device: UdpDevice) -> None:
    """Until it is answered."""
    number = device.id
    device.say(device_messages.ping(number))
    await device.acknowledged(number)


async def described(device: UdpDevice, description: bytes = DESCRIPTION) -> None:
    asked, _ = await device.hears(device_reading.DescribeRequest)
    device.say(device_messages.acknowledgement(asked.id, coap.CONTENT, asked.token, description))


async def subscribed(device: UdpDevice) -> None:
    wanted = device_messages.subscription(device.id, Subscription("weather"))
    device.say(wanted)
    await device.acknowledged(wanted.id)


async def publish(listener: ParticleUdpListener, device: UdpDevice, recorder: Any) -> None:
    """An event of the device, which everybody gets who subscribed to it."""
    before = len(recorder.published)
    device.say(device_messages.event(device.id, Event("weather/rain", b"1", public=True), confirmable=True))
    await until(lambda: len(recorder.published) > before)
    listener.server.subscriptions.publish(recorder.published[-1], Publisher(ORG, None, PRODUCT))


async def called(listener: ParticleUdpListener, device: UdpDevice) -> None:
    """A function of the device, which is not asked for its description before."""
    call = asyncio.create_task(listener.server.ask(DEVICE, FunctionCall("brew", "x")))
    message, _ = await device.hears(device_reading.FunctionCall)
    device.say(
        device_messages.acknowledgement(message.id),
        device_messages.function_result(device.id, message.token, 42, confirmable=True),
    )
    assert await call == 42


def spoil(listener: ParticleUdpListener, seed: int) -> None:
    """What the gateway sends goes through a bad network."""
    fate, write = bad_network(seed), listener.sockets.send

    def written(data: bytes, address: tuple[str, int]) -> None:
        for delay_s in fate(data):
            listener.loop.call_later(delay_s, write, data, address)

    listener.sockets.send = written  # type: ignore[method-assign]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions come soon."""
    monkeypatch.setattr("services.gateway.devices.particle.exchange.ACK_S", 0.05)


def kinds(recorder: Any) -> list[str]:
    """How the device came and went: facts with the reason of an end."""
    return [
        type(fact).__name__ + (f" {fact.reason}" if isinstance(fact, DeviceDisconnected) else "")
        for fact in facts_of(recorder, *PRESENCE)
    ]


def facts_of(recorder: Any, *kinds: type) -> list[Any]:
    return [fact for fact in recorder.facts if isinstance(fact, kinds)]


PRESENCE = (DeviceConnected, SessionReplaced, DeviceDisconnected)


@pytest.mark.parametrize("firmware", [OLD, NEW, LATER])
def test_a_device_comes_online_and_says_goodbye(serve: Serve, recorder: Any, firmware: DtlsFirmware) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port, firmware=firmware)
            assert DEVICE in listener.server.sessions
            device.send(device.client.close())
            await recorder.until(lambda r: any(isinstance(fact, DeviceDisconnected) for fact in r.facts))
            assert len(listener.endpoint) == 0
            assert listener.store.of_device(bytes.fromhex(DEVICE)) is None
        online, offline = facts_of(recorder, *PRESENCE)
        assert (online.device_id, online.gateway, online.epoch, online.session) == (DEVICE, "a", 3, 1)
        assert (online.protocol, online.address) == ("particle/dtls", "127.0.0.1")
        assert (offline.session, offline.reason) == (1, "disconnected")
        assert offline.bytes_in > 0
        assert offline.bytes_out > 0

    run(body)


def test_what_the_platform_asks_goes_through_and_comes_back(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            await described(device)
            call = asyncio.create_task(listener.server.ask(DEVICE, FunctionCall("brew", "x")))
            message, said = await device.hears(device_reading.FunctionCall)
            assert said.name == "Brew"
            result = device_messages.function_result(device.id, message.token, 42, confirmable=True)
            device.say(device_messages.acknowledgement(message.id), result)
            await device.acknowledged(result.id)
            assert await call == 42
            read = asyncio.create_task(listener.server.ask(DEVICE, VariableRead("count")))
            message, _ = await device.hears(device_reading.VariableRequest)
            device.say(device_messages.acknowledgement(message.id, coap.CONTENT, message.token, b"\0\0\0\x05"))
            assert await read == {"value": 5}
            probe = asyncio.create_task(listener.server.ask(DEVICE, Probe()))
            message = await device.hear()
            device.say(device_messages.acknowledgement(message.id))
            assert await probe is True

    run(body)


def test_an_event_is_acknowledged_once_it_is_stored_and_heard_once_however_often_it_comes(
    serve: Serve, recorder: Any
) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await UdpDevice.online(port)
            recorder.waits = True
            event = device_messages.event(77, Event("e", b"1"), confirmable=True)
            device.say(event, event)
            await ping(device)
            recorder.store()
            await device.acknowledged(77)
            device.say(event)
            await device.acknowledged(77)
            assert [published.name for published in recorder.published] == ["e"]

    run(body)


def test_a_subscribed_event_is_repeated_until_the_device_acknowledges_it(
    serve: Serve, recorder: Any, quick: None
) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            await described(device)
            await subscribed(device)
            device.acknowledges = False
            await publish(listener, device, recorder)
            message, said = await device.hears(Event)
            assert (said.name, said.data, message.type) == ("weather/rain", b"1", coap.CON)
            before = device.received
            await device.until(lambda: device.received >= before + 2)
            device.say(device_messages.acknowledgement(message.id))
            await ping(device)
            assert listener.server.sessions.connection(DEVICE)._exchange.wake_at() is None

    run(body)


def test_a_device_that_acknowledges_nothing_is_offline_until_it_says_something(
    serve: Serve, recorder: Any, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.gateway.devices.particle.exchange.REPETITIONS", 1)

    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            await until(lambda: DEVICE not in listener.server.sessions)  # no answer to the request for its description
            await ping(device)
            assert DEVICE in listener.server.sessions
        assert kinds(recorder)[:3] == ["DeviceConnected", "DeviceDisconnected connection_lost", "DeviceConnected"]

    run(body)


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_is_lost_or_heard_twice_on_a_bad_network(
    serve: Serve, recorder: Any, quick: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("services.gateway.devices.particle.exchange.REPETITIONS", 8)
    lossy = replace(NEW, flight_first_s=0.1, flight_repeats=50)

    async def body() -> None:
        async with serve(dtls=DtlsLimits(flight_first_s=0.1)) as (listener, port):
            spoil(listener, -seed)
            device = await UdpDevice.online(port, firmware=lossy, fate=bad_network(seed))
            await described(device)
            for number in range(20):
                sent = device_messages.event(device.id, Event(f"e{number}"), confirmable=True)
                device.say(sent)
                await device.acknowledged(sent.id)
        assert [published.name for published in recorder.published] == [f"e{number}" for number in range(20)]
        assert len(facts_of(recorder, DeviceConnected)) == 1

    run(body)


# -- sessions that go on ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("firmware", [OLD, NEW, LATER])
def test_a_session_goes_on_from_another_port_and_nothing_is_said(
    serve: Serve, recorder: Any, firmware: DtlsFirmware
) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port, firmware=firmware)
            await described(device)
            await subscribed(device)
            before = device.port
            device.client.move()
            await device.reach(port)
            assert device.port != before
            await ping(device)
            await called(listener, device)
            await publish(listener, device, recorder)
            assert (await device.hears(Event))[1].name == "weather/rain"
            assert len(listener.endpoint) == 1
            assert kinds(recorder) == ["DeviceConnected"]

    run(body)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(("firmware", "moves"), [(OLD, False), (OLD, True), (NEW, False), (NEW, True), (LATER, True)])
def test_a_session_outlives_its_gateway(
    serve: Serve, recorder: Any, firmware: DtlsFirmware, moves: bool, killed: bool
) -> None:
    async def body() -> None:
        async with serve(killed=killed, udp=UdpLimits(save_s=0.0)) as (listener, port):
            device = await UdpDevice.online(port, firmware=firmware)
            await described(device)
            await subscribed(device)
            await ping(device)
            await until(lambda: not listener._changed)
            await listener.store.flush()
        assert device.client.failed == ""  # no close_notify
        session = device.client.session
        async with serve(port) as (listener, _):
            if moves:
                device.client.move()
                await device.reach(port)
            await ping(device)
            await called(listener, device)
            await publish(listener, device, recorder)
            assert (await device.hears(Event))[1].name == "weather/rain"
        assert device.client.session is session
        come_and_go = ["DeviceConnected", "DeviceDisconnected draining"]
        assert kinds(recorder) == come_and_go * 2

    run(body)


def test_a_silent_device_is_offline_and_its_next_record_makes_it_online(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve(udp_silence_s=0.2) as (listener, port):
            device = await UdpDevice.online(port)
            await until(lambda: DEVICE not in listener.server.sessions)
            assert len(listener.endpoint) == 0
            await ping(device)
            assert kinds(recorder) == ["DeviceConnected", "DeviceDisconnected keepalive", "DeviceConnected"]

    run(body)


def test_an_electron_is_silent_for_two_of_its_intervals_and_a_minute() -> None:
    assert ParticleLimits().udp_silence_s == 2 * 23 * 60 + 60


def test_an_event_whose_acknowledgement_was_lost_in_a_restart_is_not_heard_twice(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        event = device_messages.event(77, Event("e"), confirmable=True)
        async with serve() as (_, port):
            device = await UdpDevice.online(port)
            device.say(event)
            await device.acknowledged(77)
        async with serve(port):
            device.say(event)
            await device.acknowledged(77)
        assert [published.name for published in recorder.published] == ["e"]

    run(body)


def test_an_event_that_was_not_durable_at_the_end_is_heard_anew(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        event = device_messages.event(77, Event("e"), confirmable=True)
        async with serve() as (_, port):
            device = await UdpDevice.online(port)
            recorder.waits = True
            device.say(event)
            await until(lambda: bool(recorder.published))
        recorder.waits = False
        async with serve(port):
            device.say(event)
            await device.acknowledged(77)
        assert len(recorder.published) == 2

    run(body)


def test_what_was_received_before_is_refused_after_a_restart(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await UdpDevice.online(port, firmware=NEW)
            sent = device_messages.event(device.id, Event("e"), confirmable=True)
            device.say(sent)
            await device.acknowledged(sent.id)
        recorded = list(device.raw)
        async with serve(port) as (listener, _):
            attacker = UdpDevice()
            await attacker.reach(port)
            for datagram in recorded:
                attacker.send(datagram)
            await until(lambda: listener.endpoint.refusals["replayed"] >= 2)
            assert DEVICE not in listener.server.sessions
            await ping(device)
        assert [published.name for published in recorder.published] == ["e"]

    run(body)


def test_a_replayed_record_does_nothing(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            device.say(device_messages.event(device.id, Event("e"), confirmable=True))
            await until(lambda: bool(recorder.published))
            attacker = UdpDevice()
            await attacker.reach(port)
            for datagram in device.raw:
                device.send(datagram)
                attacker.send(datagram)
            await until(lambda: listener.endpoint.refusals["replayed"] > 0)
            await ping(device)
            assert len(recorder.published) == 1
            assert kinds(recorder) == ["DeviceConnected"]

    run(body)


def test_a_session_of_another_gateway_is_answered_with_silence_and_the_device_begins_anew(
    serve: Serve, recorder: Any
) -> None:
    async def body() -> None:
        async with serve(killed=True) as (listener, port):
            device = await UdpDevice.online(port, firmware=NEW)
            await listener.store.flush()
            listener.store.forget(bytes.fromhex(DEVICE))
            await listener.store.flush()
        async with serve(port) as (listener, _):
            received = device.received
            device.say(device_messages.ping(device.id))
            await until(lambda: listener.endpoint.refusals["unknown_session"] > 0)
            await device.shake()
            await device.greet()
            assert device.received > received
        assert kinds(recorder)[2:] == ["DeviceConnected", "DeviceDisconnected draining"]

    run(body)


def test_what_is_stored_is_forgotten_when_the_device_connects_to_another_gateway(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await UdpDevice.online(port, firmware=NEW)
        async with serve(port) as (listener, _):
            listener.store.outdated(bytes.fromhex(DEVICE), system_clock())
            device.say(device_messages.ping(device.id))
            await until(lambda: listener.endpoint.refusals["unknown_session"] > 0)

    run(body)


def test_a_restored_session_says_nothing_before_it_is_stored_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await UdpDevice.online(port, firmware=NEW)
            await ping(device)
        async with serve(port) as (listener, _):
            put, fails = SessionStore._put, True

            def failing(store: SessionStore, batch: Any) -> None:
                if fails:
                    raise OSError("no space left")
                put(store, batch)

            monkeypatch.setattr(SessionStore, "_put", failing)
            received, number = device.received, device.id
            device.say(device_messages.ping(number))
            await until(lambda: DEVICE in listener.server.sessions)
            await until(lambda: listener.store.status()["unsaved"] > 0 and listener.store._complain_at > 0)
            assert device.received == received
            fails = False
            await device.acknowledged(number)

    run(body)


def test_no_more_is_sent_than_a_crash_would_skip(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.devices.particle.udp_connection.SEND_JUMP", 5)
    monkeypatch.setattr(SessionStore, "_put", _no_space)

    async def body() -> None:
        async with serve(udp=UdpLimits(held_messages=2), killed=True) as (listener, port):
            device = await UdpDevice.online(port)
            for _ in range(20):
                device.say(device_messages.ping(device.id))
            await until(lambda: listener.server.counts["unsent_messages"] > 0)
            sent = listener.server.sessions.connection(DEVICE).dtls.send_sequence
            assert sent <= 1 + 2 + 5  # its Finished, the answers to the Hello, then what was allowed

    with pytest.raises(Unavailable):
        run(body)


def _no_space(store: SessionStore, batch: Any) -> None:
    raise OSError("no space left")


# -- firmware ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("firmware", "fast"),
    [("self_finishing", False), ("self_finishing", True), ("waiting", False), ("waiting", True), ("v3", True)],
)
def test_a_device_takes_its_update_on_a_bad_network(
    serve: Serve,
    directory: ParticleDirectory,
    blobs: Any,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    firmware: Any,
    fast: bool,
) -> None:
    monkeypatch.setattr("services.gateway.devices.particle.transfer.RETRANSMIT_S", 0.1)
    monkeypatch.setattr("services.gateway.devices.particle.transfer.RETRANSMISSIONS", 8)
    for name in ("OWN_FINISH_S", "LIST_S"):
        monkeypatch.setattr(f"services.gateway.devices.particle.sender_classic.{name}", 0.2)
    monkeypatch.setattr("services.gateway.devices.particle.device_updates.LIST_AGAIN_S", 0.2)
    monkeypatch.setattr("services.gateway.devices.particle.device_updates.AGAIN_S", 0.1)
    monkeypatch.setattr("services.gateway.devices.particle.device_updates.TRIES", 10)
    image = os.urandom(3_000)
    blobs.put(image)
    directory.images[PRODUCT, 2] = ImageEntry(PRODUCT, 2, "v2", len(image), hashlib.sha256(image).hexdigest())
    directory.change(released_version=2)
    directory.change_product(released_version=2)

    async def body() -> None:
        async with serve(patience_s=0.0) as (listener, port):
            hello = replace(ELECTRON, flags=UPDATES_V3 if firmware == "v3" else 0)
            device = await UdpDevice.online(port, hello=hello)
            await described(device)
            spoil(listener, 5)
            device.spoil(bad_network(6))
            receiver = Receiver(Habits(firmware, reliable=False, fast=fast), first_id=1_000)
            async with asyncio.timeout(WAIT_S):
                while receiver.image is None:
                    device.take(receiver)
                    await asyncio.sleep(0.02)
            assert receiver.image == image

    run(body)


def test_who_is_to_be_woken_before_the_next_look_at_what_is_due_makes_it_come_sooner(serve: Serve) -> None:
    async def body() -> None:
        async with serve(udp=UdpLimits(tick_s=20.0, step_s=0.01)) as (listener, port):
            await UdpDevice.online(port)
            (connection,) = listener._connections.values()
            now = listener.loop.time()
            assert listener._tick_at > now + 1.0
            listener.wake_by(connection, now + 0.03)
            assert now + 0.03 <= listener._tick_at <= now + 0.05
            await until(lambda: connection.bucket is None or connection.bucket * 0.01 > now + 1.0)  # it was woken
            assert listener._tick_at > now + 1.0

    run(body)


# -- who may come in --------------------------------------------------------------------------------------------------


async def refused(listener: ParticleUdpListener, device: UdpDevice, kind: str, hello: Any = ELECTRON) -> None:
    """It is not let in, and told nothing."""
    received = device.received
    device.say(device_messages.hello(device.id, hello, confirmable=True))
    await until(lambda: listener.server.counts["handshake_" + kind] > 0)
    await until(lambda: len(listener.endpoint) == len(listener.server.sessions))
    assert device.received == received
    assert device.client.failed == ""


def test_another_key_is_refused_and_the_team_is_told(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            attacker = UdpDevice(key=keys.new_ec())
            await attacker.reach(port)
            await attacker.shake()
            await refused(listener, attacker, "wrong_key")
            await ping(device)
        told = facts_of(recorder, DeviceMisbehaved)
        assert [(fact.device_id, fact.kind) for fact in told] == [(DEVICE, "wrong_key")]
        assert kinds(recorder) == ["DeviceConnected", "DeviceDisconnected draining"]

    run(body)


@pytest.mark.parametrize(
    ("changes", "hello", "kind"),
    [
        ({"member": {"denied": True}}, ELECTRON, "denied"),
        ({"member": {"product_id": None}}, replace(ELECTRON, product_id=4), "not_a_member"),
        ({}, replace(ELECTRON, device_id=OTHER), "unknown_key"),
        ({}, replace(ELECTRON, device_id=OTHER, product_id=4), "unknown_device"),
        ({"key_algorithm": "rsa"}, ELECTRON, "wrong_key"),
    ],
)
def test_who_may_not_come_in_is_told_nothing(
    serve: Serve, directory: ParticleDirectory, changes: dict[str, Any], hello: Any, kind: str
) -> None:
    directory.change(**changes)

    async def body() -> None:
        async with serve() as (listener, port):
            device = UdpDevice()
            await device.reach(port)
            await device.shake()
            await refused(listener, device, kind, hello)

    run(body)


def test_a_hello_without_a_device_id_is_of_the_device_whose_key_it_is(
    serve: Serve, directory: ParticleDirectory
) -> None:
    nameless = replace(ELECTRON, device_id=None)

    async def body() -> None:
        async with serve() as (listener, port):
            await UdpDevice.online(port, hello=nameless)
            assert DEVICE in listener.server.sessions
            directory.add(OTHER, key_der=DEVICE_EC_DER, key_algorithm="ecc")
            device = UdpDevice()
            await device.reach(port)
            await device.shake()
            await refused(listener, device, "no_device_id", nameless)

    run(body)


def test_devices_that_share_a_key_are_told_apart_by_the_hello(serve: Serve, directory: ParticleDirectory) -> None:
    directory.add(OTHER, key_der=DEVICE_EC_DER, key_algorithm="ecc")

    async def body() -> None:
        async with serve() as (listener, port):
            await UdpDevice.online(port)
            await UdpDevice.online(port, hello=replace(ELECTRON, device_id=OTHER), device_id=OTHER)
            assert set(listener.server.sessions) == {DEVICE, OTHER}

    run(body)


def test_the_first_key_is_trusted_where_its_product_says_so_and_no_other_after_it(
    serve: Serve, directory: ParticleDirectory, recorder: Any
) -> None:
    directory.change(key_der=None, key_algorithm=None)
    directory.change_product(trust_first_key=True)

    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            attacker = UdpDevice(key=keys.new_ec())
            await attacker.reach(port)
            await attacker.shake()
            await refused(listener, attacker, "wrong_key")
        async with serve(port):
            await ping(device)
        presented = facts_of(recorder, KeyPresented)
        assert [fact.algorithm for fact in presented] == ["ecc", "ecc"]  # a restart does not know that it was told

    run(body)


@pytest.mark.parametrize("changes", [{"key_der": b"another"}, {"member": {"denied": True}}])
def test_a_device_whose_key_or_place_is_taken_is_offline_and_its_session_is_no_more(
    serve: Serve, directory: ParticleDirectory, recorder: Any, changes: dict[str, Any]
) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            directory.change(**changes)
            listener.server.sessions.directory_changed(frozenset((DEVICE,)), frozenset())
            await device.until(lambda: device.client.failed == "closed_by_server")
            assert listener.store.of_device(bytes.fromhex(DEVICE)) is None
        assert kinds(recorder) == ["DeviceConnected", "DeviceDisconnected kicked"]

    run(body)


def test_a_stored_session_of_a_device_that_may_not_come_in_any_more_is_forgotten(
    serve: Serve, directory: ParticleDirectory
) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await UdpDevice.online(port, firmware=NEW)
        directory.change(key_der=b"another")
        async with serve(port) as (listener, _):
            device.say(device_messages.ping(device.id))
            await until(lambda: listener.server.counts["handshake_wrong_key"] > 0)
            assert listener.store.of_device(bytes.fromhex(DEVICE)) is None

    run(body)


def test_while_the_directory_is_away_nobody_comes_in_and_sessions_stay_stored(
    serve: Serve, directory: ParticleDirectory
) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await UdpDevice.online(port, firmware=NEW)
        directory.away = Unavailable("away")
        async with serve(port) as (listener, _):
            device.say(device_messages.ping(device.id))
            await until(lambda: listener.server.counts["unavailable_connects"] > 0)
            directory.away = None
            await ping(device)
            assert DEVICE in listener.server.sessions

    run(body)


def test_a_new_device_is_told_nothing_while_the_directory_is_away(serve: Serve, directory: ParticleDirectory) -> None:
    directory.away = Unavailable("away")

    async def body() -> None:
        async with serve() as (listener, port):
            device = UdpDevice()
            await device.reach(port)
            await device.shake()
            received = device.received
            device.say(device_messages.hello(device.id, ELECTRON, confirmable=True))
            await until(lambda: listener.server.counts["unavailable_connects"] > 0)
            assert (len(listener.endpoint), len(listener.server.sessions)) == (0, 0)
            assert device.received == received

    run(body)


@pytest.mark.parametrize("step", ["start", "resume", "receive"])
def test_an_error_of_ours_ends_one_session_and_no_other(
    serve: Serve,
    directory: ParticleDirectory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    directory.add(OTHER, key_der=DEVICE_EC_DER, key_algorithm="ecc")
    good = getattr(Session, step)

    def bad(session: Session, *arguments: Any) -> Any:
        if session.device_id == DEVICE:
            raise RuntimeError("a bug")
        return good(session, *arguments)

    async def body() -> None:
        async with serve() as (listener, port):
            other = await UdpDevice.online(port, hello=replace(ELECTRON, device_id=OTHER), device_id=OTHER)
            device = UdpDevice(firmware=NEW)
            await device.reach(port)
            await device.shake()
            if step != "start":
                await device.greet()
            if step == "resume":
                listener.server.sessions.connection(DEVICE).dismiss("draining", "")
            monkeypatch.setattr(Session, step, bad)
            device.say(device_messages.hello(device.id, ELECTRON, confirmable=True))
            await until(lambda: "a bug" in caplog.text and DEVICE not in listener.server.sessions)
            assert listener.endpoint.of_device(bytes.fromhex(DEVICE)) is None
            await ping(other)

    run(body)


# -- one session a device ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same_port", [False, True])
def test_a_newer_handshake_takes_over_once_the_device_has_said_hello(
    serve: Serve, recorder: Any, same_port: bool
) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            newer = device
            if not same_port:
                newer = UdpDevice()
                await newer.reach(port)
            await newer.shake()
            assert kinds(recorder) == ["DeviceConnected"]
            await newer.greet()
            assert kinds(recorder) == ["DeviceConnected", "SessionReplaced"]
            assert len(listener.endpoint) == 1
            await ping(newer)
            if not same_port:
                device.say(device_messages.ping(device.id))
                await until(lambda: listener.endpoint.refusals["unknown_session"] > 0)

    run(body)


def test_a_newer_handshake_at_the_same_address_without_a_hello_ends_the_session(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve(dtls=DtlsLimits(bind_s=0.2)) as (listener, port):
            device = await UdpDevice.online(port)
            await device.shake()
            await until(lambda: DEVICE not in listener.server.sessions)
            await until(lambda: len(listener.endpoint) == 0)
            assert listener.server.counts["handshake_no_hello"] == 1
            assert listener.store.of_device(bytes.fromhex(DEVICE)) is None
        assert kinds(recorder) == ["DeviceConnected", "DeviceDisconnected connection_lost"]

    run(body)


def test_whoever_only_begins_a_handshake_ends_no_session(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            for datagram in UdpDevice(key=keys.new_ec()).client.connect(0.0):
                device.send(datagram)
            await until(lambda: listener.endpoint.refusals["no_cookie"] > 1)
            await ping(device)
        assert kinds(recorder) == ["DeviceConnected", "DeviceDisconnected draining"]

    run(body)


# -- hostile and full -------------------------------------------------------------------------------------------------


def test_garbage_and_records_of_nobody_are_answered_with_nothing(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            attacker = UdpDevice()
            await attacker.reach(port)
            record = b"\xfe\xfd\x00\x01" + bytes(6)
            for start in (b"", b"\x00", os.urandom(40), os.urandom(1400), bytes(3_000)):
                attacker.send(start)
            for kind in (b"\x17", b"\x15", b"\x16", b"\xfe"):
                attacker.send(kind + record + b"\x00\x10" + os.urandom(16) + bytes.fromhex(OTHER) + b"\x0c")
            attacker.send(b"\x19" + record + os.urandom(8) + b"\x00\x10" + os.urandom(16))
            for _ in range(500):
                attacker.send(os.urandom(64))
            await until(lambda: listener.endpoint.refusals.total() > 300)
            await ping(device)
            assert attacker.received == 0
            assert listener.server.counts["our_errors"] == 0

    run(body)


def test_a_host_whose_devices_are_refused_too_often_is_not_heard_with_new_handshakes(serve: Serve) -> None:
    async def body() -> None:
        async with serve(refused_logins=1) as (listener, port):
            device = await UdpDevice.online(port)
            for _ in range(2):
                attacker = UdpDevice(key=keys.new_ec())
                await attacker.reach(port)
                await attacker.shake()
                await refused(listener, attacker, "wrong_key")
            for datagram in attacker.client.connect(asyncio.get_running_loop().time()):
                attacker.send(datagram)
            await until(lambda: listener.server.counts["unheard_datagrams"] > 0)
            await ping(device)

    run(body)


def test_a_message_before_the_hello_is_not_heard(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = UdpDevice()
            await device.reach(port)
            await device.shake()
            device.say(device_messages.ping(device.id))
            await until(lambda: listener.server.counts["early_messages"] > 0)
            await device.greet()

    run(body)


def test_who_breaks_the_protocol_is_closed_and_has_no_stored_session(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            device.send(device.client.seal(b"\xff\xff\xff\xff"))
            await device.until(lambda: device.client.failed == "closed_by_server")
            assert listener.store.of_device(bytes.fromhex(DEVICE)) is None
        assert kinds(recorder) == ["DeviceConnected", "DeviceDisconnected misbehaved"]

    run(body)


def test_what_cannot_be_sent_is_counted_and_lost(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            listener.sockets.send(bytes(70_000), ("127.0.0.1", port))
            listener.sockets.send(b"x", ("::1", port))
            assert listener.server.counts["unsendable_datagrams"] == 1
            await UdpDevice.online(port)

    run(body)


def test_a_new_handshake_is_not_heard_wherever_in_a_datagram_it_begins(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port)
            listener.server.admissions._behind = lambda: 2.0
            comes = UdpDevice()
            await comes.reach(port)
            [hello] = comes.client.connect(asyncio.get_running_loop().time())
            for number in (number_of(0, 0), number_of(1, 0)):
                comes.send(encode(ALERT, number, b"\x01\x00") + hello)
            await until(lambda: listener.server.counts["unheard_datagrams"] == 2)
            await ping(device)
            assert comes.received == 0

    run(body)


def test_many_datagrams_are_taken_in_several_turns(serve: Serve) -> None:
    async def body() -> None:
        async with serve(udp=UdpLimits(turn_datagrams=2)) as (listener, port):
            device = await UdpDevice.online(port)
            for _ in range(50):
                device.say(device_messages.ping(device.id))
            await ping(device)
            assert listener.status()["connections"] == 1

    run(body)


def test_a_gateway_that_drains_hears_no_new_devices_and_wakes_no_stored_session(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await UdpDevice.online(port, firmware=NEW)
            await listener.server.drain(0.0)
            device.say(device_messages.ping(device.id))
            await until(lambda: listener.endpoint.refusals["unknown_session"] > 0)
            for datagram in device.client.connect(asyncio.get_running_loop().time()):
                device.send(datagram)
            await until(lambda: listener.server.counts["unheard_datagrams"] > 0)
        assert kinds(recorder) == ["DeviceConnected", "DeviceDisconnected draining"]

    run(body)


def test_nobody_comes_in_while_facts_wait_for_the_store(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            stays, comes_back = await UdpDevice.online(port), UdpDevice()
            listener.server.admissions._behind = lambda: 2.0
            await comes_back.reach(port)
            for datagram in comes_back.client.connect(asyncio.get_running_loop().time()):
                comes_back.send(datagram)
            await until(lambda: listener.server.counts["unheard_datagrams"] > 0)
            await ping(stays)
        async with serve(port) as (listener, _):
            listener.server.admissions._behind = lambda: 2.0
            stays.say(device_messages.ping(stays.id))
            await until(lambda: listener.endpoint.refusals["unknown_session"] > 0)
            listener.server.admissions._behind = lambda: 0.0
            await ping(stays)

    run(body)


def test_a_session_that_is_being_stored_is_stored_again_when_that_is_done(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []
    put, may_write = SessionStore._put, threading.Event()

    def slow(store: SessionStore, batch: Any) -> None:
        rows = list(batch)
        batches.append(len(rows))
        may_write.wait(WAIT_S)
        put(store, rows)

    monkeypatch.setattr(SessionStore, "_put", slow)

    async def body() -> None:
        async with serve(udp=UdpLimits(save_s=0.0)) as (listener, port):
            device = await UdpDevice.online(port)
            for _ in range(5):
                await ping(device)
            assert len(listener.store._futures) <= 1
            may_write.set()
            await until(lambda: len(batches) >= 2 and not listener._changed)
            await listener.store.flush()
            assert listener.store.of_device(bytes.fromhex(DEVICE)).received_highest >= 6

    run(body)


def test_an_address_in_use_is_told(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            with pytest.raises(OSError, match="in use"):
                async with serve(port):
                    raise AssertionError

    run(body)
