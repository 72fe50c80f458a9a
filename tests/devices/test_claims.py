from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices import device as one
from services.devices.claims import (
    CODE_BYTES,
    LIFE_S,
    Claim,
    Claimant,
    Command,
    EndCode,
    Event,
    IssueCode,
    UseCode,
    code_digest,
    decide,
    evolve,
)
from services.devices.device import ClaimDevice, Device, ReleaseDevice
from services.devices.device import Command as DeviceCommand
from shared.errors import Refused
from shared.events.devices import ClaimCodeEnded, ClaimCodeIssued, ClaimCodeUsed

NOW = datetime(2030, 1, 1, tzinfo=UTC)
END = NOW + timedelta(seconds=LIFE_S)
CODE, ADA, BOB, DEVICE, P = "c" * 64, "a" * 24, "b" * 24, "d" * 24, 1000
MAKER = Claimant(ADA)
ISSUED, USED, ENDED = ClaimCodeIssued(CODE, ADA, END), ClaimCodeUsed(CODE, DEVICE), ClaimCodeEnded(CODE)


def after(*events: Event) -> Claim:
    state = Claim()
    for event in events:
        state = evolve(state, event)
    return state


def refusal(state: Claim, command: Command) -> str:
    with pytest.raises(Refused) as refused:
        decide(state, command)
    return refused.value.code


def test_a_code_is_its_makers_for_a_day() -> None:  # contract 11.2
    assert LIFE_S == 86_400
    assert decide(Claim(), IssueCode(CODE, MAKER, NOW)) == [ISSUED]


def test_a_code_works_once_and_until_it_lapses() -> None:  # CUS-5
    last = END - timedelta(microseconds=1)
    assert decide(after(ISSUED), UseCode(CODE, DEVICE, P, last)) == [USED]
    assert refusal(after(ISSUED), UseCode(CODE, DEVICE, P, END)) == "claim_code_over"
    assert refusal(after(ISSUED, USED), UseCode(CODE, DEVICE, P, NOW)) == "claim_code_over"


def test_a_code_that_nobody_made_is_none() -> None:
    assert refusal(Claim(), UseCode(CODE, DEVICE, P, NOW)) == "unknown_claim_code"


def test_a_code_that_somebody_chose_is_nobody_elses_while_it_is_good() -> None:
    assert refusal(after(ISSUED), IssueCode(CODE, Claimant(BOB), NOW)) == "code_taken"
    for state, now in ((after(ISSUED), END), (after(ISSUED, USED), NOW)):
        (issued,) = decide(state, IssueCode(CODE, Claimant(BOB), now))
        assert decide(evolve(state, issued), UseCode(CODE, DEVICE, P, now)) == [USED]


def test_a_code_is_known_by_the_63_characters_that_devices_show() -> None:  # protocol, claim code event
    assert code_digest("x" * 63 + "y") == code_digest("x" * 63) != code_digest("x" * 62)
    assert CODE_BYTES * 4 // 3 == 64


def test_a_customers_code_is_good_for_devices_of_one_product_alone() -> None:  # CUS-5
    maker = Claimant(ADA, "e" * 24, P, "f" * 24)
    (issued,) = decide(Claim(), IssueCode(CODE, maker, NOW))
    assert issued == ClaimCodeIssued(CODE, ADA, END, P, "f" * 24, "e" * 24)
    assert evolve(Claim(), issued).maker == maker
    for other in (P + 1, None):
        assert refusal(after(issued), UseCode(CODE, DEVICE, other, NOW)) == "other_product"
    assert decide(after(issued), UseCode(CODE, DEVICE, P, NOW)) == [USED]


def test_a_code_ends_with_its_maker() -> None:
    assert decide(after(ISSUED), EndCode(CODE)) == [ENDED]
    assert decide(Claim(), EndCode(CODE)) == decide(after(ISSUED, USED), EndCode(CODE)) == []
    assert refusal(after(ISSUED, ENDED), UseCode(CODE, DEVICE, P, NOW)) == "claim_code_over"


