"""The reactions that have people told of events by mail; they only queue, the postman delivers."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko.events import event_handler

from services.orgs.edge import Edge
from shared.bus.given import Given
from shared.bus.messages import to_recorded
from shared.bus.reactions import reaction


class MailReactions(Edge):
    """One handler an event of ``mailing.TOLD``, as nameko wants it."""

    postman = Given()

    @reaction("mail")
    @event_handler("orgs", "EmailVerificationAsked")
    def mail_verification(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "PasswordResetAsked")
    def mail_reset(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "PasswordChanged")
    def mail_new_password(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "EmailChanged")
    def mail_new_address(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "MemberInvited")
    def mail_invitation(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "MemberRemoved")
    def mail_removal(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "CustomerCreated")
    def mail_welcome(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "CustomerResetAsked")
    def mail_customer_reset(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "CustomerPasswordChanged")
    def mail_new_customer_password(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "BetaInvited")
    def mail_activation_code(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "TransferAsked")
    def mail_transfer(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "TransferAccepted")
    def mail_accepted_transfer(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("orgs", "TransferDeclined")
    def mail_declined_transfer(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @reaction("mail")
    @event_handler("hooks", "WebhookDisabled")
    def mail_disabled_webhook(self, message: Mapping[str, Any]) -> None:
        self.postman.post(to_recorded(message))

    @event_handler("orgs", "AccountForgotten")
    def forget_mail_of_account(self, message: Mapping[str, Any]) -> None:
        """What is kept of mail to them is removed (EVT-5)."""
        self.postman.forget(self.streams.event(message).account_id)

    @event_handler("orgs", "CustomerDeleted")
    def forget_mail_of_customer(self, message: Mapping[str, Any]) -> None:
        """The same for customers."""
        self.postman.forget(self.streams.event(message).customer_id)

    @event_handler("orgs", "InviteeForgotten")
    def forget_mail_of_invitee(self, message: Mapping[str, Any]) -> None:
        """The same for whoever was invited to a beta."""
        self.postman.forget(self.streams.event(message).invitee_id)
