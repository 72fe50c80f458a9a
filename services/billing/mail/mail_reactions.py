"""The reactions that have teams told of their subscription by mail; they only queue, the postman delivers."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler

from services.billing.edge import Edge
from shared.bus.given import Given
from shared.bus.messages import to_recorded
from shared.bus.reactions import reaction


class MailReactions(Edge):
    """One handler an event of ``mails.TOLD``, as nameko wants it."""

    postman = Given()

    @reaction("mail")
    @event_handler("billing", "SubscriptionStarted")
    def mail_start(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "TrialEndingSoon")
    def mail_end_of_trial(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "RenewalUpcoming")
    def mail_renewal(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "PaymentSucceeded")
    def mail_receipt(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "InvoiceSettledWithoutCharge")
    def mail_settled_invoice(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "PaymentFailed")
    def mail_failure(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "AccountLocked")
    def mail_lock(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "SubscriptionCancelled")
    def mail_cancellation(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "CancellationWithdrawn")
    def mail_withdrawal(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "SubscriptionEnded")
    def mail_end(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "SubscriptionReactivated")
    def mail_reactivation(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "PlanSwitched")
    def mail_plan(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "CardReplaced")
    def mail_new_card(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("billing", "CardExpiringSoon")
    def mail_expiring_card(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @event_handler("orgs", "AccountForgotten")
    def forget_mail(self, message: Mapping[str, Any]) -> None:
        """What is kept of mail to them is removed (EVT-5)."""
        self.postman.forget(self.streams.event(message).account_id)
