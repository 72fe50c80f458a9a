"""Inviting people to a private beta, and judging the codes that they state (PRD-4)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.orgs import requests
from services.orgs.customers import beta, guesses
from services.orgs.customers.beta import (
    ALPHABET,
    BETA,
    CODE_LENGTH,
    WRONG,
    Beta,
    ForgetInvitee,
    Invite,
    UseCode,
    is_good,
)
from services.orgs.customers.customer_lookup import customer
from services.orgs.customers.guesses import GUESSES, Guess
from services.orgs.names import comparable
from services.orgs.people import accounts
from services.orgs.people.accounts import ACCOUNTS
from shared.context import Context
from shared.errors import Refused
from shared.store.port import Position
from shared.streams import Streams

DIGESTS = "invitees"
"""Under which the key table keeps the secret of the invitees' ids."""
MOST_ADDRESSES = 10_000
"""So many a call."""
DRAWN = 4
"""So many random codes are drawn for each that is needed."""


@dataclass(frozen=True, slots=True)
class BetaCodes:
    """One command about a private beta."""

    streams: Streams
    context: Context
    now: datetime

    def invite(
        self, product_id: int, emails: Iterable[object]
    ) -> tuple[list[str], list[dict[str, Any]], Position | None]:
        """The ids of the invitees in order, and what was no address, with its line. An address that was invited before
        keeps its code."""
        people, problems, order = {}, [], []
        for line, given in enumerate(emails, 1):
            if line > MOST_ADDRESSES:
                raise Refused("too_large", f"At most {MOST_ADDRESSES} addresses are invited by one call.")
            if isinstance(given, str) and not given.strip():
                continue
            try:
                email = requests.email(given)
            except Refused as refusal:
                problems.append({"line": line, "text": str(given)[:256], "reason": refusal.reason})
                continue
            invitee_id = self.invitee(product_id, email)
            people[invitee_id] = email
            order.append(invitee_id)
        draws = tuple("".join(map(secrets.choice, [ALPHABET] * CODE_LENGTH)) for _ in range(DRAWN * len(people) + 64))
        command = Invite(product_id, people, draws)
        handled = self.streams.handle(BETA, beta.stream_of(product_id), command, self.context)
        return list(dict.fromkeys(order)), problems, handled.position

    def check(self, product_id: int, owner_id: str, code: object) -> str:
        """The invitee whose unused code this is, being the customer or account that states it. Refuses with
        ``invalid_activation_code``, and with ``too_many_requests`` after ten wrong ones in an hour."""
        guess = Guess(product_id, owner_id, False, self.now)
        self.streams.handle(GUESSES, guesses.stream_of(owner_id), guess, self.context)
        email = self._address(owner_id)
        invitee_id = self.invitee(product_id, email) if email else ""
        if is_good(self._beta(product_id), invitee_id, code):
            return invitee_id
        # Every wrong guess counts, also one that is made again.
        wrong, step = Guess(product_id, owner_id, True, self.now), self.context.step(secrets.token_hex(8))
        self.streams.handle(GUESSES, guesses.stream_of(owner_id), wrong, step)
        raise Refused("invalid_activation_code", WRONG)

    def is_open(self, product_id: int, invitee_id: str | None, device_id: str) -> bool:
        """Whether this invitee's code is good for this device: unused, or used for it."""
        state = self._beta(product_id)
        return (
            invitee_id is not None and invitee_id in state.codes and state.used.get(invitee_id, device_id) == device_id
        )

    def use(self, product_id: int, invitee_id: str, owner_id: str, device_id: str) -> None:
        """A device was claimed with it."""
        command = UseCode(product_id, invitee_id, owner_id, device_id)
        self.streams.handle(BETA, beta.stream_of(product_id), command, self.context)

    def forget(self, product_id: int, email: str) -> None:
        """Let this person's code work no more, and destroy what their address is read with."""
        invitee_id = self.invitee(product_id, email)
        command = ForgetInvitee(product_id, invitee_id)
        if self.streams.handle(BETA, beta.stream_of(product_id), command, self.context).events:
            self.streams.contracts.keys.destroy(invitee_id)

    def invitee(self, product_id: int, email: str) -> str:
        """The id of whoever has this address, at this product."""
        plain = f"{product_id}/{comparable(email)}".encode("utf-8", "replace")
        return hmac.new(self.streams.contracts.keys.secret(DIGESTS), plain, "sha256").hexdigest()[:24]

    def _beta(self, product_id: int) -> Beta:
        return self.streams.load(BETA, beta.stream_of(product_id)).state

    def _address(self, owner_id: str) -> str:
        one = customer(self.streams, owner_id)
        if one.lives:
            return one.email
        account = self.streams.load(ACCOUNTS, accounts.stream_of(owner_id)).state
        return account.email if account.lives else ""
