"""One webhook at work: rounds of reading a page, requesting what may be tried, and saving what came of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, Protocol

from services.hooks.attempts import Delivery, Place, State, of_event, rewound, shown_answer
from services.hooks.deliveries import Deliveries
from services.hooks.feed import Feed, Stretch
from services.hooks.heard import Heard
from services.hooks.known_hooks import Hook
from services.hooks.pages import Page
from services.hooks.posting import Answer
from services.hooks.schedule import Verdict, is_alone, is_failing, is_lost, pause, verdict
from services.hooks.writing import Outgoing, Published, Unwritable, published_answer, published_error, write
from shared.clock import Clock
from shared.errors import FlotillaError, Unavailable

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Requests of one webhook."""
PAGE = 50
MOST_IN_PAGE = 200
"""Events of a page that begins with some that are done already."""
MOST_FAILURES = 2
"""In one round; then the rest waits."""
AWAY = timedelta(seconds=3)
LONGEST_AWAY = timedelta(minutes=1)
"""How long a gateway that could not be asked is not asked again; it doubles."""
MOST_PUBLISHED = 500


class Posting(Protocol):
    """Requests."""

    async def post(self, outgoing: Outgoing, key: bytes) -> Answer: ...


@dataclass(frozen=True, slots=True)
class Means:
    """What all webhooks use. ``key_of``: what a webhook signs with; ``chance`` draws from 0 to 1."""

    feed: Feed
    poster: Posting
    deliveries: Deliveries
    key_of: Callable[[str], bytes]
    clock: Clock
    chance: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Tried:
    """An event that failed: whose log it is in, how often, since when, and when it is due again."""

    gateway: str
    tries: int
    first_at: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class End:
    """Why a webhook is to be disabled."""

    reason: Literal["gone", "failing"]
    detail: str


