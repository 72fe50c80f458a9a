"""Listening sockets of one port whose connections go through ``Admissions``: for every protocol over TCP, with TLS or
without.

Connections are taken from the kernel in order and wait as bare sockets; a TLS handshake begins when it is a
connection's turn.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from ssl import SSLContext, SSLError

from services.gateway.devices.admissions import Admissions
from services.gateway.devices.limits import network_of

log = logging.getLogger(__name__)

BACKLOG = 4_096
TAKEN_AT_ONCE = 64
"""Connections taken from the kernel in one turn of the loop."""
SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
SCARCE_S = 1.0
"""Pause when the process or the machine has no more sockets to give."""
IMPATIENT_S = 5.0
"""Who waited so long may have given up; it is looked at before anything is done for it."""
CLOSE_WAIT = 8
"""State of a TCP socket whose peer has closed (Linux: ``tcp_info``)."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a connection of this port becomes when it is let in, given its address. ``hears``: whether an address is
    heard at all."""

    protocol: Callable[[str], asyncio.BaseProtocol]
    hears: Callable[[str], bool]
    ssl: SSLContext | None = None
    handshake_s: float = 10.0


class Acceptor:
    """In the loop's thread. A protocol whose ``connection_made`` was called tells ``Admissions`` of its end by
    itself; whatever ends before that is told here."""

    def __init__(self, loop: asyncio.AbstractEventLoop, admissions: Admissions, kind: Kind) -> None:
        self.loop = loop
        self.admissions = admissions
        self.kind = kind
        self._sockets: list[socket.socket] = []
        self._beginning: set[asyncio.Task[None]] = set()
        self._pauses: set[asyncio.TimerHandle] = set()

    async def listen(self, host: str, port: int) -> int:
        """Listen, and answer with the number of the port. Raises ``OSError``."""
        found = await self.loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                self._sockets.append(_bound(family, address))
        except OSError:
            self.close()
            raise
        for listening in self._sockets:
            listening.listen(BACKLOG)
            self.loop.add_reader(listening.fileno(), self._take, listening)
        bound: int = self._sockets[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """Take no more connections; those that begin go on."""
        for pause in self._pauses:
            pause.cancel()
        self._pauses.clear()
        for listening in self._sockets:
            self.loop.remove_reader(listening.fileno())
            listening.close()
        self._sockets.clear()

    def _take(self, listening: socket.socket) -> None:
        for _ in range(TAKEN_AT_ONCE):
            try:
                connected, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in SCARCE:
                    raise
                self._pause(listening, error)
                return
            self._arrived(connected, str(peer[0]))

    def _arrived(self, connected: socket.socket, address: str) -> None:
        if not self.kind.hears(address):
            connected.close()
            return
        connected.setblocking(False)
        self.admissions.enter(_Arrival(self, connected, address))

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        log.error("no new connection can be taken: %s; raise the limit of open files", error)
        self.loop.remove_reader(listening.fileno())

        def resume() -> None:
            self._pauses.discard(pause)
            self.loop.add_reader(listening.fileno(), self._take, listening)

        pause = self.loop.call_later(SCARCE_S, resume)
        self._pauses.add(pause)

    def begin(self, connected: socket.socket, address: str) -> None:
        """Make it a connection of the protocol."""
        task = self.loop.create_task(self._begin(connected, address))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connected: socket.socket, address: str) -> None:
        encrypted = self.kind.ssl is not None
        try:
            await self.loop.connect_accepted_socket(
                lambda: self.kind.protocol(address),
                connected,
                ssl=self.kind.ssl,
                ssl_handshake_timeout=self.kind.handshake_s if encrypted else None,
            )
        except (OSError, SSLError) as error:  # a handshake that failed, or took too long
            log.debug("no connection with %s: %s", address, error)
            connected.close()
            self.admissions.gone(address, proven=False)


class _Arrival:
    """A bare socket that waits."""

    __slots__ = ("_acceptor", "_address", "_socket", "came_at", "network")

    def __init__(self, acceptor: Acceptor, connected: socket.socket, address: str) -> None:
        self._acceptor = acceptor
        self._socket = connected
        self._address = address
        self.network = network_of(address)
        self.came_at = acceptor.loop.time()

    def begin(self, waited_s: float) -> None:
        """As ``Arrival.begin``; nothing is done for a peer that has closed while it waited."""
        if waited_s >= IMPATIENT_S and _has_closed(self._socket):
            self._socket.close()
            self._acceptor.admissions.gone(self._address, proven=False)
        else:
            self._acceptor.begin(self._socket, self._address)

    def refuse(self) -> None:
        """As ``Arrival.refuse``."""
        self._socket.close()


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setblocking(False)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def _has_closed(connected: socket.socket) -> bool:
    if not hasattr(socket, "TCP_INFO"):
        return False
    try:
        state = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return True
    return state == CLOSE_WAIT
