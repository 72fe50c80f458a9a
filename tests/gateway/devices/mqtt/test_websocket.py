"""MQTT over WebSocket between a socket and a connection that are both played here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.websocket import WebSocket

REQUEST = (
    b"GET /mqtt HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)


class Socket:
    """A transport in memory."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.reading = True
        self.closed = ""

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closed = self.closed or "closed"

    def abort(self) -> None:
        self.closed = "aborted"


class Inner:
    """A connection that takes so many bytes at once; ``took`` is what it heard."""

    def __init__(self, room: int) -> None:
        self.took = bytearray()
        self.buffer = bytearray(room)
        self.transport: Any = None
        self.lost = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.took += self.buffer[:nbytes]


class Stage:
    """The adapter between the two; ``turn`` runs what the loop was asked to call soon."""

    def __init__(self, room: int = 16, **limits: int) -> None:
        self.soon: list[Callable[[], None]] = []
        self.counts: Counter[str] = Counter()
        listener = SimpleNamespace(
            limits=MqttLimits(**cast(Any, limits)),
            around=SimpleNamespace(counts=self.counts),
            loop=SimpleNamespace(call_soon=self.soon.append),
        )
        self.socket, self.inner = Socket(), Inner(room)
        self.web = WebSocket(cast(Any, listener), cast(Any, self.inner))
        self.web.connection_made(cast(asyncio.BaseTransport, self.socket))

    def open(self) -> Stage:
        self.web.data_received(REQUEST)
        assert self.heard()[0].startswith(b"HTTP/1.1 101")
        return self

    def heard(self) -> tuple[bytes, list[Any]]:
        """The answer to the handshake, and the events behind it."""
        head, _, rest = bytes(self.socket.sent).partition(b"\r\n\r\n")
        client = FrameProtocol(client=True, extensions=[])
        client.receive_bytes(rest)
        return head, list(client.received_frames())

    def turn(self) -> None:
        waiting, self.soon[:] = list(self.soon), []
        for call in waiting:
            call()

    def turns(self) -> int:
        done = 0
        while self.soon:
            self.turn()
            done += 1
        return done


def framed(*payloads: bytes, finished: bool = True) -> bytes:
    client = FrameProtocol(client=True, extensions=[])
    return b"".join(bytes(client.send_data(payload, fin=finished)) for payload in payloads)


def test_the_handshake_chooses_mqtt() -> None:
    stage = Stage().open()
    head, events = stage.heard()
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    assert b"Sec-WebSocket-Protocol: mqtt" in head
    assert b"Extensions" not in head
    assert (events, stage.socket.closed) == ([], "")


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"/mqtt ", b"/other ", b"404"),
        (b"GET ", b"POST ", b"400"),
        (b"Sec-WebSocket-Protocol: mqtt\r\n", b"", b"400"),
        (b"Protocol: mqtt", b"Protocol: soap", b"400"),
        (b"Version: 13", b"Version: 8", b"426"),
        (b"Upgrade: websocket\r\n", b"", b"400"),
        (b"Host: gateway", b"Host: g\xffteway", b"400"),
        (b"GET ", b"\x16\x03\x01 ", b"400"),
    ],
)
def test_another_handshake_is_refused(old: bytes, new: bytes, status: bytes) -> None:
    stage = Stage()
    stage.web.data_received(REQUEST.replace(old, new))
    assert stage.socket.sent.startswith(b"HTTP/1.1 " + status)
    assert (stage.socket.closed, stage.counts["refused_handshakes"]) == ("closed", 1)


def test_a_request_is_as_long_as_the_limit_and_no_longer() -> None:
    size = len(REQUEST) - 4
    stage = Stage(handshake_bytes=size).open()
    assert stage.socket.closed == ""
    for pieces in ([REQUEST], [REQUEST[:-9], REQUEST[-9:]], [b"x" * size]):
        stage = Stage(handshake_bytes=size - 1)
        for piece in pieces:
            stage.web.data_received(piece)
        assert stage.socket.sent.startswith(b"HTTP/1.1 431")
        assert stage.socket.closed == "closed"


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=40), max_size=6), st.booleans(), st.lists(st.integers(0, 600)), st.integers(1, 50))
def test_any_cut_and_any_frames_give_the_same_bytes(
    payloads: list[bytes], whole: bool, cuts: list[int], room: int
) -> None:
    stage = Stage(room)
    wire = REQUEST + framed(*payloads, finished=whole)
    ends = sorted({min(cut, len(wire)) for cut in cuts} | {len(wire)})
    for start, end in zip([0, *ends], ends, strict=False):
        stage.web.data_received(wire[start:end])
        stage.turns()
    assert bytes(stage.inner.took) == b"".join(payloads)
    assert stage.socket.closed == ""


