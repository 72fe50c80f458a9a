"""Devices that somebody else asks for: who may ask, and how they are handed over (contract 8, CUS-5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceClaimed, DeviceDenied, DeviceDescribed, DeviceUnclaimed
from shared.events.transfers import TransferAccepted
from shared.store.port import ANY

P, OTHER, BETA = 1000, 2000, 4000
A, B, C, D = (f"{number:024x}" for number in (10, 11, 12, 13))
ADA, BOB, OTHERS_CUSTOMER, INVITEE, ID = "a" * 24, "b" * 24, "e" * 24, "1" * 24, "7" * 24
HANDED = [DeviceClaimed(A, P, ADA), DeviceUnclaimed(A, P, ADA), DeviceClaimed(A, P, BOB)]


@pytest.fixture
def fleet(platform: Any) -> Any:
    """Devices of ada's, of which A has a name, and one that nobody has."""
    platform.call("import_lines", product_id=P, lines=[A, B])
    platform.call("import_lines", product_id=OTHER, lines=[C])
    platform.call("import_lines", product_id=BETA, lines=[D])
    for device_id, product_id in ((A, P), (C, OTHER), (D, BETA)):
        platform.record(f"device-{device_id}", DeviceClaimed(device_id, product_id, ADA))
    platform.record(f"device-{A}", DeviceDescribed(A, P, "desk", ""))
    return platform


def accepted(device_id: str = A, product_id: int = P, claim: int = 1, invitee_id: str | None = None) -> Any:
    return TransferAccepted(ID, device_id, product_id, ADA, claim, BOB, None, invitee_id)


def owners(fleet: Any, device_id: str) -> list[Any]:
    claims = (DeviceClaimed, DeviceUnclaimed)
    return [event for event in fleet.events(f"device-{device_id}") if isinstance(event, claims)]


def refusal(fleet: Any, **asked: Any) -> str:
    with pytest.raises(Refused) as refused:
        fleet.call("ask_transfer", **asked)
    return refused.value.code


def test_the_owner_is_asked_for_a_device_by_whoever_could_claim_it(fleet: Any) -> None:
    asked = fleet.call("ask_transfer", account_id=BOB, device_id=A.upper())
    assert asked["transfer_id"] == ID
    who = {"owner_id": ADA, "claim": 1, "claimant_id": BOB, "customer_id": None, "invitee_id": None}
    assert fleet.transfers == [{"device_id": A, "product_id": P, "device_name": "desk", **who}]
    assert fleet.call("get_holding", device_id=A) == {"product_id": P, "owner_id": ADA, "claim": 1}
    assert owners(fleet, A) == [DeviceClaimed(A, P, ADA)]


def test_nobody_is_asked_for_what_could_not_be_claimed(fleet: Any) -> None:  # CUS-5, PRD-4
    as_customer = {"account_id": BOB, "customer_id": BOB, "product_id": P}
    for device_id in (C, "f" * 24, "none"):
        with pytest.raises(NotFound):
            fleet.call("ask_transfer", **as_customer, device_id=device_id)
    assert refusal(fleet, account_id=BOB, customer_id=OTHERS_CUSTOMER, device_id=A) == "other_product"
    assert refusal(fleet, account_id=BOB, device_id=D) == "invalid_activation_code"
    assert refusal(fleet, account_id=BOB, device_id=D, activation_code="ZZZZ") == "invalid_activation_code"
    for free_or_theirs in ({"account_id": BOB, "device_id": B}, {"account_id": ADA, "device_id": A}):
        assert refusal(fleet, **free_or_theirs) == "invalid_request"
    fleet.gone[BOB] = 0
    assert refusal(fleet, account_id=BOB, device_id=A) == "claimant_gone"
    fleet.gone.clear()
    fleet.record(f"device-{A}", DeviceDenied(A, P))
    assert refusal(fleet, account_id=BOB, device_id=A) == "not_claimable"
    assert fleet.transfers == []
    fleet.call("ask_transfer", account_id=BOB, device_id=D, activation_code="AB23")
    assert fleet.transfers[0]["invitee_id"] == INVITEE


