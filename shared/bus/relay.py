"""From the store to the bus: a service's events, published in order, at least once.

One relay a service is active, over all its replicas: the one that has the lock ``relay-<service>``. It follows
the store from its checkpoint, publishes without waiting for each confirmation (a window of them is open), and moves
the checkpoint only over what is confirmed. Whatever goes wrong, it begins again at the checkpoint; what was published
twice has the same ids. What nobody would get is passed over without being read, on a bus that can tell.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from typing import Any, Protocol

from shared.bus.messages import to_wire
from shared.bus.transport import Lock, Transport
from shared.errors import Unavailable
from shared.events.contracts import Registry
from shared.store.port import CaughtUp, EventStore, Only, Position, Recorded, Subscription

log = logging.getLogger(__name__)

WINDOW = 256
"""Published events that may be unconfirmed."""
PAUSE_S = 0.5
"""Between a failure and the next attempt."""
WAIT_S = 1.0
"""Longest wait without looking whether to stop."""
SAVE_S = 0.05
"""How often the checkpoint is saved while events are confirmed; after a crash so many come twice."""
QUIET_S = 5.0
"""How often the checkpoint moves over events of others, when there are none of ours."""
LOOK_S = 0.1
"""How often it looks whether somebody wants events, while nobody does."""
PASS_S = 1.0
"""How often the checkpoint moves over what nobody wants."""


class Checkpoints(Protocol):
    """Where positions are kept: see ``shared.projections.database``."""

    def load(self, name: str) -> Position | None: ...

    def advance(self, name: str, old: Position | None, new: Position) -> bool: ...


_NOTHING_TO_DO: Future[None] = Future()
_NOTHING_TO_DO.set_result(None)


@dataclass(slots=True)
class _Sent:
    position: Position
    done: Future[None]


class Relay:
    """See the module. ``types`` are the event types that the service owns; ``source`` names the exchange if it is not
    the service itself. Events of types that ``contracts`` does not know are published as they are."""

    def __init__(
        self,
        service: str,
        store: EventStore,
        transport: Transport,
        checkpoints: Checkpoints,
        types: frozenset[str],
        *,
        source: str | None = None,
        contracts: Registry,
    ) -> None:
        unknown = types - {contract.name for contract in contracts}
        if unknown:
            raise ValueError(f"relay of {service}: no contract for {', '.join(sorted(unknown))}")
        self.name = f"relay {service}"
        self._lock_name = f"relay-{source or service}"
        self._checkpoint = f"relay-{source or service}"
        self._source = source or service
        self._store = store
        self._transport = transport
        self._checkpoints = checkpoints
        self._types = types
        self._only = Only(types=types)
        self._changed = threading.Condition()
        self._has_lock = False
        self._stopping = False
        self._position: Position | None = None
        self._problem = ""
        self._lock: Lock | None = None
        self._thread: threading.Thread | None = None
        self._run: _Run | None = None
        self._passing = False
        self._wanted: str | None = None
        """A type that somebody wanted when it was last looked for: the first that is asked about again."""

    def start(self) -> None:
        """Stand in line for the lock; returns at once."""
        self._stopping = False
        self._thread = threading.Thread(target=self._follow, name=self.name, daemon=True)
        self._thread.start()
        self._lock = self._transport.lock(self._lock_name, self._on_lock)

    def stop(self) -> None:
        """Publish nothing more and give up the lock; what is unconfirmed is published again by the next one."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            run = self._run
        if run is not None:
            run.stop()
        if self._thread is not None:
            self._thread.join(10.0)
            self._thread = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def status(self) -> dict[str, Any]:
        """``active`` here or standing by; the confirmed ``position`` and the store's ``head``, as far as known."""
        try:
            head = self._store.head()
        except Unavailable:
            head = None
        run = self._run
        return {
            "source": self._source,
            "active": run is not None or self._passing,
            "position": self._position,
            "head": head,
            "unconfirmed": 0 if run is None else run.unconfirmed,
            "problem": self._problem,
        }

    def _on_lock(self, has_lock: bool) -> None:
        with self._changed:
            self._has_lock = has_lock
            self._changed.notify_all()
            run = self._run
        if not has_lock and run is not None:
            run.stop()

    def _follow(self) -> None:
        while self._wait_for_lock():
            try:
                self._publish_all()
            except Exception as problem:
                self._problem = str(problem)
                log.warning("%s: begins again at its checkpoint: %s", self.name, problem, exc_info=problem)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, PAUSE_S)

    def _wait_for_lock(self) -> bool:
        with self._changed:
            while not self._has_lock and not self._stopping:
                self._changed.wait(WAIT_S)
            return not self._stopping

    def _publish_all(self) -> None:
        position = self._pass_over(self._checkpoints.load(self._checkpoint))
        run = _Run(self._store.subscribe(position, self._only), position, self._moved)
        with self._changed:
            if not self._has_lock or self._stopping:
                return
            self._run = run
        confirmer = threading.Thread(target=run.confirm, name=f"{self.name} confirmations", daemon=True)
        confirmer.start()
        try:
            for item in run.subscription:
                if isinstance(item, CaughtUp):
                    run.caught_up(item.position)
                    continue
                sent = self._send(item)
                if not run.send(item, sent) or (sent is _NOTHING_TO_DO and self._is_idle(run)):
                    break
        finally:
            run.stop()
            confirmer.join(10.0)
            with self._changed:
                self._run = None
        if run.problem is not None:
            raise run.problem

    def _is_idle(self, run: _Run) -> bool:
        """Whether nobody would want another event, and nothing is on its way to anybody."""
        return not run.unconfirmed and not self._is_wanted()

    def _is_wanted(self) -> bool:
        if self._wanted is None or not self._transport.wants(self._source, self._wanted):
            self._wanted = next((type_ for type_ in self._types if self._transport.wants(self._source, type_)), None)
        return self._wanted is not None

    def _pass_over(self, position: Position | None) -> Position | None:
        """Where to begin: behind all that was there before somebody wanted any of it. Blocks while nobody does."""
        self._position = passed = head = position
        save_at = monotonic() + PASS_S
        while self._has_lock and not self._stopping and not self._is_wanted():
            self._passing = True
            passed = head  # read before the question, so that whoever wants something misses nothing from then on
            if passed != self._position and monotonic() >= save_at:
                self._move_to(passed)
                save_at = monotonic() + PASS_S
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or not self._has_lock, LOOK_S)
            head = max(filter(None, (head, self._store.head())), default=None)
        self._passing = False
        if passed != self._position:
            self._move_to(passed)
        return self._position

    def _move_to(self, position: Position | None) -> None:
        if position is not None and not self._moved(self._position, position):
            raise Unavailable("the checkpoint is somebody else's now")

    def _send(self, recorded: Recorded) -> Future[None]:
        if not self._transport.wants(self._source, recorded.type):
            return _NOTHING_TO_DO
        body, headers = to_wire(recorded)
        return self._transport.publish(self._source, recorded.type, body, headers, handled=True)

    def _moved(self, old: Position | None, new: Position) -> bool:
        if not self._has_lock or not self._checkpoints.advance(self._checkpoint, old, new):
            return False  # whoever has the lock now begins at the checkpoint, so it must stay where that one found it
        self._position = new
        self._problem = ""
        return True


