"""The TCP listener over real sockets: handshakes good and bad, what they cost, and how they end."""

from __future__ import annotations

import asyncio
import gc
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from services.gateway.devices.calls import FunctionCall, Probe, VariableRead
from services.gateway.devices.particle import coap, device_messages, device_reading, keys
from services.gateway.devices.particle.device_handshake import open_reply, seal_hello
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.listener import ParticleListener
from services.gateway.devices.particle.violations import BadMessage
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.subscriptions import Publisher
from services.gateway.epochs import Port
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.events.gateway import DeviceConnected, DeviceDisconnected, DeviceMisbehaved, KeyPresented, SessionReplaced
from tests.gateway.devices.particle.desk import DESCRIPTION, DEVICE, OLD, ORG, PRODUCT, ParticleDirectory
from tests.gateway.devices.particle.tcp_device import SERVER_PUBLIC, WAIT_S, TcpDevice
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_KEY

OTHER = "f" * 24
OTHER_KEY = keys.new_rsa(keys.DEVICE_RSA_BITS)
DEVICE_DER = keys.public_der(DEVICE_KEY.public_key())
Serve = Callable[..., Any]


@pytest.fixture
def directory() -> ParticleDirectory:
    made = ParticleDirectory()
    made.add(key_der=DEVICE_DER)
    return made