def test_what_comes_behind_a_hold_waits_and_nothing_more_is_read() -> None:
    stage = Stage(room=4).open()
    stage.web.pause_reading()
    assert not stage.socket.reading
    stage.web.data_received(framed(b"abcdefgh"))
    assert stage.inner.took == b""
    stage.web.resume_reading()
    stage.web.pause_reading()
    stage.turns()
    assert (stage.inner.took, stage.socket.reading) == (b"", False)
    stage.web.resume_reading()
    stage.turns()
    assert (stage.inner.took, stage.socket.reading) == (b"abcdefgh", True)


@pytest.mark.parametrize("frames", [framed(*[b"x"] * 95), bytes(FrameProtocol(True, []).ping(b"")) * 95])
def test_a_turn_takes_so_many_frames_and_reads_nothing_until_they_are_taken(frames: bytes) -> None:  # MQL-4
    stage = Stage(turn_packets=10).open()
    stage.web.data_received(frames)
    assert not stage.socket.reading
    assert 8 <= stage.turns() <= 19
    assert stage.socket.reading


def test_a_turn_takes_so_many_bytes() -> None:  # MQL-4
    stage = Stage(turn_bytes=64).open()
    stage.web.data_received(framed(b"x" * 640))
    assert len(stage.inner.took) == 64
    assert stage.turns() == 10


def test_a_frame_of_any_length_is_handed_on_as_it_comes() -> None:
    stage = Stage().open()
    head = b"\x82\xff" + (1 << 40).to_bytes(8, "big") + b"\0\0\0\0"
    stage.web.data_received(head + b"abc")
    assert stage.inner.took == b"abc"


def test_what_the_gateway_writes_is_one_binary_message_each() -> None:
    stage = Stage().open()
    stage.web.write(b"\x20\x02\x00\x00")
    stage.web.write(bytearray(b"x" * 70_000))
    _, frames = stage.heard()
    assert [(frame.opcode, bytes(frame.payload), frame.message_finished) for frame in frames] == [
        (Opcode.BINARY, b"\x20\x02\x00\x00", True),
        (Opcode.BINARY, b"x" * 70_000, True),
    ]


def test_pings_are_answered_and_pongs_are_not() -> None:
    stage = Stage().open()
    client = FrameProtocol(True, [])
    stage.web.data_received(bytes(client.ping(b"hello")) + bytes(client.pong(b"")))
    [frame] = stage.heard()[1]
    assert (frame.opcode, bytes(frame.payload)) == (Opcode.PONG, b"hello")


def test_a_close_is_answered_and_ends_it() -> None:
    stage = Stage().open()
    stage.web.data_received(bytes(FrameProtocol(True, []).close(1000, "bye")) + b"more")
    [frame] = stage.heard()[1]
    assert (frame.opcode, frame.payload[0]) == (Opcode.CLOSE, 1000)
    assert stage.socket.closed == "closed"
    stage.web.close()
    stage.web.write(b"late")
    stage.web.data_received(b"later")


def test_the_gateway_closes_with_a_reason() -> None:
    stage = Stage().open()
    stage.web.close()
    [frame] = stage.heard()[1]
    assert (frame.opcode, frame.payload[0], stage.socket.closed) == (Opcode.CLOSE, 1000, "closed")
    assert stage.web.is_closing()
    early = Stage()
    early.web.close()
    assert (bytes(early.socket.sent), early.socket.closed) == (b"", "closed")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (bytes(FrameProtocol(True, []).send_data("text", fin=True)), 1003),
        (b"\x82\x01x", 1002),  # without a mask
        (b"\xc2\x80\0\0\0\0", 1002),  # a reserved bit
        (b"\x89\xfe\x00\x7e" + b"\0" * 130, 1002),  # a ping of more than 125 bytes
        (b"\x09\x80\0\0\0\0", 1002),  # half a ping
        (b"\x83\x80\0\0\0\0", 1002),  # no opcode
    ],
)
def test_what_is_no_frame_of_mqtt_ends_it(frame: bytes, code: int) -> None:
    stage = Stage().open()
    stage.web.data_received(frame)
    [told] = stage.heard()[1]
    assert (told.opcode, int(told.payload[0])) == (Opcode.CLOSE, code)
    assert (stage.socket.closed, stage.counts["websocket_violations"]) == ("closed", 1)


@settings(max_examples=150)
@given(st.binary(max_size=60), st.integers(0, len(REQUEST)), st.binary(max_size=60))
def test_garbage_in_the_handshake_and_behind_it_never_raises(noise: bytes, at: int, behind: bytes) -> None:
    stage = Stage()
    stage.web.data_received(REQUEST[:at] + noise + REQUEST[at + len(noise) :] + behind)
    stage.turns()
    stage.web.data_received(behind)
    stage.turns()
    stage.web.connection_lost(None)
    assert stage.inner.lost


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=4))
def test_garbage_behind_the_handshake_never_raises(pieces: list[bytes]) -> None:
    stage = Stage().open()
    for piece in pieces:
        stage.web.data_received(piece)
        stage.turns()
    stage.web.close()