class _Run:
    """One stretch of being active: the window of unconfirmed events between two threads."""

    def __init__(self, subscription: Subscription, position: Position | None, moved: Any) -> None:
        self.subscription = subscription
        self.problem: BaseException | None = None
        self._position = position
        self._moved = moved
        self._window: deque[_Sent] = deque()
        self._reached: Position | None = None
        self._passed: Position | None = None
        self._quiet_since = monotonic()
        self._changed = threading.Condition()
        self._stopped = False

    @property
    def unconfirmed(self) -> int:
        return len(self._window)

    def stop(self) -> None:
        """End both threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.subscription.stop()

    def send(self, recorded: Recorded, done: Future[None]) -> bool:
        """Put a published event into the window, waiting for room; False when the run is over."""
        with self._changed:
            self._window.append(_Sent(recorded.position, done))
            if done.done():
                self._settle()
                if not self._window:
                    return not self._stopped
        if not done.done():
            done.add_done_callback(self._wake)
        with self._changed:
            while len(self._window) >= WINDOW and not self._stopped:
                self._changed.wait(WAIT_S)
            return not self._stopped

    def caught_up(self, position: Position | None) -> None:
        """There is nothing of ours up to here, beyond what is in the window."""
        with self._changed:
            self._passed = position
            self._changed.notify_all()

    def confirm(self) -> None:
        """Save the checkpoint behind what is confirmed, at most every ``SAVE_S``, and once more at the end."""
        try:
            is_over = False
            while not is_over:
                confirmed, is_over = self._confirmed()
                if confirmed is not None:
                    if not self._moved(self._position, confirmed):
                        raise Unavailable("the checkpoint is somebody else's now")
                    self._position = confirmed
                with self._changed:
                    self._changed.wait_for(lambda: self._stopped, SAVE_S)
        except Exception as problem:  # noqa: BLE001 - the thread that follows raises it
            self.problem = self.problem or problem
            self.stop()

    def _wake(self, _done: Future[None]) -> None:
        with self._changed:
            self._settle()
            self._changed.notify_all()

    def _settle(self) -> None:
        """Take what is confirmed out of the window, as far as there is no gap."""
        while self._window and self._window[0].done.done():
            sent = self._window.popleft()
            if self.problem is None:
                self.problem = sent.done.exception()
            if self.problem is not None:
                self._stopped = True
                self._changed.notify_all()
                self.subscription.stop()
                return
            if self._reached is None:
                self._changed.notify_all()
            self._reached = sent.position

    def _confirmed(self) -> tuple[Position | None, bool]:
        """Wait for a position to save; with it, whether the run is over."""
        with self._changed:
            while True:
                reached, self._reached = self._reached, None
                if reached is None and not self._window and self._is_quiet():
                    reached = self._passed
                if reached is not None:
                    self._quiet_since = monotonic()
                if reached is not None or self._stopped:
                    return reached, self._stopped
                self._changed.wait(WAIT_S if self._window or self._passed != self._position else None)

    def _is_quiet(self) -> bool:
        behind = self._passed is not None and (self._position is None or self._passed > self._position)
        return behind and monotonic() - self._quiet_since >= QUIET_S
