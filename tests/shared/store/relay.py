"""A TCP relay that can go silent, as a link does whose other end vanished."""

from __future__ import annotations

import socket
import threading
from types import TracebackType


class Relay:
    """Passes everything on to a port of the loopback until it is frozen; then connections stay open and dumb."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._frozen = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Relay:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()  # it may have accepted one more just now
        for each in self._sockets:
            each.close()

    def freeze(self) -> None:
        """From now on nothing passes, and new connections are accepted and ignored."""
        self._frozen.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._sockets.append(near)
            if self._frozen.is_set():
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets.append(far)
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if self._frozen.is_set():
                    return
                sink.sendall(data)
        except OSError:  # closed by either side
            return
