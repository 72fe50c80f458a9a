"""One firmware image to one Particle device over TCP loopback: our sender and its frames against a copy of the image
over the same socket, in the same chunks, encrypted by the same cipher, written in the same stretches.

The device is a process of its own; it decrypts what comes, and answers as real firmware does. Compared by the CPU time
of the sending process and by the clock; units are bytes of the image. Shown, not asserted.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from services.gateway.devices.particle import coap, device_messages
from services.gateway.devices.particle.coap import CON, NON, Message
from services.gateway.devices.particle.frames import FrameReader, FrameWriter
from services.gateway.devices.particle.sender import sender_of
from services.gateway.devices.particle.sending import (
    STRETCH_BYTES,
    Delivered,
    Effect,
    Failed,
    Need,
    Plan,
    Progressed,
    Refused,
)
from services.gateway.devices.particle.update_messages import CHUNK_BYTES
from tests.benchmarks.report import Contender, Line, compare, show

IMAGE_BYTES = int(os.environ.get("IMAGE_BYTES", "1048576"))
GOAL = 0.5
ROUNDS = 9
KEY, IV = bytes(range(16)), bytes(range(16, 32))
HEAD_BYTES = 16
"""What a chunk's message has before its data."""


class Numbers:
    """Ids and tokens that wrap."""

    def __init__(self) -> None:
        self._id = self._token = 0

    def message_id(self) -> int:
        self._id = self._id + 1 & 0xFFFF
        return self._id

    def token(self) -> int:
        self._token = self._token + 1 & 0xFF
        return self._token


class Wire:
    """A connection to the device, either end of it."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._reader, self._writer = FrameReader(KEY, IV), FrameWriter(KEY, IV)

    def send(self, messages: list[bytes]) -> None:
        self._socket.sendall(b"".join(map(self._writer.write, messages)))

    def messages(self) -> Iterator[bytes]:
        while data := self._socket.recv(65_536):
            self._reader.feed(data)
            while (message := self._reader.take()) is not None:
                yield message

    def close(self) -> None:
        self._socket.close()


def device(listening: socket.socket) -> None:
    """Devices one after the other, in the process that is killed at the end."""
    while True:
        wire = Wire(listening.accept()[0])
        for data in wire.messages():
            if data[1] == coap.PUT:
                done = coap.decode(data)
                wire.send([coap.encode(device_messages.acknowledgement(done.id, coap.CHANGED, done.token))])
            elif data[0] >> 4 & 3 == CON:
                begin = coap.decode(data)
                acknowledged = device_messages.acknowledgement(begin.id)
                ready = device_messages.update_ready(1, begin.token, fast=True)
                wire.send([coap.encode(acknowledged), coap.encode(ready)])
        wire.close()


def copied(port: int, image: bytes) -> int:
    """The image in chunks behind heads of zeros, and the wait for the device to have it."""
    wire = Wire(socket.create_connection(("127.0.0.1", port)))
    head = bytes((0x40 | NON << 4, coap.POST)) + bytes(HEAD_BYTES - 2)
    for start in range(0, len(image), STRETCH_BYTES):
        stretch = memoryview(image)[start : start + STRETCH_BYTES]
        wire.send([head + stretch[at : at + CHUNK_BYTES] for at in range(0, len(stretch), CHUNK_BYTES)])
    wire.send([coap.encode(Message(CON, coap.PUT, 1))])
    next(wire.messages())
    wire.close()
    return len(image)


def transferred(port: int, image: bytes) -> int:
    """The same image by our sender."""
    wire = Wire(socket.create_connection(("127.0.0.1", port)))
    sender = sender_of(Plan(hashlib.sha256(image).hexdigest(), len(image)), Numbers())

    def done(effects: list[Effect]) -> None:
        while effects:
            wanted, ready = None, []
            for effect in effects:
                match effect:
                    case Message():
                        ready.append(coap.encode(effect))
                    case Need():
                        wanted = effect
                    case Refused() | Failed():
                        raise SystemExit(effect)
                    case Progressed() | Delivered():
                        continue
            wire.send(ready)
            if wanted is None:
                return
            piece = memoryview(image)[wanted.offset : wanted.offset + wanted.length]
            effects = sender.supply(wanted.offset, piece, time.monotonic())

    done(sender.start(time.monotonic()))
    messages = wire.messages()
    while not sender.over:
        done(sender.receive(coap.decode(next(messages)), time.monotonic()) or [])
    wire.close()
    return len(image)


def measure(port: int) -> list[Line]:
    image = os.urandom(IMAGE_BYTES)
    reference = Contender("copy of the image", lambda: copied(port, image))
    ours = Contender("our sender", lambda: transferred(port, image), GOAL)
    cpu = compare("by CPU time", reference, [ours], rounds=ROUNDS)
    return [*cpu, *compare("by the clock", reference, [ours], rounds=ROUNDS, timer=time.perf_counter)]


def main() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, "-m", "tests.benchmarks.bench_update", "device", str(listening.fileno())]
        process = subprocess.Popen(command, pass_fds=[listening.fileno()])
        try:
            lines = measure(listening.getsockname()[1])
        finally:
            process.kill()
            process.wait()
    show(f"firmware over the air, fast mode, an image of {IMAGE_BYTES:,} bytes (bytes/s)", lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["device"]:
        device(socket.socket(fileno=int(sys.argv[2])))
    else:
        main()
