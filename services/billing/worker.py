"""The worker of billing: runs the timers that are due, ends drafts whose time is over and makes the charges that are
asked for, in the order of their due times; follows the provider's hints; sweeps what is in flight; reconciles once a
day (GW-5, GW-6, CAL-4, ORG-1).

One over all replicas works, which has the lock; whoever else settles a charge beside it does no harm (see ``charger``).
Nothing of it is kept in memory alone: another process goes on from the streams.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush
from time import monotonic

from services.billing import drafts
from services.billing.alarms import Alarms
from services.billing.charger import Charger
from services.billing.clock import BillingClock
from services.billing.clock_moves import STREAM as CLOCK_STREAM
from services.billing.drafts import DRAFTS, ExpireDraft
from services.billing.dues import DRAFT_PREFIX, Dues
from services.billing.hints import Hints
from services.billing.provider import ProviderUnavailable
from services.billing.reconciling import Reconciler
from services.billing.standing import Subscription
from services.billing.subscriptions import Advance, Policy, due_at, stream_of, subscriptions
from shared.bus.transport import Lock, Transport
from shared.context import Context
from shared.errors import Unavailable
from shared.streams import Streams

log = logging.getLogger(__name__)

ACTOR, SOURCE, LOCK = "system:billing", "billing worker", "billing-worker"
LOOK_S = 0.5
"""How often it looks for what came due, or was asked for by another process."""
SWEEP_S = 600.0
"""How often everything in flight is looked at (GW-6); between, one of which nothing is known rests, longer each
time."""
FIRST_REST_S = 1.0
FIRST_RECONCILIATION_S, RECONCILIATION_S = 60.0, 86_400.0
MOVE_PATIENCE_S = 10.0
"""So long the end of a move of the clock waits for attempts of which nothing is known."""
AFTER_ERROR_S = 5.0
STOP_S = 30.0
"""A call of the provider is waited for, but for one that does not answer; what became of it is asked later."""


@dataclass(frozen=True, slots=True)
class Means:
    """What the worker works with."""

    streams: Streams
    policy: Policy
    clock: BillingClock
    charger: Charger
    dues: Dues
    hints: Hints
    reconciler: Reconciler
    alarms: Alarms


class BillingWorker:
    """A part of the process: one thread. ``wake`` may be called from any thread."""

    name = "billing worker"

    def __init__(self, transport: Transport, means: Means, *, seconds: Callable[[], float] = monotonic) -> None:
        self._transport = transport
        self._means = means
        self._aggregate = subscriptions(means.policy)
        self._seconds = seconds
        self._rests: dict[str, tuple[float, float]] = {}
        self._sweep_s = self._reconcile_s = 0.0
        self._moving_since: float | None = None
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._has_lock = threading.Event()
        self._lock: Lock | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Stand in line for the lock; returns at once."""
        self._means.dues.prepare()
        self._means.hints.prepare()
        self._ending.clear()
        self._has_lock.clear()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        self._lock = self._transport.lock(LOCK, self._on_lock)

    def stop(self) -> None:
        """Finish the call in hand. Raises ``Unavailable`` if that takes too long; its outcome is asked for later."""
        self._ending.set()
        self._wake.set()
        self._has_lock.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                raise Unavailable("the payment provider still keeps a charge waiting")
            self._thread = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def complaint(self) -> str:
        """What an operator should know; nothing if all is well."""
        return self._means.alarms.shown()

    def _on_lock(self, has_lock: bool) -> None:
        if has_lock:
            self._has_lock.set()
        else:
            self._has_lock.clear()

    def _works(self) -> bool:
        return self._has_lock.is_set() and not self._ending.is_set()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._has_lock.wait()
            try:
                self.begin()
                while self._works():
                    self._wake.clear()
                    self.look()
                    self._wake.wait(LOOK_S)
            except Unavailable as error:
                log.warning("billing waits: %s", error)
                self._ending.wait(LOOK_S)
            except Exception:
                log.exception("billing waits for an error of ours")
                self._ending.wait(AFTER_ERROR_S)

    def begin(self) -> None:
        """Take over from whoever worked before: everything in flight is looked at. Raises ``Unavailable``."""
        self._rests.clear()
        self._means.dues.begin()
        now_s = self._seconds()
        self._sweep_s, self._reconcile_s = now_s + SWEEP_S, now_s + FIRST_RECONCILIATION_S
        self._moving_since = now_s

    def look(self) -> None:
        """Do what there is to do. Raises ``Unavailable``."""
        means, now_s = self._means, self._seconds()
        changed = means.dues.follow()
        if CLOCK_STREAM in changed and self._moving_since is None:
            self._moving_since = now_s
        for stream in changed:  # what was waited for may have happened
            self._rests.pop(stream, None)
        moves = None if self._moving_since is None else means.clock.moves()
        if now_s >= self._sweep_s:
            self._sweep_s = now_s + SWEEP_S
            self._rests.clear()
            means.hints.tidy()
        now = means.clock.now()
        waiting = self._do_due(now)
        self._follow_hints()
        if moves is not None:
            self._end_move(moves.moves, moves.reached, waiting)
        means.alarms.look(now)
        if now_s >= self._reconcile_s:
            self._reconcile(now_s)

    def _do_due(self, now: datetime) -> int:
        """Everything that is due, in the order of its due times, with what comes due by that; how many attempts are
        left of which nothing is known."""
        heap, waiting = self._means.dues.until(now), 0
        heapify(heap)
        while heap and self._works_or_called():
            _, stream = heappop(heap)
            rest = self._rests.get(stream)
            if rest is not None and self._seconds() < rest[0]:
                waiting += 1
                continue
            again_at = self._do(stream, now)
            if again_at is None:
                waiting += stream in self._rests
            elif again_at <= now:
                heappush(heap, (again_at, stream))
        return waiting

    def _works_or_called(self) -> bool:
        """Without a thread, whoever calls ``look`` works."""
        return self._works() or self._thread is None

    def _do(self, stream: str, now: datetime) -> datetime | None:
        """One thing for this stream; when there is the next one, None if nothing came of it."""
        try:
            return (self._end_draft if stream.startswith(DRAFT_PREFIX) else self._go_on)(stream, now)
        except Unavailable:
            raise
        except Exception:  # of this one alone; others shall not wait for it
            log.exception("%s waits for an error of ours", stream)
            self._rest(stream)
            return None

    def _end_draft(self, stream: str, now: datetime) -> datetime | None:
        """If its time is over (ORG-1)."""
        draft = self._means.streams.handle(DRAFTS, stream, ExpireDraft(now), Context.new(ACTOR, SOURCE)).state
        again_at = drafts.due_at(draft)
        self._means.dues.put(stream, again_at)
        return again_at

    def _go_on(self, stream: str, now: datetime) -> datetime | None:
        before = self._means.streams.load(self._aggregate, stream).state
        at = due_at(before)
        if at is None or at > now:
            self._means.dues.put(stream, at)
            return None
        after = self._done(before, at, now)
        if after == before:
            self._rest(stream)
            return None
        self._rests.pop(stream, None)
        again_at = due_at(after)
        self._means.dues.put(stream, again_at)
        return again_at

    def _done(self, before: Subscription, at: datetime, now: datetime) -> Subscription:
        if before.refunds or (before.charge is not None and before.charge.try_at == at):
            after = self._means.charger.settle(before.org_id)
            if after != before or not before.refunds:
                return after
            at = now  # the provider keeps the refund waiting, and nothing else waits for that
        stream = stream_of(before.org_id)
        return self._means.streams.handle(self._aggregate, stream, Advance(at), Context.new(ACTOR, SOURCE)).state

    def _rest(self, stream: str) -> None:
        _, rest_s = self._rests.get(stream, (0.0, FIRST_REST_S / 2))
        rest_s = min(2 * rest_s, SWEEP_S)
        self._rests[stream] = (self._seconds() + rest_s, rest_s)

    def _end_move(self, moves: int, reached: int, waiting: int) -> None:
        """Say that what came due by a move of the clock has been done."""
        if waiting and self._moving_since is not None and self._seconds() < self._moving_since + MOVE_PATIENCE_S:
            return
        if self._works_or_called():
            if reached < moves:
                self._means.clock.reached(moves, waiting, Context.new(ACTOR, SOURCE))
            self._moving_since = None

    def _follow_hints(self) -> None:
        for hint in self._means.hints.waiting():
            if not self._works_or_called():
                return
            try:
                self._means.reconciler.follow(hint)
            except ProviderUnavailable as problem:
                log.warning("the hint %s waits: %s", hint.kind, problem)
                return
            except Unavailable:
                raise
            except Exception:  # it is only a hint
                log.exception("the hint %s %s is passed over for an error of ours", hint.kind, hint.hint_id)
            self._means.hints.followed(hint)

    def _reconcile(self, now_s: float) -> None:
        try:
            strays = self._means.reconciler.reconcile()
        except ProviderUnavailable as problem:
            log.warning("payments cannot be reconciled yet: %s", problem)
            self._reconcile_s = now_s + SWEEP_S
            return
        log.info("payments are reconciled, %d strays found", strays)
        self._reconcile_s = now_s + RECONCILIATION_S
