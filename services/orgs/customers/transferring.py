"""Commands about transfers: asking an owner for a device, and what the mailed link does (contract 8, CUS-5).

Whether the device is the owner's still, the ``devices`` service says, before the owner agrees and again when it moves
the device; who may have it is asked then, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.orgs.customers import claimants, transfers
from services.orgs.customers import transfer_people as people
from services.orgs.customers.beta_codes import BetaCodes
from services.orgs.customers.transfer_people import Asker, Owner
from services.orgs.customers.transfers import (
    TRANSFERS,
    AcceptTransfer,
    AskTransfer,
    DeclineTransfer,
    Request,
    Wish,
    link_over,
    request_of,
)
from services.orgs.people.mail_links import is_link, subject_of
from shared.context import Context
from shared.errors import Refused
from shared.ids import record_id
from shared.store.port import Position
from shared.streams import Streams

Holding = Callable[[str], Mapping[str, Any]]
"""Tells of a device by its id: ``product_id``, ``owner_id`` and ``claim``, as they are now."""


@dataclass(frozen=True, slots=True)
class Transferring:
    """One command; asking and answering may be repeated."""

    streams: Streams
    context: Context
    now: datetime

    def ask(self, wish: Wish) -> tuple[str, Position | None]:
        """The id of the request, which the owner is mailed. Refuses with ``transfer_declined`` and
        ``too_many_transfers``."""
        stream = transfers.stream_of(wish.owner_id)
        made, nonce = (record_id(self.context.command_id, kind) for kind in ("transfer", "transfer link"))
        handled = self.streams.handle(TRANSFERS, stream, AskTransfer(wish, made, nonce, self.now), self.context)
        standing = request_of(handled.state, wish, self.now)
        return (made if standing is None else standing[0]), handled.position

    def shown(self, token: str, holding: Holding) -> tuple[Wish, Owner, Asker]:
        """What the link is about. Refuses with ``invalid_transfer_token`` and ``claimant_gone``."""
        wish = self._opened(token)[1].wish
        return (wish, *self._must_be_possible(wish, holding))

    def answer(self, token: str, holding: Holding, *, accept: bool) -> Position | None:
        """The owner's answer. Refuses with ``invalid_transfer_token``, accepting also with ``claimant_gone``."""
        stream = transfers.stream_of(subject_of(token) or "")
        if (before := self.streams.repeated(TRANSFERS, stream, self.context)) is not None:
            return before.position
        transfer_id, request = self._opened(token)
        command: AcceptTransfer | DeclineTransfer = DeclineTransfer(transfer_id, request.link.nonce, self.now)
        if accept:
            self._must_be_possible(request.wish, holding)
            command = AcceptTransfer(transfer_id, request.link.nonce, self.now)
        return self.streams.handle(TRANSFERS, stream, command, self.context).position

    def _opened(self, token: str) -> tuple[str, Request]:
        owner_id = subject_of(token) or ""
        state = self.streams.load(TRANSFERS, transfers.stream_of(owner_id)).state
        for transfer_id, request in state.requests.items():
            if is_link(self.streams, token, "transfer", owner_id, request.link):
                if not request.is_open(self.now):
                    break
                return transfer_id, request
        raise link_over()

    def _must_be_possible(self, wish: Wish, holding: Holding) -> tuple[Owner, Asker]:
        held, owner = holding(wish.device_id), people.owner(self.streams, wish.owner_id)
        asker = people.asker(self.streams, wish.claimant_id, wish.customer_id)
        is_theirs = (held["product_id"], held["owner_id"], held["claim"]) == (
            wish.product_id,
            wish.owner_id,
            wish.claim,
        )
        if owner is None or not is_theirs:
            raise link_over()
        codes = BetaCodes(self.streams, self.context, self.now)
        is_invited = codes.is_open(wish.product_id, wish.invitee_id, wish.device_id)
        claimant = (wish.claimant_id, wish.customer_id, wish.product_id)
        try:
            claimants.check_claim(self.streams, *claimant, is_invited=is_invited)
        except Refused as refusal:
            raise nobody_to_give_it_to() from refusal
        if asker is None:
            raise nobody_to_give_it_to()
        return owner, asker


def nobody_to_give_it_to() -> Refused:
    """The claimant is gone, or may have no such device any more; which of the two is not the owner's business."""
    return Refused("claimant_gone", "Whoever asked for the device cannot have it any more.")
