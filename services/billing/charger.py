"""The charger: goes on with the attempt in flight of one organization until its fate is known, or nothing can be done
now (GW-1 to GW-4). It acts on the world, and is never replayed.

What is to be done is always read from the stream, so whatever died in between, and whoever else is at it, in this
process or another, money moves once: the first payment that was recorded is the one that is executed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from uuid import UUID, uuid5

from services.billing.charging import next_record
from services.billing.operating import RecordRefundFailed
from services.billing.oversight import HoldCharges, missed_periods
from services.billing.provider import Provider
from services.billing.refunding import settle_refund
from services.billing.standing import Subscription
from services.billing.subscriptions import Command, Policy, Record, stream_of, subscriptions
from shared.clock import Clock
from shared.context import Context
from shared.streams import Streams

log = logging.getLogger(__name__)

ACTOR, SOURCE = "system:billing", "billing charger"
PATIENCE_S = 60.0
"""So long it goes on at once; each call of the provider is bounded by the adapter."""
MOST_RECORDS = 20
_PLACES = 64
_COMMANDS = UUID("0d5c7b1e-3f0a-4c56-9a83-6f1f6f0e9a11")


class Charger:
    """Safe from any thread, beside other chargers. ``holds``: real money moves, so what is overdue by more than
    ``policy.hold_after_missed_periods`` waits for an operator (CAL-6). ``on_record`` is told what was recorded, with
    the subscription as it stood before."""

    def __init__(
        self,
        streams: Streams,
        provider: Provider,
        policy: Policy,
        clock: Clock,
        *,
        holds: bool = False,
        on_record: Callable[[Subscription, Record], None] | None = None,
    ) -> None:
        self._streams = streams
        self._provider = provider
        self._policy = policy
        self._aggregate = subscriptions(policy)
        self._clock = clock
        self._holds = holds
        self._on_record = on_record
        self._places = [threading.Lock() for _ in range(_PLACES)]

    def settle(self, org_id: str) -> Subscription:
        """The subscription as it stands afterwards: with a charge, if the fate of that is not known yet. Bounded in
        time; asked again, it goes on. Raises ``Unavailable``."""
        place = self._places[hash(org_id) % _PLACES]
        if not place.acquire(timeout=PATIENCE_S):  # somebody of this process is at it
            return self._load(org_id)
        try:
            return self._settle(org_id)
        finally:
            place.release()

    def settle_within(self, org_id: str, patience_s: float) -> Subscription:
        """The same, for somebody who waits so long at most: goes on by itself afterwards."""
        done: Future[Subscription] = Future()

        def settle() -> None:
            try:
                done.set_result(self.settle(org_id))
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                done.set_exception(error)

        threading.Thread(target=settle, name="billing charger", daemon=True).start()
        try:
            return done.result(patience_s)
        except TimeoutError:
            return self._load(org_id)

    def _settle(self, org_id: str) -> Subscription:
        deadline = monotonic() + PATIENCE_S
        state = self._give_back(self._load(org_id), deadline)
        for _ in range(MOST_RECORDS):
            if monotonic() > deadline:
                return state
            now = self._clock()
            missed = missed_periods(state, now) if self._holds else 0
            if state.charge is not None and missed > self._policy.hold_after_missed_periods:
                return self._hold(state, missed)
            record = next_record(state, self._provider, now)
            if record is None:
                return state
            state = self._record(state, record)
        return state

    def _load(self, org_id: str) -> Subscription:
        return self._streams.load(self._aggregate, stream_of(org_id)).state

    def _record(self, state: Subscription, record: Record) -> Subscription:
        charge = state.charge
        assert charge is not None
        named = (type(record).__name__, record.number, record.attempt, charge.tries)
        after = self._handle(state.org_id, record, ":".join(map(str, named)))
        if self._on_record is not None:
            self._on_record(state, record)
        return after

    def _give_back(self, state: Subscription, deadline: float) -> Subscription:
        """Make the refunds that an operator asked for."""
        while state.refunds and monotonic() <= deadline:
            record = settle_refund(state, self._provider, self._clock())
            if record is None:
                return state
            if isinstance(record, RecordRefundFailed):
                log.error(
                    "the payment provider refuses refund %d of organization %s; see `flotilla billing timeline`",
                    record.refund,
                    state.org_id,
                )
            before, state = state, self._handle(state.org_id, record, f"{type(record).__name__}:{record.refund}")
            if state == before:  # somebody else is at it
                return state
        return state

    def _hold(self, state: Subscription, missed: int) -> Subscription:
        if state.held or state.charge is None:
            return state
        log.error(
            "charges of organization %s are held: %d whole periods are overdue; look at them with `flotilla billing "
            "parked`",
            state.org_id,
            missed,
        )
        named = f"hold:{state.charge.attempt}:{state.number}"
        return self._handle(state.org_id, HoldCharges(missed, state.charge.try_at), named)

    def _handle(self, org_id: str, command: Command, named: str) -> Subscription:
        """Two chargers that record the same of an attempt record it once."""
        context = Context.new(ACTOR, SOURCE, uuid5(_COMMANDS, f"{org_id}:{named}"))
        return self._streams.handle(self._aggregate, stream_of(org_id), command, context).state
