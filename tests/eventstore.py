"""An EventStoreDB for the whole platform: the one that is given, else a container, else the stand-in as a process of
its own, which can be killed and started again on the same log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.rabbitmq import free_ports
from shared.errors import Unavailable
from tests.standins.eventstoredb import servers

used: list[str] = []
"""Which servers this run had, for its summary."""

START_S = 30.0
STOP_S = 10.0


@dataclass(frozen=True)
class Server:
    """``how`` says which one it is."""

    url: str
    how: str


@contextmanager
def any_event_store(folder: Path) -> Iterator[Server]:
    """The first that is to be had; only the stand-in keeps its log in ``folder``, and begins empty."""
    with ExitStack() as stack:
        found = servers.real(stack)
        if found is not None:
            server = Server(found.url, found.how)
        else:
            process = stack.enter_context(StandInProcess(folder))
            server = Server(process.url, "stand-in as a process of its own (no ESDB_URI, no Docker)")
        used.append(server.how)
        yield server


class StandInProcess:
    """The stand-in with its log in ``folder``; started again, it is the same server at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        [self._port] = free_ports(1)
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> StandInProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when it listens. Raises ``Unavailable``."""
        command = [sys.executable, "-m", "tests.standins.eventstoredb", "--port", str(self._port)]
        command += ["--folder", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url:
            raise Unavailable(f"the stand-in for EventStoreDB ended with {self._process.wait(START_S)}")

    def stop(self) -> None:
        """End it in order, by pid; safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)
        if process.stdout is not None:
            process.stdout.close()
