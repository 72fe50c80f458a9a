"""A proxy on the loopback before the sandbox of payments: keeps the promise of idempotency keys that the sandbox lacks
(the same key is the same answer), and lets chosen calls go wrong."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

Fault = Literal["lost before", "lost after", "failed before", "failed after", "throttled", "delayed", "repeated"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
ERROR = b'{"error": {"type": "api_error", "message": "made by the proxy"}}'
_PASSED_ON = ("authorization", "content-type")

Answer = tuple[int, bytes]


class FaultProxy:
    """``faults``: what happens to a call, by its number from 0; ``late_s``: how late an answer is that is delayed."""

    def __init__(self, url: str, late_s: float) -> None:
        self._upstream = urlsplit(url).netloc
        self._late_s = late_s
        self._guard = threading.Lock()
        self._over = threading.Event()
        self.reset({})

    def reset(self, faults: Mapping[int, Fault]) -> None:
        """Begin to count anew, with no key known."""
        with self._guard:
            self.faults, self.calls = dict(faults), 0
            self._answers: dict[str, Answer] = {}

    def fault(self) -> Fault | None:
        """Of this call."""
        with self._guard:
            self.calls += 1
            return self.faults.get(self.calls - 1)

    def forward(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What the sandbox answers; for a key that it has had before, what it answered then."""
        key = headers.get("idempotency-key")
        with self._guard:  # the same key is never under way twice
            if key is not None and key in self._answers:
                return self._answers[key]
            connection = http.client.HTTPConnection(self._upstream, timeout=20)
            try:
                sent = {name: value for name, value in headers.items() if name in _PASSED_ON}
                connection.request(method, path, body or None, sent)
                answer = connection.getresponse()
                given = answer.status, answer.read()
            finally:
                connection.close()
            if key is not None:
                self._answers[key] = given
            return given

    def be_late(self) -> None:
        """Later than anybody waits, unless all is over."""
        self._over.wait(self._late_s)

    @contextmanager
    def served(self) -> Iterator[str]:
        """The URL, while it listens."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            self._over.set()
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._pass()

        do_POST = do_DELETE = do_GET  # noqa: N815 - their names there

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            call: Any = (self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            fault = proxy.fault()
            if fault in ("lost before", "failed before", "throttled"):
                answer = (429 if fault == "throttled" else 500, ERROR)
            else:
                answer = proxy.forward(*call)
            if fault == "repeated":
                answer = proxy.forward(*call)
            if fault == "failed after":
                answer = (500, ERROR)
            if fault in ("lost before", "lost after"):
                self.close_connection = True
                return
            if fault == "delayed":
                proxy.be_late()
            self._answer(*answer)

        def _answer(self, status: int, body: bytes) -> None:
            try:
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # who asked has given up

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Nothing."""

    return Handler
