"""Many organizations over a long time, with a clock that is an argument and a provider that is played: what billing
does, counted by month, and to the cent. Pure.

Whoever runs it chooses how far the clock goes at once (the grain), and in which order organizations that have something
to do are looked at. Neither may make a difference: the digest is one over all streams, event by event (CAL-4).
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush

import msgspec

from services.billing.simulated_lives import Chance, Habits, answer, life, org_id
from services.billing.standing import Event, Subscription, evolve
from services.billing.subscriptions import (
    Advance,
    Command,
    Policy,
    RecordDeclined,
    RecordPaid,
    RecordPostponed,
    RecordPrepared,
    decide,
    due_at,
)
from shared.errors import Refused
from shared.events import billing as b

Heard = Callable[[str, Command, list[Event]], None]
"""Told of each command that did something: the organization, the command, its events."""
_encode = msgspec.json.Encoder().encode


def _nobody(_: str, __: Command, ___: list[Event]) -> None:
    """Nobody is told."""


@dataclass(slots=True)
class Ledger:
    """The cents of one organization; ``balance`` is 0 as long as none is lost or made (the first property of the
    specification)."""

    charged: int = 0
    asked: int = 0

    def enter(self, before: Subscription, event: Event) -> None:
        """What the event adds."""
        match event:
            case b.PaymentSucceeded():
                self.charged += event.amount_cents
            case b.InvoiceIssued():
                self.asked += event.lines[0].cents
            case b.SeatAdded() | b.SeatRemoved() | b.PlanSwitched():
                self.asked += sum(line.cents for line in event.lines)
            case b.CreditGranted():
                self.asked += event.line.cents
            case b.InvoiceVoided():
                assert before.invoice is not None
                self.asked -= before.invoice.lines[0].cents + sum(line.cents for line in event.dropped)

    def balance(self, state: Subscription) -> int:
        """Charged, open and pending, less what was asked for."""
        still_open = 0 if state.invoice is None else state.invoice.total_cents
        return self.charged + still_open + state.pending_cents - self.asked


@dataclass(slots=True)
class Organization:
    """One of them: how it stands, and what it is going to ask for, the next last."""

    wishes: list[Command]
    state: Subscription = field(default_factory=Subscription)
    ledger: Ledger = field(default_factory=Ledger)
    digest: bytes = b""

    def next_at(self) -> datetime | None:
        """When there is something to do."""
        wish = self.wishes[-1].at if self.wishes else None
        due = due_at(self.state)
        return min((at for at in (wish, due) if at is not None), default=None)


@dataclass(slots=True)
class Simulation:
    """``counts``: events by month (``2026-03``) and type, and ``cents`` charged."""

    policy: Policy
    habits: Habits
    chance: Chance
    begins_at: datetime
    days: int
    organizations: list[Organization]
    heard: Heard = _nobody
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def of(
        cls,
        number: int,
        days: int,
        seed: int,
        begins_at: datetime,
        *,
        policy: Policy = Policy(),  # noqa: B008 - immutable
        habits: Habits = Habits(),  # noqa: B008
        heard: Heard = _nobody,
    ) -> Simulation:
        """So many organizations, the same for the same seed."""
        chance = Chance(seed)
        lives = (life(habits, chance, n, begins_at, days)[::-1] for n in range(1, number + 1))
        return cls(policy, habits, chance, begins_at, days, [Organization(wishes) for wishes in lives], heard)

    def run(self, grain: timedelta, order: int = 0) -> None:
        """To the end of the days. ``order``: another number, another order of those who are looked at together."""
        now, end = self.begins_at, self.begins_at + timedelta(days=self.days)
        heap = [(at, n) for n, one in enumerate(self.organizations) if (at := one.next_at()) is not None]
        heapify(heap)
        while now < end:
            now = min(end, now + grain)
            due = []
            while heap and heap[0][0] <= now:
                due.append(heappop(heap)[1])
            for n in sorted(due, key=lambda n: zlib.crc32(b"%d/%d" % (order, n))):
                self._until(self.organizations[n], org_id(n + 1), now)
                at = self.organizations[n].next_at()
                if at is not None:
                    heappush(heap, (at, n))

    def _until(self, one: Organization, org: str, now: datetime) -> None:
        while one.wishes and one.wishes[-1].at <= now:
            wish = one.wishes.pop()
            self._pass(one, org, wish.at)
            self._run(one, org, wish)
        self._pass(one, org, now)

    def _pass(self, one: Organization, org: str, now: datetime) -> None:
        """Time passes, and the provider answers when it is asked."""
        while (at := due_at(one.state)) is not None and at <= now:
            charge = one.state.charge
            if charge is not None and charge.try_at == at:
                self._answer(one, org, at)
            else:
                self._run(one, org, Advance(at))

    def _answer(self, one: Organization, org: str, at: datetime) -> None:
        charge, invoice = one.state.charge, one.state.invoice
        assert charge is not None
        assert invoice is not None
        number, attempt = invoice.number, charge.attempt
        said = answer(self.habits, self.chance, org, number, attempt, charge.tries)
        if said == "unreachable":
            self._run(one, org, RecordPostponed(number, attempt, "unreachable", at))
            return
        ref = f"pi_{org}_{number}_{attempt}"
        self._run(one, org, RecordPrepared(number, attempt, ref, at))
        if said == "paid":
            self._run(one, org, RecordPaid(number, attempt, ref, at))
        else:
            code = "stolen_card" if said == "final" else "card_declined"
            self._run(one, org, RecordDeclined(number, attempt, ref, code, at, final=said == "final"))

    def _run(self, one: Organization, org: str, command: Command) -> None:
        try:
            events = decide(self.policy, one.state, command)
        except Refused:  # somebody asks for what cannot be, as people do
            self.counts[f"{command.at:%Y-%m}", "refused"] += 1
            return
        for event in events:
            one.ledger.enter(one.state, event)
            one.state = evolve(one.state, event)
            one.digest = hashlib.blake2b(one.digest + type(event).__name__.encode() + _encode(event)).digest()
            self._count(event)
        if events:
            self.heard(org, command, events)

    def _count(self, event: Event) -> None:
        at = event.ends_at if isinstance(event, b.TrialStarted) else event.at
        month = f"{at:%Y-%m}"
        self.counts[month, type(event).__name__] += 1
        if isinstance(event, b.PaymentSucceeded):
            self.counts[month, "cents"] += event.amount_cents

    def total(self, what: str) -> int:
        """Over all months."""
        return sum(number for (_, kind), number in self.counts.items() if kind == what)

    def unbalanced(self) -> int:
        """Organizations whose cents do not add up."""
        return sum(one.ledger.balance(one.state) != 0 for one in self.organizations)

    def digest(self) -> str:
        """Of all streams."""
        return hashlib.blake2b(b"".join(one.digest for one in self.organizations), digest_size=16).hexdigest()
