"""MQTT over WebSocket (MQTT 5.0 section 6, RFC 6455): a transport of its own between a socket and a ``Connection``.

To the connection it is a transport like any other, so that all limits hold likewise. Messages and frames mean nothing:
what is in them is one stream of bytes, fed on as it comes. Work is bounded per turn of the loop, as it is without
WebSocket (MQL-4); while some of it is left, nothing is read from the socket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import h11
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    RejectConnection,
    Request,
)
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from services.gateway.devices.mqtt.connection import Connection
    from services.gateway.devices.mqtt.listener import MqttListener

PATH = "/mqtt"
SUBPROTOCOLS = ("mqtt", "mqttv3.1")
HEAD_END = b"\r\n\r\n"


class WebSocket(asyncio.Protocol, asyncio.Transport):
    """See the module. ``inner`` is closed when the socket is, and is the one who decides about the time that the
    handshake may take."""

    def __init__(self, listener: MqttListener, inner: Connection) -> None:
        super().__init__()
        self._listener = listener
        self._inner = inner
        self._transport: asyncio.Transport
        self._ws = WSConnection(ConnectionType.SERVER)
        self._head: bytearray | None = bytearray()
        self._left = memoryview(b"")
        self._busy = False
        self._paused = False
        self._reading = True
        self._over = False

    # -- called by the socket's transport -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there; the connection's time to say CONNECT has begun."""
        self._transport = cast(asyncio.Transport, transport)
        self._inner.connection_made(self)

    def data_received(self, data: bytes) -> None:
        """Bytes of the handshake, or of frames."""
        if self._over:
            return
        if self._head is not None:
            data = self._handshake(self._head, data)
        if data:
            self._take(data)

    def eof_received(self) -> bool:
        """That is the end of the connection."""
        return False

    def pause_writing(self) -> None:
        """As for the connection."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """As for the connection."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._over = True
        self._left = memoryview(b"")
        self._inner.connection_lost(exc)

    # -- the handshake --------------------------------------------------------------------------------------------

    def _handshake(self, head: bytearray, data: bytes) -> bytes:
        """Wait for the whole request and answer it; what came behind it."""
        searched = max(0, len(head) - len(HEAD_END))
        head += data
        end = head.find(HEAD_END, searched)
        if (end if end >= 0 else len(head)) > self._listener.limits.handshake_bytes:
            self._reject(RejectConnection(status_code=431))
            return b""
        if end < 0:
            return b""
        self._head = None
        try:
            self._ws.receive_data(bytes(head[: end + len(HEAD_END)]))
            request = next(self._ws.events(), None)
            answer = _answer(request)
            if isinstance(answer, RejectConnection):
                self._reject(answer)
                return b""
            self._transport.write(self._ws.send(answer))
        except RemoteProtocolError as error:
            hint = error.event_hint
            self._reject(hint if isinstance(hint, RejectConnection) else RejectConnection())
            return b""
        except (ProtocolError, h11.ProtocolError, UnicodeError):
            self._reject(RejectConnection())
            return b""
        return bytes(head[end + len(HEAD_END) :])

    def _reject(self, rejection: RejectConnection) -> None:
        self._listener.around.counts["refused_handshakes"] += 1
        self._over = True
        try:
            self._transport.write(self._ws.send(rejection))
        except (ProtocolError, h11.ProtocolError):  # so little of a request that nothing answers it
            self._transport.abort()
            return
        self._transport.close()

    # -- frames ---------------------------------------------------------------------------------------------------

    def _take(self, data: bytes) -> None:
        try:
            self._ws.receive_data(data)
        except ProtocolError:
            return  # closed already: nothing is expected any more
        if not self._busy:
            self._work()

    def _work(self) -> None:
        """Hand on what came until there is no more, the connection holds, or the turn is over."""
        limits, frames, taken_bytes = self._listener.limits, 0, 0
        self._busy = False
        while not self._paused and not self._over:
            if frames >= limits.turn_packets or taken_bytes >= limits.turn_bytes:
                self._busy = True
                self._listener.loop.call_soon(self._work)
                break
            if self._left:
                taken_bytes += self._feed()
                continue
            frames += 1
            if not self._frame():
                break
        self._read_on()

    def _feed(self) -> int:
        room = self._inner.get_buffer(-1)
        size_bytes = min(len(room), len(self._left))
        room[:size_bytes] = self._left[:size_bytes]
        self._left = self._left[size_bytes:]
        self._inner.buffer_updated(size_bytes)
        return size_bytes

    def _frame(self) -> bool:
        """Take one frame, or as much of it as came; whether there was one."""
        event = next(self._ws.events(), None)
        match event:
            case None:
                return False
            case BytesMessage():
                self._left = memoryview(bytes(event.data))
            case Ping():
                self._send(event.response())
            case CloseConnection() if self._ws.state is ConnectionState.OPEN:
                self._fail(event.code)  # the peer has not closed: what it sent is no frame
            case CloseConnection():
                self._send(event.response())
                self._end()
            case Pong():
                return True
            case _:
                self._fail(CloseReason.UNSUPPORTED_DATA)  # text, which MQTT never is
        return True

    def _fail(self, code: int) -> None:
        self._listener.around.counts["websocket_violations"] += 1
        self._send(CloseConnection(code=code))
        self._end()

    def _send(self, event: Event) -> None:
        if self._ws.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._transport.write(self._ws.send(event))

    def _end(self) -> None:
        self._over = True
        self._transport.close()

    def _read_on(self) -> None:
        wanted = not (self._paused or self._busy)
        if self._over or wanted is self._reading:
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    # -- the transport that the connection has --------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the socket."""
        return self._transport.get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of the socket."""
        self._transport.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Of the socket."""
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """One binary message."""
        if self._ws.state is ConnectionState.OPEN:
            self._transport.write(self._ws.send(BytesMessage(data=bytes(data))))

    def pause_reading(self) -> None:
        """Nothing is handed on."""
        self._paused = True
        self._read_on()

    def resume_reading(self) -> None:
        """Hand on what waits, in the next turn."""
        self._paused = False
        if not self._busy:
            self._busy = True
            self._listener.loop.call_soon(self._work)

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._over or self._transport.is_closing()

    def close(self) -> None:
        """Say so, and close when all is written."""
        if not self._over:
            self._send(CloseConnection(code=CloseReason.NORMAL_CLOSURE))
            self._end()

    def abort(self) -> None:
        """Close at once."""
        self._over = True
        self._transport.abort()


def _answer(request: Event | None) -> AcceptConnection | RejectConnection:
    if not isinstance(request, Request):
        return RejectConnection()
    if request.target.partition("?")[0] != PATH:
        return RejectConnection(status_code=404)
    chosen = next((name for name in request.subprotocols if name in SUBPROTOCOLS), None)
    return RejectConnection() if chosen is None else AcceptConnection(subprotocol=chosen)