class Courier:
    """Delivers for one webhook. ``round`` until it says that there is nothing more, or an ``End``; then again when
    something may have come, or ``due_at``."""

    def __init__(self, hook: Hook, means: Means) -> None:
        self.hook = hook
        self.stopping = False
        self._means = means
        self._places: dict[str, Place] = {}
        self._state = State(hook.changed_at)
        self._tried: dict[str, Tried] = {}
        self._done: dict[str, frozenset[str]] = {}
        self._away: dict[str, datetime] = {}
        self._absences: dict[str, int] = {}
        self._success_at: datetime | None = None
        self._said_gap: set[str] = set()

    async def load(self) -> None:
        """Find out where it is."""
        self._places = await asyncio.to_thread(self._means.deliveries.places, self.hook.hook_id)
        self._state = await asyncio.to_thread(self._means.deliveries.state, self.hook.hook_id, self.hook.changed_at)

    @property
    def due_at(self) -> datetime | None:
        """When to go on whatever comes: for all of it, or for what failed, or for a gateway that was away; None while
        nothing waits."""
        due = [*(one.due_at for one in self._tried.values()), *self._away.values()]
        return self._state.next_at or min(due, default=None)

    @property
    def is_waiting(self) -> bool:
        """Whether nothing is tried before ``due_at``, because nothing gets through."""
        return self._state.next_at is not None and self._state.next_at > self._means.clock()

    async def round(self, gateways: list[str]) -> bool | End:
        """One page of each gateway's log; whether there is more. Raises ``Unavailable`` of the database."""
        hook, more = self.hook, False
        self._places = rewound(self._places, gateways, hook.since, hook.rewinds)
        self._away = {name: until for name, until in self._away.items() if name in self._places}
        for gateway in gateways:
            now = self._means.clock()
            if self.stopping or self.is_waiting or self._away.get(gateway, now) > now:
                continue
            most = min(PAGE + len(self._done.get(gateway, ())), MOST_IN_PAGE)
            try:
                stretch = await self._means.feed.read(hook, gateway, self._places[gateway], most)
            except Unavailable as error:
                log.debug("webhook %s: %s", hook.hook_id, error)
                self._miss(gateway)
                continue
            self._away.pop(gateway, None)
            self._absences.pop(gateway, None)
            outcome = await self._deliver(gateway, stretch)
            if isinstance(outcome, End):
                return outcome
            more = more or outcome
        return more

    async def _deliver(self, gateway: str, stretch: Stretch) -> bool | End:
        """Whether there is more to read at once."""
        self._forget(gateway, stretch)
        attempts = _Attempts(self, gateway, Page(stretch.events, self._done.get(gateway, ()), self._held()))
        await attempts.run(carefully=self._state.failures > 0)
        page, place = attempts.page, self._places[gateway]
        position = stretch.looked if page.is_done else page.moved()
        moved = replace(place, position=position) if position is not None else place
        self._done[gateway] = frozenset() if page.is_done else page.left_done
        records = [*self._gap(gateway, stretch), *attempts.records]
        state, end = self._after(attempts)
        if moved != place or state != self._state or records:
            save = self._means.deliveries.save
            await asyncio.to_thread(save, self.hook.hook_id, {gateway: moved}, state, records)
        self._places[gateway], self._state = moved, state
        await self._publish(gateway, attempts.published)
        if end is not None:
            return end
        return not stretch.end and not self.is_waiting and (page.is_done or attempts.finished > 0)

    def _miss(self, gateway: str) -> None:
        absences = self._absences[gateway] = self._absences.get(gateway, 0) + 1
        self._away[gateway] = self._means.clock() + min(AWAY * 2 ** min(absences - 1, 10), LONGEST_AWAY)

    def _held(self) -> frozenset[str]:
        """The ids of events that failed and are not due yet."""
        now = self._means.clock()
        return frozenset(event_id for event_id, tried in self._tried.items() if tried.due_at > now)

    def _forget(self, gateway: str, stretch: Stretch) -> None:
        """What failed and is not there any more is not due any more."""
        there = {event.id for event in stretch.events}
        gone = [one for one, tried in self._tried.items() if tried.gateway == gateway and one not in there]
        for event_id in gone:
            del self._tried[event_id]

    def _gap(self, gateway: str, stretch: Stretch) -> list[Delivery]:
        if not stretch.gap:
            self._said_gap.discard(gateway)
            return []
        if gateway in self._said_gap:
            return []
        self._said_gap.add(gateway)
        error = "events were forgotten before they could be delivered"
        return [Delivery(self.hook.hook_id, gateway, None, "", "", "", "", self._means.clock(), "gap", error=error)]

    def _after(self, attempts: _Attempts) -> tuple[State, End | None]:
        """How it fares now, and whether that is the end."""
        if attempts.gone is not None:
            return self._state, End("gone", attempts.gone)
        if attempts.succeeded:
            return State(self.hook.changed_at), None
        now = self._means.clock()
        if not attempts.telling:
            return (self._state if self.is_waiting else replace(self._state, next_at=None)), None
        failures, since = self._state.failures + 1, self._state.failing_since or now
        next_at = now + pause(failures, self._means.chance(), attempts.asked) if attempts.failures else None
        state = State(self.hook.changed_at, failures, since, next_at)
        return state, End("failing", attempts.records[-1].error) if is_failing(failures, since, now) else None

    async def _publish(self, gateway: str, published: dict[tuple[int | None, str | None], list[Published]]) -> None:
        for (product_id, owner_id), events in published.items():
            try:
                await self._means.feed.publish(gateway, product_id, owner_id, events[:MOST_PUBLISHED])
            except FlotillaError as error:
                log.warning("what came of deliveries of webhook %s is not published: %s", self.hook.hook_id, error)

    async def attempt(self, gateway: str, event: Heard) -> tuple[Delivery, Verdict, list[Published], timedelta | None]:
        """Request once: what to keep of it, what it means, what to tell, and how long the receiver wants us to wait."""
        hook, now = self.hook, self._means.clock()
        tried = self._tried.get(event.id, Tried(gateway, 0, now, now))
        record = of_event(hook.hook_id, gateway, event, now, "delivered")
        record = replace(record, tries=tried.tries + 1)
        try:
            outgoing = write(hook.request, event)
        except Unwritable as reason:
            return (*self._refused(record, event, str(reason)), None)
        answer = await self._means.poster.post(outgoing, self._means.key_of(hook.hook_id))
        record = replace(record, status=answer.status, duration_ms=answer.duration_ms, answer=shown_answer(answer.body))
        found, error = verdict(answer.status), answer.error or f"HTTP status {answer.status}"
        match found:
            case "delivered":
                self._tried.pop(event.id, None)
                self._success_at = self._means.clock()
                return record, found, published_answer(hook.request, event, answer.body), None
            case "refused":
                return (*self._refused(record, event, error), None)
            case "gone":
                return replace(record, outcome="gone", error=error), found, [], None
        return (*self._failed(record, event, error, tried, answer.asked), answer.asked)

    def is_alone(self, event: Heard) -> bool:
        """Whether others got through since this event failed first."""
        tried = self._tried.get(event.id)
        return tried is not None and is_alone(tried.first_at, self._success_at)

    def _refused(self, record: Delivery, event: Heard, error: str) -> tuple[Delivery, Verdict, list[Published]]:
        self._tried.pop(event.id, None)
        said = published_error(self.hook.request, event, error)
        return replace(record, outcome="refused", error=error), "refused", said

    def _failed(
        self, record: Delivery, event: Heard, error: str, before: Tried, asked: timedelta | None
    ) -> tuple[Delivery, Verdict, list[Published]]:
        now, tries = self._means.clock(), before.tries + 1
        if is_lost(tries, before.first_at, now, self._success_at):
            record, _, said = self._refused(record, event, error)
            return replace(record, outcome="given_up"), "refused", said
        due_at = now + pause(tries, self._means.chance(), asked)
        self._tried[event.id] = Tried(before.gateway, tries, before.first_at, due_at)
        said = published_error(self.hook.request, event, error) if tries == 1 else []
        return replace(record, outcome="failed", error=error), "again", said


