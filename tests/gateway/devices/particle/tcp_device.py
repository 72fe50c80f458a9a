"""A Particle device on a real TCP connection, for the tests of the listener."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, ClassVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from services.gateway.devices.particle import coap, device_messages, device_reading, handshake, keys
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.device_handshake import open_reply, seal_hello
from services.gateway.devices.particle.frames import FrameReader, FrameWriter
from services.gateway.devices.particle.hello import Hello
from tests.gateway.devices.particle.desk import DEVICE, OLD
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_KEY

WAIT_S = 10.0
SERVER_PUBLIC = SERVER_KEY.public_key()


class TcpDevice:
    """What it says and hears is CoAP messages; all waiting is bounded."""

    opened: ClassVar[list[TcpDevice]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._in: FrameReader
        self._out: FrameWriter
        self._ids = 100
        self.opened.append(self)

    @classmethod
    async def close_all(cls) -> None:
        """Every one that a test opened."""
        opened = cls.opened[:]
        cls.opened.clear()
        for device in opened:
            device.close()
        for device in opened:
            with contextlib.suppress(ConnectionError):
                await device.writer.wait_closed()

    @classmethod
    async def reach(cls, port: int) -> TcpDevice:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    @classmethod
    async def online(cls, port: int, device_id: str = DEVICE, hello: Hello = OLD) -> TcpDevice:
        """Shaken hands and heard the server's Hello."""
        device = await cls.reach(port)
        await device.shake(device_id)
        device.say(device_messages.hello(device.id, hello))
        await device.hears(device_reading.ServerHello)
        return device

    @property
    def id(self) -> int:
        self._ids += 1
        return self._ids

    async def nonce(self) -> bytes:
        async with asyncio.timeout(WAIT_S * 3):
            return await self.reader.readexactly(handshake.NONCE_BYTES)

    async def shake(
        self, device_id: str = DEVICE, key: RSAPrivateKey = DEVICE_KEY, shown: RSAPrivateKey | None = None
    ) -> None:
        """Raises ``IncompleteReadError`` or ``ConnectionError`` if the server closes."""
        nonce = await self.nonce()
        shown_der = keys.public_der((shown or key).public_key())
        self.writer.write(seal_hello(SERVER_PUBLIC, nonce, device_id, shown_der))
        async with asyncio.timeout(WAIT_S * 3):
            reply = await self.reader.readexactly(handshake.REPLY_BYTES)
        self.begin(open_reply(key, SERVER_PUBLIC, reply))

    def begin(self, credentials: bytes) -> None:
        known = handshake.session_keys(credentials)
        self._in, self._out = FrameReader(known.key, known.iv), FrameWriter(known.key, known.iv)

    def say(self, *messages: Message) -> None:
        self.writer.write(b"".join(self._out.write(coap.encode(message)) for message in messages))

    def frame(self, data: bytes) -> bytes:
        """A frame of bytes that need not be a message."""
        return self._out.write(data)

    async def hear(self) -> Message:
        async with asyncio.timeout(WAIT_S):
            while (data := self._in.take()) is None:
                piece = await self.reader.read(self._in.room)
                if not piece:
                    raise ConnectionResetError("closed by the server")
                self._in.feed(piece)
        return coap.decode(data)

    async def hears(self, kind: type, fits: Callable[[Any], bool] = lambda _: True) -> tuple[Message, Any]:
        """The next message of this kind, whatever comes before it."""
        while True:
            message = await self.hear()
            said = device_reading.read(message)
            if isinstance(said, kind) and fits(said):
                return message, said

    async def closed(self) -> bytes:
        """What comes until the server closes."""
        heard = b""
        async with asyncio.timeout(WAIT_S):
            try:
                while piece := await self.reader.read(65_536):
                    heard += piece
            except ConnectionResetError:
                return heard
        return heard

    def close(self) -> None:
        self.writer.close()