def test_it_is_handed_over_at_once_and_the_team_sees_whose_it_is(fleet: Any) -> None:
    fleet.record(f"transfers-{ADA}", accepted())
    recorded = fleet.wait_for_event(f"device-{A}", DeviceUnclaimed)
    assert owners(fleet, A) == HANDED
    fleet.after = fleet.store.head()
    assert [device["id"] for device in fleet.call("list_own_devices", account_id=BOB)["devices"]] == [A]
    assert A not in [device["id"] for device in fleet.call("list_own_devices", account_id=ADA)["devices"]]
    told = fleet.call("why", product_id=P, device_id=A)
    (owner,) = [aspect for aspect in told["aspects"] if aspect["aspect"] == "owner"]
    assert owner["value"] == {"account_id": BOB}
    assert [link["type"] for link in owner["chain"]][-3:] == ["TransferAccepted", "DeviceUnclaimed", "DeviceClaimed"]
    assert f"to account {BOB}, who had asked for it" in owner["chain"][-3]["text"]
    assert recorded.version + 1 == fleet.store.read(f"device-{A}")[-1].version


def test_what_is_heard_again_moves_nothing_again(fleet: Any) -> None:
    stream, context = f"transfers-{ADA}", Context.new("account:" + ADA, "tests")
    fleet.store.append(stream, ANY, [CONTRACTS.encode(accepted(), 0, context)])
    fleet.wait_for_event(f"device-{A}", DeviceUnclaimed)
    fleet.record(f"device-{A}", DeviceUnclaimed(A, P, BOB), DeviceClaimed(A, P, ADA))
    fleet.record(stream, accepted())  # the same word once more
    heard_behind_it(fleet)
    assert owners(fleet, A) == [*HANDED, DeviceUnclaimed(A, P, BOB), DeviceClaimed(A, P, ADA)]


def heard_behind_it(fleet: Any) -> None:
    """What was recorded before was handled: this came later."""
    fleet.record(f"transfers-{ADA}", accepted(C, OTHER))
    fleet.wait_for_event(f"device-{C}", DeviceUnclaimed)


def until(fleet: Any, is_so: Callable[[], bool]) -> None:
    for _ in range(200):
        if is_so():
            return
        fleet.store.wait(fleet.store.head(), 0.05)
    raise AssertionError("it never came to that")


def test_who_lost_the_device_meanwhile_hands_nothing_over(fleet: Any) -> None:
    fleet.record(f"device-{A}", DeviceUnclaimed(A, P, ADA), DeviceClaimed(A, P, ADA))
    fleet.record(f"transfers-{ADA}", accepted(claim=1))
    heard_behind_it(fleet)
    assert owners(fleet, A)[-1] == DeviceClaimed(A, P, ADA)


def test_who_is_gone_gets_nothing(fleet: Any) -> None:
    fleet.gone[BOB] = 0
    fleet.record(f"transfers-{ADA}", accepted())
    until(fleet, lambda: fleet.gone[BOB] < 0)
    fleet.restart()  # ends once what was taken is handled
    assert owners(fleet, A) == [DeviceClaimed(A, P, ADA)]


def test_without_an_activation_code_nothing_of_a_private_beta_is_handed_over(fleet: Any) -> None:  # PRD-4
    fleet.record(f"transfers-{ADA}", accepted(D, BETA))
    heard_behind_it(fleet)
    assert owners(fleet, D) == [DeviceClaimed(D, BETA, ADA)]


def test_what_whoever_is_deleted_just_then_was_given_belongs_to_nobody(fleet: Any) -> None:
    fleet.gone[BOB] = 1  # there when it is asked the first time, gone when it is asked again
    fleet.record(f"transfers-{ADA}", accepted())
    fleet.wait_for_event(f"device-{A}", DeviceClaimed)
    until(fleet, lambda: owners(fleet, A)[-1] == DeviceUnclaimed(A, P, BOB))
    assert owners(fleet, A) == [*HANDED, DeviceUnclaimed(A, P, BOB)]


def test_an_activation_code_goes_with_it(fleet: Any) -> None:  # PRD-4
    fleet.record(f"transfers-{ADA}", accepted(D, BETA, invitee_id=INVITEE))
    fleet.wait_for_event(f"device-{D}", DeviceUnclaimed)
    assert owners(fleet, D)[-1] == DeviceClaimed(D, BETA, BOB, INVITEE)
    until(fleet, lambda: fleet.taken == {INVITEE: D})


def test_an_activation_code_stays_good_when_nothing_was_handed_over(fleet: Any) -> None:  # PRD-4
    fleet.record(f"device-{D}", DeviceUnclaimed(D, BETA, ADA), DeviceClaimed(D, BETA, ADA))
    fleet.record(f"transfers-{ADA}", accepted(D, BETA, claim=1, invitee_id=INVITEE))
    heard_behind_it(fleet)
    assert owners(fleet, D)[-1] == DeviceClaimed(D, BETA, ADA)
    assert fleet.taken == {}
