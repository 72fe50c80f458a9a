"""The one client of a store: made when it is first needed, closed with the store or at the end of the process."""

from __future__ import annotations

import atexit
import os
import threading

from shared.errors import Misuse, Unavailable
from shared.store.esdb.client import Client
from shared.store.esdb.failures import FAILURES, text


class Connection:
    """Belongs to the process that made it: gRPC hangs in a forked child, so there it is ``Misuse``."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._closed = threading.Event()
        atexit.register(self._close_at_exit)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed.is_set()

    def client(self) -> Client:
        """The client. Raises ``Misuse``, and ``Unavailable`` when it is closed or no node of the cluster is found."""
        self.check()
        client = self._client
        if client is None:
            with self._lock:
                self.check()
                client = self._client = self._client or self._connect()
        return client

    def check(self) -> None:
        """Raises ``Misuse`` in another process, ``Unavailable`` after ``close``."""
        if os.getpid() != self._pid:
            raise Misuse("an event store must be opened after the fork: this one belongs to the parent process")
        if self._closed.is_set():
            raise Unavailable("the store is closed")

    def close(self) -> None:
        """End all calls; safe to call twice."""
        if os.getpid() != self._pid:
            raise Misuse("an event store must be closed by the process that opened it")
        self._closed.set()
        atexit.unregister(self._close_at_exit)
        with self._lock:
            if self._client is not None:
                self._client.close()

    def _connect(self) -> Client:
        try:
            return Client(self._uri)
        except (OSError, *FAILURES) as failure:
            raise Unavailable(f"event store: {text(failure)}") from failure

    def _close_at_exit(self) -> None:
        if os.getpid() == self._pid:
            self.close()
