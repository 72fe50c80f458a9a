"""How one event handler works through its deliveries: each stream in order, different streams side by side; a failure
is tried again with back-off, and parked when that does not help.

=====================  ====================================================================================
what the handler did   what follows
=====================  ====================================================================================
returned               the delivery is settled, the next one of the stream runs
raised ``Refused``     parked: a rule will not say otherwise tomorrow
raised ``Unavailable`` again, with growing pauses, for ``Retry.unavailable_s``; then parked
raised anything else   again, ``Retry.tries`` times in all; then parked
got a bad message      parked
=====================  ====================================================================================

While a delivery is tried again, later ones of its stream wait, so order holds. If a message cannot be parked, the
handler goes on trying.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any

from shared.bus import wire
from shared.bus.errors import Malformed
from shared.bus.transport import Delivery, Transport
from shared.bus.workers import Alarm, Workers
from shared.errors import Refused, Unavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Retry:
    """How patiently a failed handler is tried again; pauses start at ``first_s`` and double up to ``most_s``."""

    tries: int = 5
    first_s: float = 0.1
    most_s: float = 5.0
    unavailable_s: float = 600.0

    def pause_s(self, tried: int) -> float:
        """The pause behind the ``tried``-th failure, counted from 1."""
        return min(self.first_s * 2.0 ** min(tried - 1, 30), self.most_s)

    def gives_up(self, problem: Exception, tried: int, for_s: float) -> bool:
        """Whether to park after so many tries in so many seconds."""
        if isinstance(problem, Refused | Malformed):
            return True
        if isinstance(problem, Unavailable):
            return for_s >= self.unavailable_s
        return tried >= self.tries


PATIENT = Retry()
"""What hosts use unless told otherwise."""


@dataclass(slots=True)
class _Job:
    delivery: Delivery
    value: Any
    problem: Malformed | None = None
    tried: int = 0
    began: float = field(default_factory=monotonic)


class Lanes:
    """All deliveries of one handler. ``run`` handles a decoded message on a worker thread."""

    def __init__(
        self,
        handler: str,
        run: Callable[[Delivery, Any], None],
        *,
        transport: Transport,
        workers: Workers,
        alarm: Alarm,
        retry: Retry,
    ) -> None:
        self.handler = handler
        self.parked = 0
        self._run = run
        self._transport = transport
        self._workers = workers
        self._alarm = alarm
        self._retry = retry
        self._lanes: dict[str, deque[_Job]] = {}
        self._lock = threading.Lock()
        self._stopping = False

    @property
    def waiting(self) -> int:
        """Deliveries that are not settled yet."""
        with self._lock:
            return sum(map(len, self._lanes.values()))

    def put(self, delivery: Delivery) -> None:
        """Take a delivery; returns at once."""
        try:
            job = _Job(delivery, wire.decode(delivery.message))
        except Malformed as problem:
            job = _Job(delivery, None, problem)
        key = stream_of(job.value)
        with self._lock:
            lane = self._lanes.get(key)
            if lane is not None:
                lane.append(job)
                return
            self._lanes[key] = deque([job])
        self._submit(key)

    def stop(self) -> None:
        """Begin nothing more; what runs may finish and be settled."""
        self._stopping = True

    def _submit(self, key: str) -> None:
        if not self._workers.submit(partial(self._step, key)) and not self._stopping:
            self._alarm.after(self._retry.first_s, partial(self._submit, key))

    def _step(self, key: str) -> None:
        with self._lock:
            job = self._lanes[key][0]
        if self._stopping:
            return
        if job.delivery.lost():
            self._next(key)
            return
        try:
            if job.problem is not None:
                raise job.problem
            self._run(job.delivery, job.value)
        except Exception as problem:  # noqa: BLE001 - whatever it was, it is tried again or parked
            self._failed(key, job, problem)
        else:
            self._settled(key, job)

    def _settled(self, key: str, job: _Job) -> None:
        job.delivery.settle()
        self._next(key)

    def _next(self, key: str) -> None:
        with self._lock:
            lane = self._lanes[key]
            lane.popleft()
            if not lane:
                del self._lanes[key]
                return
        self._submit(key)

    def _failed(self, key: str, job: _Job, problem: Exception) -> None:
        job.tried += 1
        if not self._retry.gives_up(problem, job.tried, monotonic() - job.began):
            pause_s = self._retry.pause_s(job.tried)
            log.warning("%s failed, again in %.1f s: %s", self.handler, pause_s, problem, exc_info=problem)
            self._alarm.after(pause_s, partial(self._submit, key))
            return
        log.error("%s failed and is parked: %s", self.handler, problem, exc_info=problem)
        parked = self._transport.park(job.delivery, self.handler, f"{type(problem).__name__}: {problem}")
        parked.add_done_callback(partial(self._after_parking, key, job))

    def _after_parking(self, key: str, job: _Job, parked: Future[None]) -> None:
        problem = parked.exception()
        if problem is None:
            self.parked += 1
            self._settled(key, job)
            return
        log.error("%s could not be parked: %s", self.handler, problem)
        self._alarm.after(self._retry.most_s, partial(self._submit, key))


def stream_of(value: Any) -> str:
    """The stream that a message is about, whose order must hold; one lane for all that do not say."""
    stream = value.get("stream") if isinstance(value, dict) else None
    return stream if isinstance(stream, str) else ""
