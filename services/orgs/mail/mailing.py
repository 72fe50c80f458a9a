"""Which events people are told of by mail, and what they are told (ACC-1, ORG-4, PRD-4, CUS-7).

Decided when the letter is written, from streams: whoever is gone by then, and whatever is over, is told of no more.
What customers get names the company alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from services.orgs.customers import beta, transfers
from services.orgs.customers import transfer_people as people
from services.orgs.customers.beta import BETA
from services.orgs.customers.customer_lookup import customer
from services.orgs.customers.customers import Customer
from services.orgs.customers.transfers import TRANSFERS
from services.orgs.people import accounts
from services.orgs.people.accounts import ACCOUNTS, Account
from services.orgs.people.mail_links import link_token
from services.orgs.products import products
from services.orgs.products.products import PRODUCTS, name_of
from services.orgs.teams import organizations
from services.orgs.teams.organizations import ORGANIZATIONS
from shared.events import customers as c
from shared.events import orgs as o
from shared.events import transfers as t
from shared.events.webhooks import WebhookDisabled
from shared.mail.letters import Letter
from shared.mail.postman import Several, Untold
from shared.store.port import Recorded
from shared.streams import Streams
from shared.times import day, minute

TOLD: tuple[type, ...] = (
    o.EmailVerificationAsked,
    o.PasswordResetAsked,
    o.PasswordChanged,
    o.EmailChanged,
    o.MemberInvited,
    o.MemberRemoved,
    c.CustomerCreated,
    c.CustomerResetAsked,
    c.CustomerPasswordChanged,
    c.BetaInvited,
    t.TransferAsked,
    t.TransferAccepted,
    t.TransferDeclined,
    WebhookDisabled,
)
"""The events that somebody is told of."""
BULK = (c.BetaInvited.__name__,)
"""Those that come by the thousand."""
MANAGERS = ("administrator", "owner")
"""Roles of those who are told what happens to an organization's things."""