class _Attempts:
    """The requests of one round."""

    def __init__(self, courier: Courier, gateway: str, page: Page) -> None:
        self.page = page
        self.records: list[Delivery] = []
        self.published: dict[tuple[int | None, str | None], list[Published]] = {}
        self.succeeded = False
        self.telling = 0
        self.failures = 0
        self.finished = 0
        self.asked: timedelta | None = None
        self.gone: str | None = None
        self._courier = courier
        self._gateway = gateway

    async def run(self, *, carefully: bool) -> None:
        """``carefully``: one after the other until one gets through."""
        while carefully and not self.succeeded and await self._next():
            """Another device's may get through where one did not."""
        await asyncio.gather(*(self._go_on() for _ in range(AT_ONCE)))

    async def _go_on(self) -> None:
        while await self._next():
            """As long as there is something to try."""

    async def _next(self) -> bool:
        """Try the next one; False if there is none, or if enough has failed."""
        if self._courier.stopping or self.gone is not None or self.failures >= MOST_FAILURES:
            return False
        event = self.page.take()
        if event is None:
            return False
        record, found, said, asked = await self._courier.attempt(self._gateway, event)
        self.records.append(record)
        self.telling += found != "again" or not self._courier.is_alone(event)
        account_id = self._courier.hook.owner.account_id  # what is for one person is told to no team
        whose = (event.product_id if account_id is None else None, account_id)
        self.published.setdefault(whose, []).extend(said)
        if found == "gone":
            self.gone = record.error
        elif found == "again":
            self.failures += 1
            self.asked = asked if self.asked is None else max(self.asked, asked or self.asked)
        else:
            self.succeeded = self.succeeded or found == "delivered"
            self.page.finish(event)
            self.finished += 1
        return True