@dataclass
class Desk:
    """Codes and devices as their streams have them; what one step does to both is what ``Claiming`` does."""

    claims: dict[str, Claim] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)

    def issue(self, code: str, maker: Claimant, now: datetime) -> bool:
        return self._on_code(code, IssueCode(code, maker, now))

    def end(self, code: str) -> bool:
        return self._on_code(code, EndCode(code))

    def show(self, device_id: str, code: str, now: datetime) -> Claimant | None:
        """Whose the device is by it, if it becomes anybody's."""
        device, maker = self.devices[device_id], self.claims.get(code, Claim()).maker
        if maker is None or device.owner_id not in (None, maker.owner_id) or device.product_id is None:
            return None
        if not self._on_code(code, UseCode(code, device_id, device.product_id, now)):
            return None
        self.on_device(device_id, ClaimDevice(device_id, maker.owner_id, maker.invitee_id))
        return maker

    def on_device(self, device_id: str, command: DeviceCommand) -> None:
        for event in one.DEVICE.decide(self.devices[device_id], command):
            self.devices[device_id] = one.DEVICE.evolve(self.devices[device_id], event)

    def _on_code(self, code: str, command: Command) -> bool:
        state = self.claims.get(code, Claim())
        try:
            events = decide(state, command)
        except Refused:
            return False
        for event in events:
            state = evolve(state, event)
        self.claims[code] = state
        return bool(events)


MAKERS = [Claimant(ADA), Claimant(BOB), Claimant(BOB, "e" * 24, P), Claimant(ADA, "f" * 24, P + 1)]
CODES, DEVICES = ["1" * 64, "2" * 64], {"d" * 24: P, "c" * 24: P + 1}
STEPS = st.one_of(
    st.tuples(st.just("issue"), st.sampled_from(CODES), st.sampled_from(MAKERS)),
    st.tuples(st.just("show"), st.sampled_from(CODES), st.sampled_from(sorted(DEVICES))),
    st.tuples(st.just("end"), st.sampled_from(CODES), st.none()),
    st.tuples(st.just("release"), st.sampled_from([ADA, BOB]), st.sampled_from(sorted(DEVICES))),
    st.tuples(st.just("pass"), st.just(""), st.sampled_from([1, LIFE_S - 1, LIFE_S])),
)


@given(st.lists(STEPS, max_size=30))
def test_whatever_is_shown_a_code_gives_one_device_to_its_maker_and_no_device_changes_hands(steps: Any) -> None:
    desk, now, good = Desk(), NOW, dict[str, tuple[Claimant, datetime]]()
    for device_id, product_id in DEVICES.items():
        desk.devices[device_id] = Device(product_id=product_id)
    for kind, what, which in steps:
        owners = {device_id: device.owner_id for device_id, device in desk.devices.items()}
        match kind:
            case "issue":
                if desk.issue(what, which, now):
                    good[what] = (which, now + timedelta(seconds=LIFE_S))
                else:
                    assert good[what][0].owner_id != which.owner_id
                    assert now < good[what][1]
            case "show":
                maker = desk.show(which, what, now)
                if maker is not None:
                    issued, until = good.pop(what)
                    assert (maker, desk.devices[which].owner_id) == (issued, issued.owner_id)
                    assert now < until
                    assert maker.product_id in (None, DEVICES[which])
                    assert owners[which] in (None, maker.owner_id)
                else:
                    assert desk.devices[which].owner_id == owners[which]
            case "end":
                desk.end(what)
                good.pop(what, None)
            case "release":
                desk.on_device(which, ReleaseDevice(which, DEVICES[which], what))
                assert desk.devices[which].owner_id == (None if owners[which] == what else owners[which])
            case "pass":
                now += timedelta(seconds=which)
