"""Uvicorn's HTTP protocol with bounds on the head of a request, and with the API's words for what is no HTTP.

Uvicorn itself waits for ever for the head of a request, takes one of any size, and answers garbage with plain text and
a warning in the log for each.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 20.0
"""A connection whose next request has begun, or whose first one has not come, is closed after this."""
HEAD_BYTES = 65_536
"""A longer head is refused as soon as the chunk that exceeds it has come."""

_BAD = b'{"ok":false,"error":"invalid_request","error_description":"This is no HTTP request."}'
_TOO_LARGE = b'{"ok":false,"error":"too_large","error_description":"The head of the request is too large."}'

errors = logging.getLogger(__name__)
errors.setLevel(logging.ERROR)  # what strangers send wrong is answered and not told of, one line each


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    head_s = HEAD_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = errors
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody is there, and has to say what they want."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._head_is_there()
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
