"""Uvicorn's HTTP protocol with bounds on the head of a request and on how many connections there are, and with the
API's words for what is no HTTP.

Uvicorn itself waits for ever for the head of a request, takes one of any size, and answers garbage with plain text and
a warning in the log for each.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.gateway.http.limits import network

HEAD_S = 20.0
"""A connection whose next request has begun, or whose first one has not come, is closed after this."""
HEAD_BYTES = 65_536
"""A longer head is refused as soon as the chunk that exceeds it has come."""
MOST_CONNECTIONS = 12_000
"""At once, event streams among them; one more is told to come again. Devices need open files, too."""

MOST_OF_ONE = 2_000
"""Of these from one address (an IPv6 /64 counts as one), so that one does not keep all others out. The own machine and
trusted proxies may have all: many come through them."""

_BAD = b'{"ok":false,"error":"invalid_request","error_description":"This is no HTTP request."}'
_TOO_MANY = b'{"ok":false,"error":"unavailable","error_description":"Too many connections; try again in a moment."}'
_TOO_MANY_OF_ONE = (
    b'{"ok":false,"error":"too_many_requests","error_description":"Too many connections from this address."}'
)
_TOO_LARGE = b'{"ok":false,"error":"too_large","error_description":"The head of the request is too large."}'

errors = logging.getLogger(__name__)
errors.setLevel(logging.ERROR)  # what strangers send wrong is answered and not told of, one line each


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    head_s = HEAD_S
    most_connections = MOST_CONNECTIONS
    most_of_one = MOST_OF_ONE
    _of_one: ClassVar[Counter[str]] = Counter()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = errors
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._counted_as = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there, and has to say what they want."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(b"503 Service Unavailable", _TOO_MANY)
            return
        self._counted_as = self.counted_as(self.client[0] if self.client else "")
        if self._counted_as:
            self._of_one[self._counted_as] += 1
            if self._of_one[self._counted_as] > self.most_of_one:
                self._refuse(b"429 Too Many Requests", _TOO_MANY_OF_ONE)
                return
        self._expect_head()

    def counted_as(self, address: str) -> str:
        """The network whose connections are counted together; empty for what is not counted."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return ""
        proxies = self.config.forwarded_allow_ips or []
        is_proxy = any(parsed in ipaddress.ip_network(one) for one in proxies if one != "*")
        return "" if parsed.is_loopback or is_proxy or "*" in proxies else network(address)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._head_is_there()
        if self._counted_as:
            self._of_one[self._counted_as] -= 1
            if self._of_one[self._counted_as] <= 0:
                del self._of_one[self._counted_as]
            self._counted_as = ""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A chunk of a request; closed connections deliver no more."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)
        elif self._answered and self.timeout_keep_alive_task is None:  # the rest of a body, or blank lines
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        """Called by the parser."""
        if self._head_timer is None:
            self._expect_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._head_is_there()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Called for what the parser does not understand."""
        self._refuse(b"400 Bad Request", _BAD)

    @property
    def _answered(self) -> bool:
        return self.cycle is not None and self.cycle.response_complete

    def _expect_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_s, self.timeout_keep_alive_handler)

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: %d\r\n"
        self.transport.write(head % (status, len(body)) + b"connection: close\r\n\r\n" + body)
        self.transport.close()