@pytest.fixture
def serve(directory: ParticleDirectory, recorder: Any, blobs: Any) -> Serve:
    @asynccontextmanager
    async def serving(**limits: Any) -> AsyncIterator[tuple[ParticleListener, int]]:
        server = DeviceServer(
            directory=directory,  # type: ignore[arg-type]  # as on the desk
            facts=recorder,
            log=recorder,
            blobs=blobs,
            gateway="a",
            epoch=3,
            clock=system_clock,
        )
        listener = ParticleListener(server, SERVER_KEY, ParticleLimits(**limits))
        server.serve({"particle-tcp": listener})
        try:
            yield listener, await server.start("127.0.0.1", Port("particle-tcp", 0))
        finally:
            await server.stop()

    return serving


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            try:
                await body()
            finally:
                await TcpDevice.close_all()

    uvloop.run(bounded())  # as in production


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_device_comes_online_and_goes_offline(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.online(port)
            assert DEVICE in listener.server.sessions
            device.close()
            await recorder.until(lambda r: any(isinstance(fact, DeviceDisconnected) for fact in r.facts))
        online, offline = recorder.facts[0], recorder.facts[-1]
        assert isinstance(online, DeviceConnected)
        assert (online.device_id, online.gateway, online.epoch, online.session) == (DEVICE, "a", 3, 1)
        assert (online.protocol, online.address) == ("particle/tcp", "127.0.0.1")
        assert (offline.session, offline.reason) == (1, "connection_lost")
        assert offline.bytes_in > 0
        assert offline.bytes_out > 0

    run(body)


def test_a_device_of_the_oldest_kind_shows_no_key(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.reach(port)
            device.writer.write(seal_hello(SERVER_PUBLIC, await device.nonce(), DEVICE))
            reply = await device.reader.readexactly(384)
            assert len(reply) == 384
            assert listener.handshakes.going == 1

    run(body)


def test_what_the_platform_asks_goes_through_and_comes_back(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.online(port)
            asked, _ = await device.hears(device_reading.DescribeRequest)
            device.say(device_messages.acknowledgement(asked.id, coap.CONTENT, asked.token, DESCRIPTION))
            call = asyncio.create_task(listener.server.ask(DEVICE, FunctionCall("brew", "x")))
            message, said = await device.hears(device_reading.FunctionCall)
            assert said.name == "Brew"
            device.say(
                device_messages.acknowledgement(message.id),
                device_messages.function_result(device.id, message.token, 42),
            )
            assert await call == 42
            read = asyncio.create_task(listener.server.ask(DEVICE, VariableRead("count")))
            message, _ = await device.hears(device_reading.VariableRequest)
            device.say(device_messages.acknowledgement(message.id, coap.CONTENT, message.token, b"\0\0\0\x05"))
            assert await read == {"value": 5}
            probe = asyncio.create_task(listener.server.ask(DEVICE, Probe()))
            await device.hear()
            device.say(device_messages.acknowledgement(device.id))
            assert await probe is True

    run(body)


def test_an_event_is_acknowledged_once_it_is_stored(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await TcpDevice.online(port)
            recorder.waits = True
            device.say(device_messages.event(77, Event("e", b"1"), confirmable=True), device_messages.ping(78))
            message, _ = await device.hears(device_reading.DescribeRequest)
            assert (await device.hear()).id == 78
            recorder.store()
            assert (await device.hear()).id == 77
            assert recorder.published[0].name == "e"
            assert message.code == coap.GET

    run(body)


def test_an_event_of_another_device_reaches_the_one_that_subscribed(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.online(port)
            device.say(device_messages.subscription(device.id, Subscription("fleet")))
            await until(lambda: len(listener.server.subscriptions) == 1)
            device.say(device_messages.event(device.id, Event("fleet/x", b"1", public=True)))
            await until(lambda: bool(recorder.published))
            listener.server.subscriptions.publish(recorder.published[0], Publisher(ORG, None, PRODUCT))
            _, said = await device.hears(Event)
            assert said == Event("fleet/x", b"1", public=True)
            device.close()
            await until(lambda: len(listener.server.subscriptions) == 0)

    run(body)


# -- refused handshakes -------------------------------------------------------------------------------------------


async def refused(port: int, device_id: str, **changes: Any) -> None:
    """The handshake goes on to the Hello, which is not answered."""
    device = await TcpDevice.reach(port)
    await device.shake(device_id, **changes)
    device.say(device_messages.hello(1, OLD))
    assert await device.closed() == b""


def test_an_unknown_device_gets_no_byte(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.reach(port)
            await device.shake(OTHER)  # it has a key: what it reports decides
            device.say(device_messages.hello(device.id, OLD))
            assert await device.closed() == b""
            assert listener.around.counts["handshake_unknown_key"] == 1
        assert recorder.facts == []

    run(body)


def test_whoever_has_the_nonce_gets_credentials_so_that_nobody_learns_which_devices_exist(
    serve: Serve, directory: ParticleDirectory, recorder: Any
) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            for shown in (DEVICE_DER, keys.public_der(OTHER_KEY.public_key()), b""):
                for device_id in (DEVICE, OTHER):
                    device = await TcpDevice.reach(port)
                    device.writer.write(seal_hello(SERVER_PUBLIC, await device.nonce(), device_id, shown))
                    await device.reader.readexactly(384)
                    device.begin(bytes(40))
                    device.say(device_messages.hello(1, OLD))
                    assert await device.closed() == b""
        assert recorder.facts == []

    run(body)


def test_what_changed_during_a_handshake_counts(serve: Serve, directory: ParticleDirectory, recorder: Any) -> None:
    changes: list[tuple[str, Callable[[], None]]] = [
        ("wrong_key", lambda: directory.change(key_der=keys.public_der(OTHER_KEY.public_key()))),
        ("denied", lambda: directory.change(key_der=DEVICE_DER, member={"denied": True})),
    ]

    async def body() -> None:
        async with serve() as (listener, port):
            for shown in (DEVICE_DER, b""):
                for kind, change in changes:
                    directory.change(key_der=DEVICE_DER, member={"denied": False})
                    device = await TcpDevice.reach(port)
                    device.writer.write(seal_hello(SERVER_PUBLIC, await device.nonce(), DEVICE, shown))
                    device.begin(open_reply(DEVICE_KEY, SERVER_PUBLIC, await device.reader.readexactly(384)))
                    change()
                    device.say(device_messages.hello(1, OLD))
                    assert await device.closed() == b""
                    assert listener.around.counts.pop("handshake_" + kind) == 1
        assert {type(fact) for fact in recorder.facts} == {DeviceMisbehaved}

    run(body)


def test_devices_that_nobody_knows_come_to_a_product_in_bounded_number(
    serve: Serve, directory: ParticleDirectory
) -> None:
    async def body() -> None:
        directory.devices.clear()
        directory.change_product(trust_first_key=True)
        async with serve() as (listener, port):
            await TcpDevice.online(port)
            while listener.server.newcomers.take(PRODUCT, listener.now().s):
                pass
            await refused(port, OTHER)
            assert listener.around.counts["handshake_too_many"] == 1
            await TcpDevice.online(port)  # one that came before
            directory.add(OTHER, key_der=None, key_algorithm=None)
            await TcpDevice.online(port, OTHER)  # one that was imported

    run(body)


def test_of_two_that_race_to_be_trusted_at_first_use_one_gets_in(
    serve: Serve, directory: ParticleDirectory, recorder: Any
) -> None:
    async def body() -> None:
        directory.change(key_der=None, key_algorithm=None)
        directory.change_product(trust_first_key=True)
        async with serve() as (listener, port):
            first, second = await TcpDevice.reach(port), await TcpDevice.reach(port)
            await second.shake(key=OTHER_KEY)  # when no key was known
            await first.shake()
            first.say(device_messages.hello(1, OLD))
            await first.hears(device_reading.ServerHello)
            second.say(device_messages.hello(1, OLD))
            assert await second.closed() == b""
            assert listener.around.counts["handshake_wrong_key"] == 1
        [told] = [fact for fact in recorder.facts if isinstance(fact, KeyPresented)]
        assert told.public_key == b64encode(DEVICE_DER).decode()
        assert not any(isinstance(fact, SessionReplaced) for fact in recorder.facts)

    run(body)


def test_a_device_that_is_denied_or_has_another_key_gets_no_byte(
    serve: Serve, directory: ParticleDirectory, recorder: Any
) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            for _ in range(3):
                await refused(port, DEVICE, key=OTHER_KEY)
            assert listener.around.counts["handshake_wrong_key"] == 3
            directory.change(member={"denied": True})
            await refused(port, DEVICE)
            assert listener.around.counts["handshake_denied"] == 1
        [told] = recorder.facts  # once a minute
        assert isinstance(told, DeviceMisbehaved)
        assert (told.device_id, told.product_id, told.kind) == (DEVICE, PRODUCT, "wrong_key")

    run(body)


def test_who_shows_the_right_key_without_having_it_cannot_go_on(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.reach(port)
            device.writer.write(seal_hello(SERVER_PUBLIC, await device.nonce(), DEVICE, DEVICE_DER))
            await device.reader.readexactly(384)
            device.begin(bytes(40))  # it cannot read the credentials
            device.say(device_messages.hello(1, OLD))
            assert await device.closed() == b""
            assert listener.around.counts["handshake_bad_frame"] == 1
        assert recorder.facts == []

    run(body)


@pytest.mark.parametrize("sealed", ["nonce", "length", "garbage", "above", "zero"])
def test_a_hello_that_is_none_gets_no_byte_whatever_is_wrong_with_it(serve: Serve, sealed: str) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.reach(port)
            nonce = await device.nonce()
            hello = {
                "nonce": lambda: seal_hello(SERVER_PUBLIC, bytes(40), DEVICE, DEVICE_DER),
                "length": lambda: seal_hello(SERVER_PUBLIC, nonce, DEVICE, DEVICE_DER[:100]),
                "garbage": lambda: bytes(range(256)),
                "above": lambda: b"\xff" * 256,
                "zero": lambda: bytes(256),
            }[sealed]()
            device.writer.write(hello)
            assert await device.closed() == b""
            assert listener.around.counts["handshake_bad_handshake"] == 1

    run(body)


def test_who_speaks_before_the_nonce_or_goes_away_in_between_leaves_nothing(serve: Serve) -> None:
    async def body() -> None:
        async with serve(handshakes=1) as (listener, port):
            first = await TcpDevice.reach(port)
            await first.nonce()
            second = await TcpDevice.reach(port)
            second.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await second.closed() == b""
            third = await TcpDevice.reach(port)
            await until(lambda: listener.handshakes.waiting == 1)
            third.close()
            await until(lambda: listener.handshakes.waiting == 0)
            first.close()
            await until(lambda: listener.handshakes.going == 0 and not listener.connections)

    run(body)


def test_a_handshake_that_does_not_end_is_ended(serve: Serve) -> None:
    async def body() -> None:
        async with serve(handshake_s=0.3, tick_s=0.05) as (listener, port):
            slow = await TcpDevice.reach(port)
            nonce = await slow.nonce()
            hello = seal_hello(SERVER_PUBLIC, nonce, DEVICE, DEVICE_DER)
            slow.writer.write(hello[:100])  # the rest never comes
            silent = await TcpDevice.reach(port)
            await silent.shake()  # and no frame
            assert await slow.closed() == b""
            assert await silent.closed() == b""
            assert listener.around.counts["handshake_timeouts"] == 2

    run(body)


def test_who_is_gone_when_the_thread_is_done_leaves_no_trace(serve: Serve) -> None:
    async def body() -> None:
        complaints: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with serve() as (listener, port):
            opened: list[asyncio.Future[Any]] = [asyncio.get_running_loop().create_future()]
            listener.in_thread = lambda *_: opened[0]
            device = await TcpDevice.reach(port)
            await device.nonce()
            device.writer.write(bytes(256))
            await until(lambda: next(iter(listener.connections))._step == "opening")
            next(iter(listener.connections)).dismiss("kicked", "")
            opened[0].set_exception(BadMessage("no hello"))
            await device.closed()
            opened.clear()
            gc.collect()
            assert listener.around.counts["refused_handshakes"] == 0
        assert complaints == []

    run(body)


def test_a_hello_may_come_in_pieces(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await TcpDevice.reach(port)
            hello = seal_hello(SERVER_PUBLIC, await device.nonce(), DEVICE, DEVICE_DER)
            for piece in (hello[:1], hello[1:200], hello[200:]):
                device.writer.write(piece)
                await device.writer.drain()
                await asyncio.sleep(0)
            assert len(await device.reader.readexactly(384)) == 384

    run(body)


def test_an_address_that_is_refused_too_often_goes_unheard(serve: Serve) -> None:
    async def body() -> None:
        async with serve(refused_logins=2) as (listener, port):
            for _ in range(3):
                device = await TcpDevice.reach(port)
                await device.nonce()
                device.writer.write(bytes(256))
                assert await device.closed() == b""
            device = await TcpDevice.reach(port)
            assert await device.closed() == b""
            assert listener.around.counts["unheard_connections"] == 1

    run(body)


def test_nobody_is_let_in_by_a_directory_that_is_away_and_nobody_is_blamed(
    serve: Serve, directory: ParticleDirectory
) -> None:
    async def body() -> None:
        directory.away = Unavailable("away")
        async with serve(refused_logins=1) as (listener, port):
            for _ in range(3):
                device = await TcpDevice.reach(port)
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await device.shake()
            assert listener.around.counts["unavailable_connects"] == 3
            directory.away = None
            await TcpDevice.online(port)

    run(body)


def test_another_message_before_the_hello_ends_the_connection(serve: Serve) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.reach(port)
            await device.shake()
            device.say(device_messages.event(1, Event("e")))
            assert await device.closed() == b""
            assert listener.around.counts["handshake_bad_hello"] == 1

    run(body)


def test_a_key_that_is_trusted_at_first_use_is_recorded(
    serve: Serve, directory: ParticleDirectory, recorder: Any
) -> None:
    async def body() -> None:
        directory.change(key_der=None, key_algorithm=None)
        directory.change_product(trust_first_key=True)
        async with serve() as (_, port):
            await TcpDevice.online(port)
            await refused(port, DEVICE, key=OTHER_KEY)
        assert any(isinstance(fact, KeyPresented) for fact in recorder.facts)

    run(body)


# -- sessions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"\x00\x00", b"\x00\x11", b"\x10\x00", b"\x00\x10" + bytes(16)])
def test_what_is_no_frame_ends_the_session(serve: Serve, recorder: Any, garbage: bytes) -> None:
    async def body() -> None:
        async with serve() as (_, port):
            device = await TcpDevice.online(port)
            device.writer.write(garbage)
            await device.closed()
            await recorder.until(lambda r: any(isinstance(fact, DeviceDisconnected) for fact in r.facts))
        assert recorder.facts[-1].reason == "misbehaved"
        assert [fact.kind for fact in recorder.facts if isinstance(fact, DeviceMisbehaved)] == ["bad_frame"]

    run(body)


def test_a_newer_connection_takes_over_and_the_device_stays_online(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            older = await TcpDevice.online(port)
            newer = await TcpDevice.online(port)
            await older.closed()
            assert len(listener.server.sessions) == 1
            newer.say(device_messages.ping(5))
            await newer.hears(device_reading.DescribeRequest)
            assert (await newer.hear()).id == 5
        kinds = [type(fact) for fact in recorder.facts if isinstance(fact, DeviceConnected | SessionReplaced)]
        assert kinds == [DeviceConnected, SessionReplaced]
        assert [fact.reason for fact in recorder.facts if isinstance(fact, DeviceDisconnected)] == ["draining"]

    run(body)


def test_a_connection_that_hangs_half_open_is_noticed(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        async with serve(silence_s=0.3, tick_s=0.05) as (_, port):
            device = await TcpDevice.online(port)
            await device.closed()
            await recorder.until(lambda r: any(isinstance(fact, DeviceDisconnected) for fact in r.facts))
        assert recorder.facts[-1].reason == "keepalive"

    run(body)


def test_a_fact_of_the_connection_that_cannot_be_recorded_ends_it(serve: Serve, recorder: Any) -> None:
    async def body() -> None:
        recorder.fails = True
        async with serve() as (_, port):
            device = await TcpDevice.reach(port)
            await device.shake()
            device.say(device_messages.hello(1, OLD))
            await device.closed()

    run(body)


def test_news_of_the_directory_reach_the_session(serve: Serve, directory: ParticleDirectory, recorder: Any) -> None:
    async def body() -> None:
        async with serve() as (listener, port):
            device = await TcpDevice.online(port)
            directory.change(member={"denied": True})
            listener.server.sessions.directory_changed(frozenset((DEVICE,)), frozenset())
            await device.closed()
            await recorder.until(lambda r: any(isinstance(fact, DeviceDisconnected) for fact in r.facts))
        assert recorder.facts[-1].reason == "kicked"

    run(body)


def test_hundreds_at_once_all_come_in_through_a_narrow_door(
    serve: Serve, directory: ParticleDirectory, recorder: Any
) -> None:
    many = [f"{number:024x}" for number in range(300)]
    for device_id in many:
        directory.add(device_id, key_der=DEVICE_DER)

    async def body() -> None:
        async with serve(handshakes=20, handshakes_an_address=10) as (listener, port):
            devices = await asyncio.gather(*(TcpDevice.online(port, device_id) for device_id in many))
            assert len(listener.server.sessions) == len(many)
            assert listener.handshakes.going == listener.handshakes.waiting == 0
            for device in devices:
                device.close()
            await until(lambda: not listener.connections)
        assert len([fact for fact in recorder.facts if isinstance(fact, DeviceConnected)]) == len(many)

    run(body)


def test_a_gateway_that_stops_sends_everybody_away_in_order(
    serve: Serve, directory: ParticleDirectory, recorder: Any
) -> None:
    directory.add(OTHER, key_der=DEVICE_DER)

    async def body() -> None:
        async with serve() as (listener, port):
            devices = [await TcpDevice.online(port), await TcpDevice.online(port, OTHER)]
            half = await TcpDevice.reach(port)
            await half.nonce()
            await listener.server.drain(0.2)
            for device in devices:
                await device.closed()
        assert [fact.reason for fact in recorder.facts if isinstance(fact, DeviceDisconnected)] == ["draining"] * 2
        assert not listener.connections

    run(body)
