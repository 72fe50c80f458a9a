"""A provider in memory that keeps the promises which charging relies on: a key names one payment, an intent moves money
once, what became of it can be asked for. Any call may be lost before or after it took effect, refused, or repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from services.billing.provider import (
    Declined,
    Open,
    Outcome,
    Payment,
    ProviderUnavailable,
    RequiresAction,
    Returned,
    Seen,
    Succeeded,
)
from shared.events.billing import Card
from tests.billing.timelines import declined

Fault = Literal["lost_before", "lost_after", "refused", "repeated"]


@dataclass
class Intent:
    payment: Payment
    kind: str
    status: Outcome = Open("not_submitted")
    moved: int = 0


@dataclass
class PlayedProvider:
    """``faults``: what happens to a call, by its number from 0."""

    faults: dict[int, Fault] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    returned: dict[str, Returned] = field(default_factory=dict)
    refund_keys: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    cards: dict[str, tuple[str, Card]] = field(default_factory=dict)
    returns: list[Returned] = field(default_factory=list)

    def prepare(self, payment: Payment) -> str:
        fault = self._fault()
        self._may_fail(fault, ("lost_before", "refused"))
        for _ in range(2 if fault == "repeated" else 1):
            ref = self.keys.setdefault(payment.key, f"pi_{len(self.keys)}")
            self.intents.setdefault(ref, Intent(payment, payment.card_ref.split("_", 1)[1].rsplit("_", 1)[0]))
        self._may_fail(fault, ("lost_after",))
        return ref

    def execute(self, provider_ref: str, payment: Payment) -> Outcome:
        fault = self._fault()
        if fault in ("lost_before", "refused"):
            return Open("unknown")
        for _ in range(2 if fault == "repeated" else 1):
            intent = self.intents[provider_ref]
            if intent.status == Open("not_submitted"):
                self._move(intent, present=False)
        return Open("unknown") if fault == "lost_after" else intent.status

    def inspect(self, provider_ref: str) -> Outcome:
        self._may_fail(self._fault(), ("lost_before", "lost_after", "refused"))
        return self.intents[provider_ref].status

    def abandon(self, provider_ref: str) -> Outcome:
        fault = self._fault()
        self._may_fail(fault, ("lost_before", "refused"))
        intent = self.intents[provider_ref]
        if not isinstance(intent.status, Succeeded):
            intent.status = Open("canceled")
        self._may_fail(fault, ("lost_after",))
        return intent.status

    def refund(self, provider_ref: str, amount_cents: int, key: str) -> str:
        fault = self._fault()
        self._may_fail(fault, ("lost_before", "refused"))
        for _ in range(2 if fault == "repeated" else 1):
            ref = self.refund_keys.setdefault(key, f"re_{len(self.returned)}")
            if ref not in self.returned:
                self.returned[ref] = Returned(
                    "refund", provider_ref, ref, self.org_of(provider_ref) or "", amount_cents
                )
        self._may_fail(fault, ("lost_after",))
        return ref

    def confirmed_by_member(self, provider_ref: str) -> None:
        """What a browser does with the client secret, once."""
        if self.intents[provider_ref].status == Open("not_submitted"):
            self._move(self.intents[provider_ref], present=True)

    def moved(self) -> list[tuple[int, int]]:
        """Invoice and cents of all money that moved."""
        return [(intent.payment.number, intent.moved) for intent in self.intents.values() if intent.moved]

    def org_of(self, provider_ref: str) -> str | None:
        intent = self.intents.get(provider_ref)
        return None if intent is None else intent.payment.org_id

    def card_of(self, card_ref: str) -> tuple[str, Card] | None:
        return self.cards.get(card_ref)

    def payments_since(self, since: datetime) -> list[Seen]:
        return [Seen(ref, intent.payment.org_id, intent.moved) for ref, intent in self.intents.items() if intent.moved]

    def returns_since(self, since: datetime) -> list[Returned]:
        return [*self.returns, *self.returned.values()]

    def _move(self, intent: Intent, *, present: bool) -> None:
        if intent.kind == "ok" or (present and intent.kind == "needs_authentication"):
            intent.moved += intent.payment.amount_cents
            intent.status = Succeeded(intent.payment.amount_cents)
        elif intent.kind == "needs_authentication":
            intent.status = RequiresAction("secret")
        else:
            code, final = declined(intent.kind)
            intent.status = Declined(code, final=final)

    def _fault(self) -> Fault | None:
        self.calls += 1
        return self.faults.get(self.calls - 1)

    def _may_fail(self, fault: Fault | None, when: tuple[Fault, ...]) -> None:
        if fault in when:
            raise ProviderUnavailable("unreachable")