@dataclass(frozen=True, slots=True)
class Mailing:
    """Writes to people; ``url`` is where links begin."""

    streams: Streams
    url: str

    def compose(self, recorded: Recorded, person: str | None = None) -> Letter | Several | Untold:
        """The letter for this event, or why there is none. Most events are told to one; who else is told of one by
        letters of their own, is asked for as ``person``."""
        event = self.streams.contracts.decode(recorded)
        if isinstance(event, WebhookDisabled):
            return self._webhook_disabled(event, recorded, person)
        write: Callable[[Any, Recorded], Letter | Untold] | None = self._writers().get(type(event))
        return "over" if write is None else write(event, recorded)

    def _writers(self) -> Mapping[type, Callable[[Any, Recorded], Letter | Untold]]:
        return {
            o.EmailVerificationAsked: self._verify,
            o.PasswordResetAsked: self._reset,
            o.PasswordChanged: self._password_changed,
            o.EmailChanged: self._address_changed,
            o.MemberInvited: self._invited,
            o.MemberRemoved: self._removed,
            c.CustomerCreated: self._welcome,
            c.CustomerResetAsked: self._customer_reset,
            c.CustomerPasswordChanged: self._customer_password_changed,
            c.BetaInvited: self._activation_code,
            t.TransferAsked: self._transfer,
            t.TransferAccepted: self._answered,
            t.TransferDeclined: self._answered,
        }

    def _verify(self, event: o.EmailVerificationAsked, _: Recorded) -> Letter | Untold:
        account = self._account(event.account_id)
        if account.verification is None or account.verification.nonce != event.nonce:
            return _untold(account)
        link = self._link("verify", token=link_token(self.streams, "verify", event.account_id, event.nonce))
        return self._to(account, "verify", {"link": link, "until": day(event.expires_at)}, "Confirm my address")

    def _reset(self, event: o.PasswordResetAsked, _: Recorded) -> Letter | Untold:
        account = self._account(event.account_id)
        if account.reset is None or account.reset.nonce != event.nonce:
            return _untold(account)
        link = self._link("reset", token=link_token(self.streams, "reset", event.account_id, event.nonce))
        return self._to(account, "reset", {"link": link, "until": minute(event.expires_at)}, "Choose a new password")

    def _password_changed(self, event: o.PasswordChanged, recorded: Recorded) -> Letter | Untold:
        fields = {"at": minute(recorded.at), "link": self._link("")}
        return self._to(self._account(event.account_id), "password_changed", fields, "Log in")

    def _address_changed(self, event: o.EmailChanged, recorded: Recorded) -> Letter | Untold:
        """To the address that it was, which may be all that its owner has left; the new one is not said."""
        before = self._account(event.account_id, until=recorded.version)
        if not self._account(event.account_id).lives:
            return "forgotten"
        return self._to(before, "address_changed", {"at": minute(recorded.at)})

    def _invited(self, event: o.MemberInvited, _: Recorded) -> Letter | Untold:
        team = self.streams.load(ORGANIZATIONS, organizations.stream_of(event.org_id)).state
        invited, inviter = self._account(event.account_id), self._account(event.invited_by)
        if event.invitation_id not in team.pending:
            return _untold(invited)
        fields = {
            "organization": team.name,
            "inviter": inviter.email if inviter.lives else team.name,
            "until": day(event.expires_at),
            "link": self._link(""),
        }
        named = (event.invited_by,) if inviter.lives else ()
        return self._to(invited, "invited", fields, "Log in", named)

    def _removed(self, event: o.MemberRemoved, recorded: Recorded) -> Letter | Untold:
        if event.reason != "removed":
            return "over"
        team = self.streams.load(ORGANIZATIONS, organizations.stream_of(event.org_id)).state
        fields = {"organization": team.name, "at": minute(recorded.at)}
        return self._to(self._account(event.account_id), "removed", fields)

    def _webhook_disabled(
        self, event: WebhookDisabled, recorded: Recorded, person: str | None
    ) -> Letter | Several | Untold:
        """Whoever asked for it knows. Else those are told who manage the organization, or whose own it is (LOG-3)."""
        if event.reason == "asked":
            return "over"
        managers, whose = self._managers(recorded.stream.removeprefix("webhooks-"))
        if person is None:
            return Several(managers) if managers else "forgotten"
        if person not in managers:
            return "over"
        fields = {
            "whose": whose,
            "webhook": event.hook_id,
            "at": minute(recorded.at),
            "gone": event.reason == "gone",
            "detail": event.detail,
        }
        return self._to(self._account(person), "webhook_disabled", fields)

    def _managers(self, owner: str) -> tuple[tuple[str, ...], str]:
        """Of ``product-<id>``, ``org-<id>`` or ``account-<id>``: accounts, and what that is called."""
        kind, _, name = owner.partition("-")
        if kind == "account":
            return (name,), "your account"
        product = self.streams.load(PRODUCTS, products.stream_of(int(name))).state if kind == "product" else None
        created = None if product is None else product.created
        org_id = name if created is None else created.org_id
        team = self.streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state
        found = tuple(sorted(one for one, role in team.members.items() if role in MANAGERS))
        return found, team.name if product is None else f"{team.name}, product {name_of(product)}"

    def _to(
        self,
        account: Account,
        template: str,
        fields: Mapping[str, Any],
        button: str = "Continue",
        named: tuple[str, ...] = (),
    ) -> Letter | Untold:
        if account.account_id is None or not account.lives:
            return "forgotten"
        return Letter(account.account_id, account.email, template, fields, None, button, named)

    def _welcome(self, event: c.CustomerCreated, _: Recorded) -> Letter | Untold:
        """Whoever signed up by themselves; others hear of it from the company (CUS-1)."""
        one, company = customer(self.streams, event.customer_id), self._company(event.product_id, event.org_id)
        if event.way != "simple" or not one.lives:
            return _untold(one)
        return Letter(event.customer_id, one.email, "customer_welcome", {"company": company}, company)

    def _customer_reset(self, event: c.CustomerResetAsked, _: Recorded) -> Letter | Untold:
        one = customer(self.streams, event.customer_id)
        if not one.lives or one.reset is None or one.reset.nonce != event.nonce or one.product_id is None:
            return _untold(one)
        company = self._company(one.product_id, one.org_id)
        token = link_token(self.streams, "customer-reset", event.customer_id, event.nonce)
        link = self._link("reset", token=token, product=str(one.product_id))
        fields = {"company": company, "link": link, "until": minute(event.expires_at)}
        return Letter(event.customer_id, one.email, "customer_reset", fields, company, "Choose a new password")

    def _customer_password_changed(self, event: c.CustomerPasswordChanged, recorded: Recorded) -> Letter | Untold:
        one = customer(self.streams, event.customer_id)
        if not one.lives:
            return "forgotten"
        company = self._company(one.product_id, one.org_id)
        fields = {"company": company, "at": minute(recorded.at)}
        return Letter(event.customer_id, one.email, "customer_password_changed", fields, company)

    def _activation_code(self, event: c.BetaInvited, _: Recorded) -> Letter | Untold:
        invited = self.streams.load(BETA, beta.stream_of(event.product_id)).state
        if event.invitee_id not in invited.codes:
            return "forgotten"
        if event.invitee_id in invited.used:
            return "over"
        company = self._company(event.product_id, "")
        fields = {"company": company, "code": event.code}
        return Letter(event.invitee_id, event.email, "activation_code", fields, company)

    def _transfer(self, event: t.TransferAsked, _: Recorded) -> Letter | Untold:
        owner = people.owner(self.streams, event.owner_id)
        asker = people.asker(self.streams, event.claimant_id, event.customer_id)
        if owner is None or asker is None:
            return "forgotten"
        requests = self.streams.load(TRANSFERS, transfers.stream_of(event.owner_id)).state.requests
        request = requests.get(event.transfer_id)
        if request is None or request.link.nonce != event.nonce or request.declined:
            return "over"
        fields = {
            "asker": asker.email,
            "proven": asker.proven,
            "device": f"{event.device_name} ({event.device_id})" if event.device_name else event.device_id,
            "link": self._link("transfer", token=link_token(self.streams, "transfer", event.owner_id, event.nonce)),
            "until": day(event.expires_at),
        }
        sender = self._sender(owner.customer)
        return Letter(event.owner_id, owner.email, "transfer", fields, sender, "Answer", asker.persons)

    def _answered(self, event: t.TransferAccepted | t.TransferDeclined, _: Recorded) -> Letter | Untold:
        """Whoever asked is told; not who the owner is."""
        asker = people.asker(self.streams, event.claimant_id, event.customer_id)
        if asker is None:
            return "forgotten"
        template = "transfer_accepted" if isinstance(event, t.TransferAccepted) else "transfer_declined"
        fields, sender = {"device": event.device_id}, self._sender(asker.customer)
        return Letter(event.claimant_id, asker.email, template, fields, sender)

    def _sender(self, one: Customer | None) -> str | None:
        """In whose name somebody is written to: a customer in the company's (CUS-7)."""
        return None if one is None else self._company(one.product_id, one.org_id)

    def _company(self, product_id: int | None, org_id: str) -> str:
        if product_id is not None:
            return name_of(self.streams.load(PRODUCTS, products.stream_of(product_id)).state)
        return self.streams.load(ORGANIZATIONS, organizations.stream_of(org_id)).state.name

    def _account(self, account_id: str, until: int | None = None) -> Account:
        """The account as it is, or as it was before the event of version ``until``."""
        return self.streams.load(ACCOUNTS, accounts.stream_of(account_id), until).state

    def _link(self, path: str, **query: str) -> str:
        return f"{self.url.rstrip('/')}/{path}" + (f"?{urlencode(query)}" if query else "")


def _untold(one: Account | Customer) -> Untold:
    """Why this event is told of no more."""
    return "over" if one.lives else "forgotten"
