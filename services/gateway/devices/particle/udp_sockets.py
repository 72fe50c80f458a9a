"""The sockets of one UDP port: datagrams in, a bounded number a turn of the loop, and out, as far as the network takes
them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.records import MAX_DATAGRAM_BYTES
from services.gateway.devices.particle.udp_limits import UdpLimits


class UdpSockets:
    """One socket for IPv4, one for IPv6, or both. ``note`` counts what goes wrong, none of which is fatal."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: UdpLimits,
        received: Callable[[bytes, Address], None],
        note: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._received = received
        self._note = note
        self._by_family: dict[int, socket.socket] = {}

    async def open(self, host: str, port: int) -> int:
        """Listen, and answer with the number of the port. Raises ``OSError`` when the address is not to be had."""
        found = await self._loop.getaddrinfo(host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        for family, address in {family: address for family, _, _, _, address in reversed(found)}.items():
            opened = self._open(family, (address[0], port))
            port = opened.getsockname()[1]
            self._by_family[family] = opened
            self._loop.add_reader(opened, self._readable, opened)
        return port

    def _open(self, family: int, address: tuple[Any, int]) -> socket.socket:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            if family == socket.AF_INET6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._limits.socket_buffer_bytes)
            opened.bind(address)
        except BaseException:
            opened.close()
            raise
        return opened

    def close(self) -> None:
        """Hear and send nothing more; safe to call twice."""
        for opened in self._by_family.values():
            self._loop.remove_reader(opened)
            opened.close()
        self._by_family.clear()

    def _readable(self, opened: socket.socket) -> None:
        for _ in range(self._limits.turn_datagrams):
            try:
                data, peer = opened.recvfrom(MAX_DATAGRAM_BYTES + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # what the network says of a datagram that was sent before
                self._note("unreachable_peers")
                continue
            self._received(data, (str(peer[0]), int(peer[1])))

    def send(self, data: bytes, address: Address) -> None:
        """Send it, or lose it."""
        opened = self._by_family.get(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if opened is None:
            return
        try:
            opened.sendto(data, address)
        except (BlockingIOError, InterruptedError):
            self._note("unsent_datagrams")
        except OSError:  # too long for the way, no way, not allowed: the next may do
            self._note("unsendable_datagrams")
