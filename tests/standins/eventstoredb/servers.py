"""The EventStoreDB that tests of the adapter run against: the one given by ``ESDB_URI``, else a container, else the
stand-in. Only the stand-in can be emptied; on the others each test has a corner of its own."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from shared.errors import Unavailable
from shared.store.esdb import EsdbEventStore
from shared.store.port import EventStore, Position
from tests.standins.eventstoredb.apart import Apart
from tests.standins.eventstoredb.node import Node

IMAGE = "kurrentplatform/kurrentdb:25.0"
PORT = 2113
DOCKER_SOCKET = Path("/var/run/docker.sock")
READY_S = 60.0


class Server(Protocol):
    """``how`` says which one it is; ``open`` opens the same store for the same folder, empty for a new one."""

    how: str

    def open(self, folder: Path) -> EventStore: ...


class StandIn:
    """In this process."""

    def __init__(self, stack: ExitStack) -> None:
        self.node = Node()
        self.how = "stand-in (no ESDB_URI, no Docker)"
        self._folder: Path | None = None
        stack.callback(self.node.stop)

    def open(self, folder: Path) -> EventStore:
        if folder != self._folder:
            self._folder = folder
            self.node.begin_anew()
        return EsdbEventStore(self.node.url)


class Real:
    """At a URL."""

    def __init__(self, url: str, how: str) -> None:
        self.how = how
        self.url = url
        self._corners: dict[Path, tuple[str, Position | None]] = {}

    def open(self, folder: Path) -> EventStore:
        store = EsdbEventStore(self.url)
        if folder not in self._corners:
            self._corners[folder] = (f"{uuid4().hex}-", store.head())
        return Apart(store, *self._corners[folder])


_stack = ExitStack()
_running: list[Server] = []


def planned() -> str:
    """Which server will be asked first."""
    if os.environ.get("ESDB_URI"):
        return "given by ESDB_URI"
    return f"container {IMAGE} if Docker answers, else the stand-in" if _may_be_docker() else "stand-in"


def started() -> bool:
    """Whether any test has asked for one."""
    return bool(_running)


def server() -> Server:
    """The server of this run, started when it is first asked for."""
    if not _running:
        _running.append(real(_stack) or StandIn(_stack))
    return _running[0]


def stop() -> None:
    """Stop what was started."""
    _running.clear()
    _stack.close()


def real(stack: ExitStack) -> Real | None:
    """A server that is none of ours, until the stack ends; None if there is none."""
    return _given() or _contained(stack)


def _given() -> Real | None:
    url = os.environ.get("ESDB_URI")
    return Real(url, "given by ESDB_URI") if url else None


def _may_be_docker() -> bool:
    return bool(os.environ.get("DOCKER_HOST")) or DOCKER_SOCKET.exists()


def _contained(stack: ExitStack) -> Real | None:
    if not _may_be_docker():
        return None
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=3)
        stack.callback(client.close)
        client.ping()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its own decorators
            from testcontainers.core.container import DockerContainer
        container = DockerContainer(IMAGE).with_exposed_ports(PORT).with_env("KURRENTDB_INSECURE", "true")
        stack.enter_context(container)
    except (DockerException, OSError, TimeoutError):
        return None
    url = f"esdb://{container.get_container_host_ip()}:{container.get_exposed_port(PORT)}?Tls=false"
    _wait_until_it_answers(url)
    return Real(url, f"container {IMAGE}")


def _wait_until_it_answers(url: str) -> None:
    store = EsdbEventStore(url)
    deadline = time.monotonic() + READY_S
    try:
        while True:
            try:
                store.head()
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                return
    finally:
        store.close()
