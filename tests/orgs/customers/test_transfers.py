"""What owners are asked for, and that devices move by the word of whoever owns them alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.devices import device as devices
from services.devices.device import ChangeMember, ClaimDevice, Device, HandOver, ImportDevice, RemoveDevice
from services.orgs.customers.transfers import (
    LIFE,
    MAILED_AGAIN_AFTER,
    MOST_OF_DEVICE,
    MOST_OF_OWNER,
    AcceptTransfer,
    AskTransfer,
    Command,
    DeclineTransfer,
    Transfers,
    Wish,
    decide,
    evolve,
)
from shared.errors import FlotillaError, Refused
from shared.events.transfers import TransferAccepted, TransferAsked, TransferDeclined

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ADA, BOB, CUSTOMER = "a" * 24, "b" * 24, "c" * 24
P, ONE = 1000, "0" * 24
WISH = Wish(ONE, P, ADA, 1, BOB, device_name="desk")
ID, OTHER_ID, NONCE, OTHER_NONCE = ("1" * 24, "2" * 24, "d" * 24, "e" * 24)


def ask(wish: Wish = WISH, at: datetime = NOW, transfer_id: str = ID, nonce: str = NONCE) -> AskTransfer:
    return AskTransfer(wish, transfer_id, nonce, at)


def after(*commands: Command) -> Transfers:
    state = Transfers()
    for command in commands:
        for event in decide(state, command):
            state = evolve(state, event)
    return state


def code(state: Transfers, command: Command) -> str:
    with pytest.raises(Refused) as refusal:
        decide(state, command)
    return refusal.value.code


def test_an_owner_is_asked_for_a_week() -> None:
    (asked,) = decide(Transfers(), ask())
    assert isinstance(asked, TransferAsked)
    assert (asked.transfer_id, asked.owner_id, asked.claimant_id, asked.claim) == (ID, ADA, BOB, 1)
    assert (asked.device_name, asked.expires_at) == ("desk", NOW + LIFE)
    assert decide(after(ask()), AcceptTransfer(ID, NONCE, NOW + LIFE - timedelta(seconds=1)))
    assert code(after(ask()), AcceptTransfer(ID, NONCE, NOW + LIFE)) == "invalid_transfer_token"


def test_who_asks_again_is_told_the_same_and_the_owner_mailed_a_day_later_at_the_earliest() -> None:
    state = after(ask())
    soon = NOW + MAILED_AGAIN_AFTER - timedelta(seconds=1)
    assert decide(state, ask(at=soon, transfer_id=OTHER_ID, nonce=OTHER_NONCE)) == []
    (again,) = decide(state, ask(at=NOW + MAILED_AGAIN_AFTER, transfer_id=OTHER_ID, nonce=OTHER_NONCE))
    assert isinstance(again, TransferAsked)
    assert (again.transfer_id, again.nonce) == (ID, OTHER_NONCE)
    newer = evolve(state, again)
    assert code(newer, AcceptTransfer(ID, NONCE, again.asked_at)) == "invalid_transfer_token"
    assert decide(newer, AcceptTransfer(ID, OTHER_NONCE, again.asked_at))
    as_customer = replace(WISH, customer_id=CUSTOMER)
    assert decide(state, ask(as_customer, transfer_id=OTHER_ID))[0].transfer_id == OTHER_ID


@pytest.mark.parametrize("answer", [AcceptTransfer, DeclineTransfer])
def test_a_link_works_once(answer: Any) -> None:
    state = after(ask(), answer(ID, NONCE, NOW))
    for again in (AcceptTransfer, DeclineTransfer):
        assert code(state, again(ID, NONCE, NOW)) == "invalid_transfer_token"
    for wrong in (AcceptTransfer(OTHER_ID, NONCE, NOW), AcceptTransfer(ID, OTHER_NONCE, NOW)):
        assert code(after(ask()), wrong) == "invalid_transfer_token"


def test_what_others_ask_for_is_over_once_the_device_is_handed_over() -> None:
    others = ask(replace(WISH, claimant_id="f" * 24), transfer_id=OTHER_ID, nonce=OTHER_NONCE)
    (accepted,) = decide(after(ask(), others), AcceptTransfer(ID, NONCE, NOW))
    assert accepted == TransferAccepted(ID, ONE, P, ADA, 1, BOB, None, None)
    state = evolve(after(ask(), others), accepted)
    assert code(state, AcceptTransfer(OTHER_ID, OTHER_NONCE, NOW)) == "invalid_transfer_token"


def test_who_was_declined_waits_as_long_as_the_request_was_for() -> None:
    assert decide(after(ask()), DeclineTransfer(ID, NONCE, NOW)) == [TransferDeclined(ID, ONE, P, ADA, BOB, None)]
    state = after(ask(), DeclineTransfer(ID, NONCE, NOW))
    assert code(state, ask(at=NOW + LIFE - timedelta(seconds=1))) == "transfer_declined"
    assert decide(state, ask(at=NOW + LIFE, transfer_id=OTHER_ID))[0].transfer_id == OTHER_ID
    regained = replace(WISH, claim=2)  # the owner let it go and has it again
    assert decide(state, ask(regained, transfer_id=OTHER_ID))


def many(count: int, device: int | None = None) -> list[Command]:
    """Requests of different people, for one device or one each."""
    return [
        ask(
            replace(WISH, device_id=f"{index if device is None else device:024x}", claimant_id=f"{index + 1:024x}"),
            transfer_id=f"{index + 1:024x}",
        )
        for index in range(count)
    ]


def test_nobody_is_flooded_with_mail() -> None:
    full = after(*many(MOST_OF_DEVICE, device=0))
    assert code(full, ask()) == "too_many_transfers"
    assert decide(full, ask(replace(WISH, device_id="f" * 24)))
    assert decide(full, ask(at=NOW + LIFE))
    busy = after(*many(MOST_OF_OWNER))
    assert code(busy, ask(replace(WISH, device_id="f" * 24))) == "too_many_transfers"
    declined = after(*many(MOST_OF_DEVICE, device=0), DeclineTransfer(f"{1:024x}", NONCE, NOW))
    assert code(declined, ask()) == "too_many_transfers"


def test_what_has_lapsed_is_kept_no_longer() -> None:
    state = after(*many(MOST_OF_OWNER), ask(at=NOW + LIFE))
    assert list(state.requests) == [ID]


PEOPLE = st.sampled_from(["a" * 24, "b" * 24, "c" * 24])


class Handing(RuleBasedStateMachine):
    """One device and three people who claim it, let it go, ask each other for it, answer, and forget what they did;
    what was accepted is heard late, often, or in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.device = Device()
        self.asked: dict[str, Transfers] = {}
        self.links: list[tuple[str, str, str]] = []
        self.accepted: list[TransferAccepted] = []
        self.consents: dict[str, tuple[str | None, int]] = {}
        self.moved: list[str] = []
        self.change(ImportDevice(ONE, P))

    def change(self, command: devices.Command) -> list[devices.Event]:
        try:
            events = devices.decide(self.device, command)
        except FlotillaError:
            return []
        for event in events:
            self.device = devices.evolve(self.device, event)
        return events

    def ask(self, owner_id: str, command: Command) -> list[Any]:
        state = self.asked.get(owner_id, Transfers())
        try:
            events = decide(state, command)
        except Refused:
            return []
        for event in events:
            state = evolve(state, event)
        self.asked[owner_id] = state
        return list(events)

    @rule(hours=st.integers(1, 60))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule(who=PEOPLE)
    def is_claimed(self, who: str) -> None:
        self.change(ClaimDevice(ONE, who))

    @precondition(lambda self: self.device.owner_id is not None)
    @rule(comes_back=st.booleans())
    def is_let_go(self, comes_back: bool) -> None:
        owner_id = self.device.owner_id
        self.change(ChangeMember(ONE, P, (devices.UnclaimDevice(),)))
        if comes_back and owner_id is not None:
            self.change(ClaimDevice(ONE, owner_id))

    @rule(approved=st.sampled_from([True, True, False]))
    def is_judged(self, approved: bool) -> None:
        steps = (devices.DenyDevice(), devices.ForgiveDevice(), *([devices.ApproveDevice()] if approved else []))
        self.change(ChangeMember(ONE, P, steps))

    @rule()
    def leaves_and_comes_back(self) -> None:
        owner_id = self.device.owner_id
        self.change(ChangeMember(ONE, P, (RemoveDevice(),)))
        self.change(ImportDevice(ONE, P))
        if owner_id is not None:
            self.change(ClaimDevice(ONE, owner_id))

    @rule(owner_id=PEOPLE, who=PEOPLE)
    def is_asked_for(self, owner_id: str, who: str) -> None:
        self.change(ClaimDevice(ONE, owner_id))  # if it is nobody's
        owner_id = self.device.owner_id or who
        if owner_id == who:
            return
        number = f"{len(self.links) + 1:024x}"
        wish = Wish(ONE, P, owner_id, self.device.claims, who)
        for event in self.ask(owner_id, AskTransfer(wish, number, number, self.now)):
            self.links.append((owner_id, event.transfer_id, event.nonce))

    @precondition(lambda self: self.links)
    @rule(which=st.integers(0, 3), accepts=st.booleans())
    def a_link_is_followed(self, which: int, accepts: bool) -> None:
        owner_id, transfer_id, nonce = self.links[-1 - which % len(self.links)]
        command = (AcceptTransfer if accepts else DeclineTransfer)(transfer_id, nonce, self.now)
        for event in self.ask(owner_id, command):
            if isinstance(event, TransferAccepted):
                assert event.transfer_id not in self.consents
                self.accepted.append(event)
                self.consents[event.transfer_id] = (self.device.owner_id, self.device.claims)

    @precondition(lambda self: self.accepted)
    @rule(which=st.integers(0, 3))
    def an_acceptance_is_heard(self, which: int) -> None:
        event = self.accepted[-1 - which % len(self.accepted)]
        before = self.device
        handed = (ONE, event.product_id, event.owner_id, event.claim, event.claimant_id, event.invitee_id)
        if self.change(HandOver(*handed)):
            assert (before.owner_id, before.claims) == self.consents[event.transfer_id]
            assert before.owner_id == event.owner_id
            assert self.device.owner_id == event.claimant_id
            self.moved.append(event.transfer_id)

    @invariant()
    def moves_once_by_one_word(self) -> None:
        assert len(self.moved) == len(set(self.moved))

    @invariant()
    def little_is_kept(self) -> None:
        assert all(len(state.requests) <= MOST_OF_OWNER for state in self.asked.values())


TestHanding = Handing.TestCase
TestHanding.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
