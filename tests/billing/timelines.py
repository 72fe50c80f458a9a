"""A subscription over time, with a provider that is played: what the examples of the specification describe."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.billing.cycle import in_seconds
from services.billing.mails import mail_of
from services.billing.operating import GrantCredit, RecordRefunded, RequestRefund, RetryCharge, VoidInvoice
from services.billing.standing import Event, Subscription, evolve
from services.billing.subscriptions import (
    AUTHENTICATION,
    AddSeat,
    Advance,
    Authenticate,
    Cancel,
    Command,
    Policy,
    Reactivate,
    RecordDeclined,
    RecordPaid,
    RecordPostponed,
    RecordPrepared,
    RemoveSeat,
    ReplaceCard,
    StartSubscription,
    SwitchPlan,
    decide,
)
from shared.errors import Refused
from shared.events import billing as b

ORG = "0" * 24
REMINDERS = ("trial_ending", "renewal_upcoming", "card_expiring")


def member(number: int) -> str:
    return f"{number:024x}"


def card(kind: str, number: int = 1) -> b.Card:
    """A card that behaves as its name says."""
    return b.Card(f"pm_{kind}_{number}", "visa", "4242", 12, 2099, kind)


def declined(kind: str) -> tuple[str, bool]:
    """Code of a card that is refused, and whether for good."""
    return {
        "declines": ("card_declined", False),
        "stolen": ("stolen_card", True),
        "needs_authentication": (AUTHENTICATION, False),
    }[kind]


@dataclass
class Timeline:
    """``outages``: when the provider cannot be reached; ``every``: every event with the state before it."""

    policy: Policy = field(default_factory=Policy)
    state: Subscription = field(default_factory=Subscription)
    every: list[tuple[Subscription, Event]] = field(default_factory=list)
    outages: list[tuple[datetime, datetime]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    cards: int = 0
    people: int = 1

    def run(self, command: Command) -> None:
        for event in decide(self.policy, self.state, command):
            self.every.append((self.state, event))
            self.state = evolve(self.state, event)

    def until(self, now: datetime) -> None:
        """Time passes, and the provider answers."""
        if self.state.standing == "none":
            return
        self.run(Advance(now))
        while (charge := self.state.charge) is not None and charge.try_at <= now:
            self.answer()
            self.run(Advance(now))
        self.give_back(now)

    def give_back(self, now: datetime) -> None:
        """The provider does as an operator asked."""
        while self.state.refunds:
            refund = self.state.refunds[0].refund
            self.run(RecordRefunded(refund, f"re_{refund}", now))

    def answer(self) -> None:
        """The provider's, to the attempt in flight, at the time when it was to be tried."""
        charge, invoice = self.state.charge, self.state.invoice
        assert charge is not None
        assert invoice is not None
        at = charge.try_at
        if any(first <= at < last for first, last in self.outages):
            self.run(RecordPostponed(invoice.number, charge.attempt, "unreachable", at))
            return
        ref = f"pi_{invoice.number}_{charge.attempt}"
        self.run(RecordPrepared(invoice.number, charge.attempt, ref, at))
        kind = self._kind()
        if kind == "ok":
            self.run(RecordPaid(invoice.number, charge.attempt, ref, at))
        else:
            code, final = declined(kind)
            self.run(RecordDeclined(invoice.number, charge.attempt, ref, code, at, final=final))

    def _kind(self) -> str:
        charge = self.state.charge
        assert charge is not None
        kind = (charge.card or self.state.card or card("ok")).fingerprint
        asked = next(event for _, event in reversed(self.every) if isinstance(event, b.ChargeRequested))
        return "ok" if kind == "needs_authentication" and asked.present else kind

    def do(self, step: dict[str, Any]) -> None:
        """A step of an example."""
        at = in_seconds(datetime.fromisoformat(step["at"]))
        if step["do"] == "outage":
            self.outages.append((at, datetime.fromisoformat(step["until"])))
            return
        self.until(at)
        before = len(self.every)
        for _ in range(step.get("n", 1)):
            try:
                self.run(self._command(step, at))
            except Refused as refused:
                self.refusals.append({"at": at, "do": step["do"], "code": refused.code})
        self.until(at)
        failed = [event for _, event in self.every[before:] if isinstance(event, b.PaymentFailed)]
        if step["do"] == "reactivate" and failed:
            self.refusals.append({"at": at, "do": "reactivate", "code": "card_declined"})

    def _command(self, step: dict[str, Any], at: datetime) -> Command:
        match step["do"]:
            case "start":
                plan = step.get("plan", "monthly")
                return StartSubscription(ORG, plan, member(1), "cus_1", self._card(step.get("card", "ok")), at)
            case "add_member":
                self.people += 1
                return AddSeat(member(self.people), at)
            case "remove_member":
                return RemoveSeat(max(self.state.members), at)
            case "switch_plan":
                return SwitchPlan(step["plan"], at)
            case "cancel":
                return Cancel(at)
            case "reactivate":
                return Reactivate(at, self._card(step["card"]) if "card" in step else None)
            case "replace_card":
                return ReplaceCard(self._card(step["card"]), at)
            case "authenticate":
                return Authenticate(at)
            case "retry":
                return RetryCharge(at)
            case "void":
                return VoidInvoice(step.get("invoice", self.state.number or 1), at)
            case "credit":
                return GrantCredit(step["cents"], at)
            case "refund":
                return RequestRefund(step["invoice"], step.get("cents"), at)
        raise AssertionError(step)

    def _card(self, kind: str) -> b.Card:
        self.cards += 1
        return card(kind, self.cards)

    def told(self) -> dict[str, Any]:
        """In the shape of the examples' ``expect``."""
        state = self.state
        return {
            "charges": self._charges(),
            "invoices": self._invoices(),
            "states": self._states(),
            "emails": [
                {"at": event.at, "template": template}
                for before, event in self.every
                if not isinstance(event, b.TrialStarted)
                and (template := mail_of(before, event)) is not None
                and template not in REMINDERS
            ],
            "refusals": self.refusals,
            "final": {
                "state": state.standing,
                "reason": state.reason,
                "plan": state.plan,
                "seats": state.seats,
                "pending_cents": state.pending_cents,
                "cancel_at": state.cancel_at,
                "next_payment_at": state.next_payment_at,
            },
        }

    def _charges(self) -> list[dict[str, Any]]:
        charges = []
        for before, event in self.every:
            if not isinstance(event, b.PaymentSucceeded | b.PaymentFailed):
                continue
            assert before.charge is not None
            assert before.invoice is not None
            charge: dict[str, Any] = {
                "at": event.at,
                "cents": before.invoice.total_cents,
                "invoice": event.number,
                "attempt": event.attempt,
                "by": before.charge.by,
                "submitted": True,
                "result": "succeeded",
            }
            if isinstance(event, b.PaymentFailed):
                charge |= {"submitted": event.submitted, "result": "failed", "code": event.code}
            charges.append(charge)
        return charges

    def _invoices(self) -> list[dict[str, Any]]:
        invoices: dict[int, dict[str, Any]] = {}
        for _, event in self.every:
            match event:
                case b.InvoiceIssued():
                    invoices[event.number] = {
                        "number": event.number,
                        "reason": event.reason,
                        "issued_at": event.at,
                        "period": [event.starts_at, event.ends_at],
                        "lines": [{"kind": line.kind, "cents": line.cents} for line in event.lines],
                        "total_cents": event.total_cents,
                        "status": "open",
                    }
                case b.PaymentSucceeded():
                    invoices[event.number]["status"] = "paid"
                case b.InvoiceSettledWithoutCharge():
                    invoices[event.number]["status"] = "settled_without_charge"
                case b.InvoiceVoided():
                    invoices[event.number]["status"] = "void"
        return list(invoices.values())

    def _states(self) -> list[dict[str, Any]]:
        states: list[dict[str, Any]] = []
        state = Subscription()
        for _, event in self.every:
            after = evolve(state, event)
            if (after.standing, after.reason) != (state.standing, state.reason):
                told: dict[str, Any] = {"at": after.at, "state": after.standing, "dashboard": after.is_open}
                states.append(told | ({} if after.reason is None else {"reason": after.reason}))
            state = after
        return states


def instants(value: Any) -> Any:
    """The same with its texts that are times as times."""
    if isinstance(value, dict):
        return {name: instants(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [instants(inner) for inner in value]
    if isinstance(value, str) and value[:4].isdigit() and value.endswith("Z"):
        return datetime.fromisoformat(value).astimezone(UTC)
    return value
