"""The report that a process writes of its parts every few seconds, for ``deploy.health``.

Two threads: one asks the parts, which may take as long as a store or a database takes to answer; the other writes what
is known, so that an old report means a process that hangs, and nothing else.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from deploy.health import PartReport, Report, report_path
from deploy.running import DataFolder
from shared.bus.amqp import AmqpTransport
from shared.bus.relay import Relay
from shared.errors import FlotillaError
from shared.projections.projector import Projector
from shared.runtime import Part, Runtime

log = logging.getLogger(__name__)

WRITE_S = 3.0
LOOK_S = 3.0


class Standstill:
    """Since when things have been where they are although they are behind."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[object, float]] = {}

    def seconds(self, name: str, place: object, *, behind: bool) -> float:
        """How long ``name`` has been behind without moving from ``place``; 0 for one that is not behind."""
        now = self._monotonic()
        last, since = self._seen.get(name, (None, now))
        if not behind or name not in self._seen or last != place:
            self._seen[name] = (place, now)
            return 0.0
        return now - since


def examine(runtime: Runtime, still: Standstill) -> list[PartReport]:
    """The parts of a process that can tell how they are."""
    return [report for part in _all_parts(runtime) for report in _of_part(part, still)]


def _all_parts(runtime: Runtime) -> Iterator[Part]:
    for part in runtime.parts:
        if isinstance(part, Runtime):
            yield from _all_parts(part)
        else:
            yield part


def _of_part(part: Part, still: Standstill) -> Iterator[PartReport]:
    if isinstance(part, Projector):
        for view in part.status():
            owner = part.name.removeprefix("projector ")
            yield _view(f"view {owner}/{view.name}", view.position, view.lag_events, view.error, still)
    elif isinstance(part, Relay):
        yield _relay(part, still)
    elif isinstance(part, AmqpTransport):
        status = part.status()
        yield PartReport("broker", "" if status["connected"] else f"not connected: {status['problem']}")
    elif hasattr(part, "complaint"):  # a worker of billing, which a gateway shall not import
        yield PartReport(part.name, part.complaint())
    elif hasattr(part, "ask_status"):  # a gateway
        yield from _gateway(part, still)


def _view(name: str, position: int | None, lag_events: int | None, error: str | None, still: Standstill) -> PartReport:
    behind = bool(lag_events) and error is None
    problem = error or ("the event store does not answer" if lag_events is None else "")
    return PartReport(name, problem, still.seconds(name, position, behind=behind))


def _relay(relay: Relay, still: Standstill) -> PartReport:
    """It moves with the events of its own service alone, so only one that waits for confirmations can stand still."""
    status = relay.status()
    name = f"relay {status['source']}"
    behind = status["unconfirmed"] > 0 and not status["problem"]
    return PartReport(name, status["problem"], still.seconds(name, status["position"], behind=behind))


def _gateway(part: Any, still: Standstill) -> Iterator[PartReport]:
    try:
        status = part.ask_status()
    except FlotillaError as error:
        yield PartReport(part.name, str(error), still.seconds(part.name, "away", behind=True))
        return
    still.seconds(part.name, "here", behind=False)
    for view in status["directory"]:
        yield _view(f"view {part.name}/{view['name']}", view["position"], view["lag_events"], view["error"], still)
    epoch = status.get("epoch", {})
    yield PartReport(part.name, "" if epoch.get("ok") else f"serves no devices: {epoch.get('state', 'starting')}")


class Reporter:
    """Writes the report of a runtime until it is stopped."""

    def __init__(self, name: str, folder: DataFolder, runtime: Runtime) -> None:
        self._name = name
        self._path = report_path(folder, name)
        self._runtime = runtime
        self._still = Standstill()
        self._parts: list[PartReport] = []
        self._looked_s = time.monotonic()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"health {what}", daemon=True)
            for what, work in (("writer", self._write_for_ever), ("look", self._look_for_ever))
        ]
        self._writing = threading.Lock()
        self._started = False

    def start(self) -> None:
        """Begin to report; before the parts are started, so that a long start is told from a hanging one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for thread in self._threads:
            thread.start()

    def ready(self) -> None:
        """All parts are started; told at once."""
        self._started = True
        self._write()

    def stop(self) -> None:
        """Say no more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(WRITE_S)  # one that waits for a store that is away ends with the process
        self._path.unlink(missing_ok=True)

    def _write_for_ever(self) -> None:
        while not self._stopping.is_set():
            self._write()
            self._stopping.wait(WRITE_S)

    def _write(self) -> None:
        report = Report(self._name, os.getpid(), self._started, time.monotonic(), self._looked_s, self._parts)
        draft = self._path.with_name(f".{self._path.name}")
        with self._writing:
            try:
                draft.write_bytes(msgspec.json.encode(report))
                draft.rename(self._path)
            except OSError:
                log.exception("the health report cannot be written")

    def _look_for_ever(self) -> None:
        while not self._stopping.wait(LOOK_S):
            if not self._started:
                self._looked_s = time.monotonic()
                continue
            try:
                self._parts = examine(self._runtime, self._still)
            except Exception:
                log.exception("the parts cannot be asked how they are")
            else:
                self._looked_s = time.monotonic()


@contextmanager
def reporting(name: str, folder: DataFolder, runtime: Runtime) -> Iterator[Reporter]:
    """A process reports; the caller says when it is ``ready``."""
    reporter = Reporter(name, folder, runtime)
    reporter.start()
    try:
        yield reporter
    finally:
        reporter.stop()
