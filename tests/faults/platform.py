"""The platform under test in one of its modes, with everything that it stands on in our hands."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from deploy.rabbitmq import RabbitNode, free_ports
from deploy.running import DataFolder, Process
from shared.settings import Settings

Mode = Literal["embedded", "rabbitmq", "cluster"]

READY_S = 90.0
STOP_S = 60.0
TOOL_S = 120.0
HOLD = (
    "import sqlite3, sys, time\n"
    "db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)\n"
    "db.execute('BEGIN IMMEDIATE')\n"
    "print('held', flush=True)\n"
    "time.sleep(float(sys.argv[2]))\n"
    "db.execute('ROLLBACK')\n"
)


BILLS_NOBODY = {"FLOTILLA_PAYMENTS": "off:"}


@dataclass
class Platform:
    """``settings`` are those that make the mode; ``log`` is outside of the data folder, which may be full."""

    mode: Mode
    data: Path
    log: Path
    given: Mapping[str, str]
    node: RabbitNode | None = None
    _child: subprocess.Popen[bytes] | None = None
    _ports: list[int] = field(default_factory=lambda: free_ports(2))

    @property
    def settings(self) -> Settings:
        return Settings.load(self.given, data=self.data)

    @property
    def main(self) -> str:
        """The name of the process that we start ourselves."""
        return "flotilla" if self.mode == "embedded" else "supervisor"

    def start(self) -> None:
        """Returns when it is ready."""
        word, ports = ("run", self._ports) if self.mode == "embedded" else ("up", [0, 0])
        command = [sys.executable, "-m", "deploy.cli", word, "--data", str(self.data)]
        command += ["--http-port", str(ports[0]), "--mqtt-port", str(ports[1])]
        command += ["--particle-port", "0", "--particle-udp-port", "0"]
        outside = {name: text for name, text in os.environ.items() if not name.startswith("FLOTILLA_")}
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                command, stdout=output, stderr=output, env={**outside, **BILLS_NOBODY, **self.given}
            )
        self.await_process(self.main, self._child.pid)

    def stop(self) -> None:
        """In order. Raises if it does not end by itself."""
        child, self._child = self._child, None
        if child is None:
            return
        child.send_signal(signal.SIGINT)
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise

    def tool(self, *words: str) -> tuple[int, str]:
        """Run a command of the tool; its exit code and what it printed."""
        command = [sys.executable, "-m", "deploy.cli", *words, "--data", str(self.data)]
        environment = {**os.environ, **self.given, "COLUMNS": "200"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=TOOL_S, env=environment, check=False)
        return done.returncode, done.stdout + done.stderr

    def processes(self) -> list[Process]:
        """All but the supervisor, which is no part of what is promised."""
        return [one for one in DataFolder(self.data).processes() if one.name != "supervisor"]

    def gateways(self) -> list[Process]:
        return [one for one in self.processes() if one.http]

    def kill(self, name: str) -> int:
        """End a process with kill -9; its id. What nobody else starts again is ready again when it returns."""
        [victim] = [one for one in self.processes() if one.name == name]
        os.kill(victim.pid, signal.SIGKILL)
        if self._child is not None and victim.pid == self._child.pid:
            self._child.wait()
            self.start()
        return victim.pid

    def await_process(self, name: str, pid: int = 0, *, other_than: int = 0) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            for one in DataFolder(self.data).processes():
                if one.name == name and one.pid in ((pid,) if pid else (one.pid,)) and one.pid != other_than:
                    return
            if self._child is not None and self._child.poll() is not None:
                break
            time.sleep(0.05)
        raise TimeoutError(f"{name} is not ready:\n{self.last_words()}")

    def last_words(self) -> str:
        """The ends of all logs."""
        logs = [self.log, *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(f"== {log.name}\n{_tail(log)}" for log in logs if log.exists())

    def unwell(self) -> list[str]:
        """What the gateways say of themselves."""
        found = []
        for gateway in self.gateways():
            try:
                answer = httpx.get(f"{gateway.http}/health", timeout=5.0, trust_env=False)
            except httpx.HTTPError as problem:
                found.append(f"{gateway.name} does not answer: {problem!r}")
                continue
            if answer.status_code != 200:
                found.append(f"{gateway.name} is not well: {answer.text[:500]}")
        return found

    def undelivered(self) -> list[str]:
        """Messages in the broker's queues, and parked ones."""
        if self.node is None:
            return [f"parked: {path.name}" for path in (self.data / "parked").glob("*.json")]
        lines = self.node.control("list_queues", "--silent", "name", "messages").split("\n")
        counts = (line.rsplit("\t", 1) for line in lines if "\t" in line)
        return [f"{count} messages in {name}" for name, count in counts if count.strip() != "0"]


@contextmanager
def held(path: Path, seconds: float) -> Iterator[None]:
    """Another process has the write lock of this SQLite file; the block ends when it has given it back."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline().strip() == "held", "the lock was not to be had"
        yield
        assert holder.wait(seconds + 30) == 0


def whole(path: Path) -> str:
    """What SQLite says of a file after all that: ``ok``."""
    with sqlite3.connect(path) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-25:])
