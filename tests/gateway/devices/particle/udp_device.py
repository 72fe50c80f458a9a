"""A Particle device on a real UDP socket, for the tests of the listener; and a link that loses what passes."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.gateway.devices.particle import coap, device_messages, device_reading, keys
from services.gateway.devices.particle.coap import ACK, CON, Message
from services.gateway.devices.particle.device_updates import Receiver
from services.gateway.devices.particle.dtls.client import OLD as OLD_DTLS
from services.gateway.devices.particle.dtls.client import DeviceClient, Firmware
from services.gateway.devices.particle.dtls.entropy import SystemSource
from services.gateway.devices.particle.exchange import Exchange
from services.gateway.devices.particle.hello import Hello
from tests.gateway.devices.particle.desk import DEVICE, PRODUCT
from tests.gateway.devices.particle.vectors import SERVER_EC, VECTORS

WAIT_S = 10.0
STEP_S = 0.01
"""How often the timers of a device are looked at."""
SERVER_DER = keys.public_der(SERVER_EC.public_key())
ELECTRON = Hello(PRODUCT, 1, 0, 10, DEVICE)
"""An Electron of firmware 0.6."""


def _device_key() -> EllipticCurvePrivateKey:
    key = load_pem_private_key(VECTORS["keys"]["dtls"]["device_private_key"].encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


DEVICE_EC = _device_key()
DEVICE_EC_DER = keys.public_der(DEVICE_EC.public_key())

Fate = Callable[[bytes], list[float]]
"""When each copy of a datagram arrives, in seconds from now; none: it is lost."""


def arrives(_: bytes) -> list[float]:
    return [0.0]


def bad_network(seed: int) -> Fate:
    """Loses one datagram of ten, doubles and delays others, so that they arrive in another order."""
    chance = random.Random(seed)

    def fate(_: bytes) -> list[float]:
        drawn = chance.random()
        if drawn < 0.1:
            return []
        return [0.0, 0.03] if drawn < 0.25 else [0.04 if drawn < 0.4 else 0.0]

    return fate


class UdpDevice(asyncio.DatagramProtocol):
    """What it says and hears is CoAP messages; it repeats what is not acknowledged, and acknowledges, as devices do,
    unless ``acknowledges`` is taken from it. All waiting is bounded."""

    opened: ClassVar[list[UdpDevice]] = []

    def __init__(
        self,
        device_id: str = DEVICE,
        key: EllipticCurvePrivateKey = DEVICE_EC,
        firmware: Firmware = OLD_DTLS,
        fate: Fate = arrives,
    ) -> None:
        self.device_id = device_id
        self.client = DeviceClient(
            key, SERVER_DER, SystemSource(), device_id=bytes.fromhex(device_id), firmware=firmware
        )
        self.exchange = Exchange()
        self.acknowledges = True
        self.raw: list[bytes] = []
        """Every datagram that it sent."""
        self.heard: deque[Message] = deque()
        self.port = 0
        self.received = 0
        """Datagrams that came."""
        self._fate = fate
        self._ids = 0
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(STEP_S, self._tick)
        self.opened.append(self)

    @classmethod
    def close_all(cls) -> None:
        """Every one that a test opened."""
        opened = cls.opened[:]
        cls.opened.clear()
        for device in opened:
            device.close()

    @classmethod
    async def online(cls, port: int, hello: Hello = ELECTRON, **more: Any) -> UdpDevice:
        """Shaken hands, and its Hello was acknowledged."""
        device = cls(**more)
        await device.reach(port)
        await device.shake()
        await device.greet(hello)
        return device

    @property
    def id(self) -> int:
        self._ids += 1
        return self._ids

    async def reach(self, port: int) -> None:
        """A socket of its own, the older one is closed."""
        if self._transport is not None:
            self._transport.close()
        await self._loop.create_datagram_endpoint(lambda: self, remote_addr=("127.0.0.1", port))
        assert self._transport is not None
        self.port = self._transport.get_extra_info("sockname")[1]

    async def shake(self) -> None:
        self._out(self.client.connect(self._loop.time()))
        before = self.client.session
        await self.until(lambda: self.client.session is not before or bool(self.client.failed))
        if self.client.failed:
            raise ConnectionRefusedError(self.client.failed)

    async def greet(self, hello: Hello = ELECTRON) -> None:
        """The Hello, until it is acknowledged; the server's own, which comes then, may get lost."""
        said = device_messages.hello(self.id, hello, confirmable=True)
        self.say(said)
        await self.acknowledged(said.id)

    def say(self, *messages: Message) -> None:
        for message in messages:
            data = coap.encode(message)
            self.exchange.send(data, 0.0, self._loop.time())
            self._out([self.client.seal(data)])

    def send(self, datagram: bytes) -> None:
        """Bytes that need not be of a session."""
        if self._transport is not None:
            self._transport.sendto(datagram)

    async def hear(self) -> Message:
        await self.until(lambda: bool(self.heard))
        return self.heard.popleft()

    async def hears(self, kind: type, fits: Callable[[Any], bool] = lambda _: True) -> tuple[Message, Any]:
        """The next message of this kind, whatever comes before it."""
        while True:
            message = await self.hear()
            said = device_reading.read(message)
            if isinstance(said, kind) and fits(said):
                return message, said

    async def acknowledged(self, message_id: int) -> Message:
        """The server's acknowledgement; what came before it can still be heard."""
        passed: list[Message] = []
        while (message := await self.hear()).type != ACK or message.id != message_id:
            passed.append(message)
        self.heard.extendleft(reversed(passed))
        return message

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def spoil(self, fate: Fate) -> None:
        """Its network is another one from now on."""
        self._fate = fate

    def take(self, receiver: Receiver) -> None:
        """Update messages that came go to the receiver; what it says goes out as it says it."""
        now = self._loop.time()
        said = receiver.tick(now)
        while self.heard:
            said += receiver.receive(self.heard.popleft(), now)
        for message in said:
            data = coap.encode(message)
            if message.type == ACK:
                self.exchange.send(data, 0.0, now)
            self._out([self.client.seal(data)])

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.close()

    # -- called by the transport ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        now = self._loop.time()
        self.received += 1
        heard = self.client.receive(data, now)
        self._out(heard.datagrams)
        for content in heard.contents:
            self._heard(content, now)
        self._changed.set()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there, for now."""
        self._changed.set()

    def _heard(self, content: bytes, now: float) -> None:
        message, found = coap.decode(content), self.exchange.receive(content, now)
        for answer in found.again:
            self._out([self.client.seal(answer)])
        if not found.fresh:
            return
        if self.acknowledges and message.type == CON and coap.path(message)[:1] in ((b"e",), (b"E",)):
            self.say(device_messages.acknowledgement(message.id))
        self.heard.append(message)

    def _tick(self) -> None:
        now = self._loop.time()
        self._out(self.client.tick(now))
        if self.client.session is not None:
            self._out([self.client.seal(data) for data in self.exchange.tick(now)])
        self._timer = self._loop.call_later(STEP_S, self._tick)

    def _out(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self.raw.append(datagram)
            for delay_s in self._fate(datagram):
                if delay_s:
                    self._loop.call_later(delay_s, self.send, datagram)
                else:
                    self.send(datagram)
