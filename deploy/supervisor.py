"""The distributed platform on one machine: RabbitMQ, one process a service, two gateways; what dies is restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.composition import SERVICES
from deploy.rabbitmq import RabbitNode, ensure_installed
from deploy.running import DataFolder
from shared.bus.address import with_queues
from shared.errors import Unavailable
from shared.settings import Settings

READY_S = 60.0
"""How long a process may take until it is ready."""
STOP_S = 25.0
"""How long it may take to end in order before it is killed."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""A process that dies is started again after a pause that doubles while it keeps dying."""


@dataclass
class Child:
    """One process and how to start it again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    pause_s: float = FIRST_PAUSE_S
    started_at: float = 0.0


class Supervisor:
    """Starts everything in order, keeps it running, stops it in reverse order."""

    def __init__(self, settings: Settings, gateways: Sequence[str], say: Callable[[str], None]) -> None:
        self._settings = settings
        self._gateways = gateways
        self._say = say
        self._folder = DataFolder(settings.data)
        self.bus = ""
        self._node: RabbitNode | None = None
        self._children: list[Child] = []
        self._stopping = threading.Event()

    def start(self) -> None:
        """Returns when all of it is ready. Services come before gateways, so that every queue exists before the first
        event can be published."""
        self.bus = with_queues(self._broker(), self._settings.queues)
        settings = replace(self._settings, bus=self.bus)
        for name in SERVICES:
            self._add(name, ["service", name], settings)
        for child in self._children:
            self._spawn(child)
        for child in self._children:
            self._ready(child)
        for index, name in enumerate(self._gateways):
            own = replace(
                settings,
                gateway=name,
                http_port=_port(settings.http_port, index),
                mqtt_port=_port(settings.mqtt_port, index),
                mqtts_port=_port(settings.mqtts_port, index),
                mqtt_ws_port=_port(settings.mqtt_ws_port, index),
                mqtt_wss_port=_port(settings.mqtt_wss_port, index),
                particle_tcp_port=_port(settings.particle_tcp_port, index),
                particle_udp_port=_port(settings.particle_udp_port, index, socket.SOCK_DGRAM),
                log=f"sqlite:///{settings.data / f'gateway-{name}' / 'log.db'}",
            )
            child = self._add(f"gateway-{name}", ["gateway"], own)
            self._spawn(child)
            self._ready(child)

    def run(self, ready: Callable[[], None]) -> None:
        """Start, call ``ready``, watch until SIGINT or SIGTERM, stop."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stopping.set())
        try:
            self.start()
            ready()
            self._watch()
        finally:
            self.stop()

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            for child in self._children:
                if child.process is not None and child.process.poll() is not None:
                    self._again(child)

    def stop(self) -> None:
        """Stop gateways, services and broker, in this order."""
        self._stopping.set()
        for child in reversed(self._children):
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S + self._settings.drain_s
        for child in reversed(self._children):
            _end(child, max(0.1, deadline - time.monotonic()), self._say)
        if self._node is not None:
            self._node.stop()
            self._say("RabbitMQ stopped")

    def _broker(self) -> str:
        given = self._settings.bus if self._settings.bus != "local:" else os.environ.get("RABBITMQ_URL", "")
        if given:
            self._say(f"RabbitMQ as given: {given.rsplit('@', 1)[-1]}")
            return given
        ensure_installed()
        self._node = RabbitNode(self._settings.data / "rabbitmq")
        self._node.start()
        self._say(f"RabbitMQ, a private node: {self._node.url.rsplit('@', 1)[-1]}")
        return self._node.url

    def _add(self, name: str, arguments: list[str], settings: Settings) -> Child:
        outside = {key: value for key, value in os.environ.items() if not key.startswith("FLOTILLA_")}
        command = [sys.executable, "-m", "deploy.cli", *arguments, "--with-parent"]
        child = Child(name, command, outside | settings.environment())
        self._children.append(child)
        return child

    def _spawn(self, child: Child) -> None:
        logs = self._settings.data / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._folder.withdraw(child.name)
        with (logs / f"{child.name}.log").open("ab") as output:
            child.process = subprocess.Popen(  # noqa: S603 - our own program
                child.command, env=child.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
        child.started_at = time.monotonic()

    def _ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            for process in self._folder.processes():
                if process.name == child.name and child.process is not None and process.pid == child.process.pid:
                    where = "" if process.http is None else f" · {process.http}"
                    self._say(f"{child.name} is up (pid {process.pid}){where}")
                    return
            if child.process is not None and child.process.poll() is not None:
                break
            time.sleep(0.05)
        raise Unavailable(f"{child.name} did not get ready; its last words:\n{self._last_words(child.name)}")

    def _again(self, child: Child) -> None:
        assert child.process is not None
        lived_s = time.monotonic() - child.started_at
        child.pause_s = FIRST_PAUSE_S if lived_s > LONGEST_PAUSE_S else min(child.pause_s * 2, LONGEST_PAUSE_S)
        self._say(f"{child.name} ended with {child.process.returncode}; starting it again in {child.pause_s:.1f} s")
        if not self._stopping.wait(child.pause_s):
            self._spawn(child)

    def _last_words(self, name: str) -> str:
        path = Path(self._settings.data / "logs" / f"{name}.log")
        return "\n".join(path.read_text(errors="replace").splitlines()[-15:]) if path.exists() else "(none)"


def _end(child: Child, patience_s: float, say: Callable[[str], None]) -> None:
    if child.process is None:
        return
    try:
        child.process.wait(patience_s)
    except subprocess.TimeoutExpired:
        child.process.kill()
        child.process.wait(5)
        say(f"{child.name} had to be killed")
    else:
        say(f"{child.name} stopped")


def _port(first: int, index: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """The port of the ``index``-th gateway; 0 becomes a free one now, so that a restart finds the same; -1 is off."""
    if first < 0:
        return first
    if first > 0:
        return first + index
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        chosen: int = probe.getsockname()[1]
    return chosen
