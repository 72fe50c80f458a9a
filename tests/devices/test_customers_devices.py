"""Devices of companies' customers: claiming them, and what becomes of them when the owner is deleted (CUS-5, PRD-4)."""

from __future__ import annotations

from typing import Any

import pytest

from shared.errors import NotFound, Refused
from shared.events.customers import CustomerDeleted
from shared.events.devices import ClaimCodeEnded, ClaimCodeIssued, DeviceClaimed, DeviceUnclaimed
from shared.events.gateway import ClaimPresented, DeviceConnected
from shared.events.orgs import AccountForgotten
from shared.ids import digest

P, OTHER, BETA = 1000, 2000, 4000
A, B, C, D, E = (f"{number:024x}" for number in (10, 11, 12, 13, 14))
ADA, BOB, OTHERS_CUSTOMER, INVITEE, ORG = "a" * 24, "b" * 24, "e" * 24, "1" * 24, "f" * 24
CUSTOMER, STRANGER = "c" * 24, "9" * 24
STREAM, SESSION = "connection-a.1-1", ("a", 1, 1)


def code(call: Any, *args: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as refusal:
        call(*args, **arguments)
    return refusal.value.code


@pytest.fixture
def fleet(platform: Any) -> Any:
    platform.call("import_lines", product_id=P, lines=[A, B])
    platform.call("import_lines", product_id=OTHER, lines=[C])
    platform.call("import_lines", product_id=BETA, lines=[D])
    return platform


def connected(fleet: Any, *devices: str) -> None:
    for number, device_id in enumerate(devices, 1):
        at = fleet.clock()
        fleet.record(
            STREAM, DeviceConnected(device_id, None, "a", 1, number, at, "particle/tcp", "192.0.2.1", True, "")
        )


def shown_by(fleet: Any, device_id: str, product_id: int, claim_code: str) -> str:
    """The digest of a code that the device showed."""
    shown = digest(claim_code[:63])
    fleet.record(STREAM, ClaimPresented(device_id, product_id, shown, *SESSION))
    return shown


def test_a_customers_code_claims_devices_of_the_product_alone(fleet: Any) -> None:
    issued = fleet.call("issue_claim_code", account_id=ADA, customer_id=ADA, product_id=P)["claim_code"]
    shown_by(fleet, C, OTHER, issued)
    shown_by(fleet, A, P, issued)  # handled behind the first
    fleet.wait_for_event(f"device-{A}", DeviceClaimed)
    assert fleet.events(f"device-{A}")[1:] == [DeviceClaimed(A, P, ADA)]
    assert len(fleet.events(f"device-{C}")) == 1
    fleet.after = fleet.store.head()
    assert fleet.call("issue_claim_code", account_id=ADA, customer_id=ADA, product_id=OTHER)["device_ids"] == []
    assert fleet.call("issue_claim_code", account_id=ADA, customer_id=ADA, product_id=P)["device_ids"] == [A]


def test_a_code_of_another_companys_customer_claims_nothing_and_stays_good(fleet: Any) -> None:
    issued = fleet.call("issue_claim_code", account_id=BOB, customer_id=OTHERS_CUSTOMER)["claim_code"]
    mine = fleet.call("issue_claim_code", account_id=ADA, customer_id=ADA)["claim_code"]
    shown = shown_by(fleet, A, P, issued)
    shown_by(fleet, A, P, mine)
    fleet.wait_for_event(f"device-{A}", DeviceClaimed)
    assert fleet.events(f"device-{A}")[1:] == [DeviceClaimed(A, P, ADA)]
    assert [type(event) for event in fleet.events(f"claim-{shown}")] == [ClaimCodeIssued]


def test_a_code_dies_with_its_maker(fleet: Any) -> None:
    issued = fleet.call("issue_claim_code", account_id=ADA, customer_id=ADA, product_id=P)["claim_code"]
    fleet.gone[ADA] = 0
    shown = shown_by(fleet, A, P, issued)
    fleet.wait_for_event(f"claim-{shown}", ClaimCodeEnded)
    assert len(fleet.events(f"device-{A}")) == 1


def test_a_device_of_whoever_is_deleted_while_it_is_claimed_belongs_to_nobody(fleet: Any) -> None:
    issued = fleet.call("issue_claim_code", account_id=ADA, customer_id=ADA, product_id=P)["claim_code"]
    fleet.gone[ADA] = 1  # there when it is asked the first time, gone when it is asked again
    shown_by(fleet, A, P, issued)
    fleet.wait_for_event(f"device-{A}", DeviceUnclaimed)
    assert fleet.events(f"device-{A}")[1:] == [DeviceClaimed(A, P, ADA), DeviceUnclaimed(A, P, ADA)]


def test_a_private_beta_takes_an_activation_code_whichever_way_a_device_is_claimed(fleet: Any) -> None:  # PRD-4
    asked = {"account_id": ADA, "customer_id": ADA, "product_id": BETA}
    for wrong in (None, "", "ZZZZ"):
        assert code(fleet.call, "issue_claim_code", **asked, activation_code=wrong) == "invalid_activation_code"
    connected(fleet, D)
    assert code(fleet.call, "claim", **asked, device_id=D) == "invalid_activation_code"
    anyones = fleet.call("issue_claim_code", account_id=BOB)["claim_code"]  # made without a word of the product
    shown_by(fleet, D, BETA, anyones)
    good = fleet.call("issue_claim_code", **asked, activation_code="AB23")["claim_code"]
    shown_by(fleet, D, BETA, good)
    fleet.wait_for_event(f"device-{D}", DeviceClaimed)
    assert fleet.events(f"device-{D}")[1:] == [DeviceClaimed(D, BETA, ADA, INVITEE)]


def test_of_devices_that_are_claimed_at_once_with_one_activation_code_one_stays_claimed(fleet: Any) -> None:  # PRD-4
    fleet.call("import_lines", product_id=BETA, lines=[E])
    connected(fleet, D, E)
    asked = {"account_id": ADA, "customer_id": ADA, "product_id": BETA, "activation_code": "AB23"}
    assert fleet.call("claim", **asked, device_id=D)["device_id"] == D
    fleet.early.append(E)
    assert code(fleet.call, "claim", **asked, device_id=E) == "activation_code_needed"
    assert fleet.events(f"device-{D}")[1:] == [DeviceClaimed(D, BETA, ADA, INVITEE)]
    assert fleet.events(f"device-{E}")[1:] == [DeviceClaimed(E, BETA, ADA, INVITEE), DeviceUnclaimed(E, BETA, ADA)]
    assert fleet.call("claim", **asked, device_id=D)["device_id"] == D  # which the code was taken for


def test_of_devices_that_show_codes_of_one_activation_code_one_stays_claimed(fleet: Any) -> None:  # PRD-4
    fleet.call("import_lines", product_id=BETA, lines=[E])
    asked = {"account_id": ADA, "customer_id": ADA, "product_id": BETA, "activation_code": "AB23"}
    first, second = (fleet.call("issue_claim_code", **asked)["claim_code"] for _ in range(2))
    fleet.early.append(E)
    shown_by(fleet, D, BETA, first)
    shown_by(fleet, E, BETA, second)
    fleet.wait_for_event(f"device-{E}", DeviceUnclaimed)
    assert fleet.events(f"device-{D}")[1:] == [DeviceClaimed(D, BETA, ADA, INVITEE)]


def test_a_device_that_is_online_is_claimed_by_its_id(fleet: Any) -> None:  # contract 8
    assert code(fleet.call, "claim", account_id=ADA, device_id=A) == "device_offline"
    connected(fleet, A, D)
    claimed = fleet.call("claim", account_id=ADA, device_id=A.upper())
    assert (claimed["device_id"], claimed["product_id"], claimed["online"]) == (A, P, True)
    assert fleet.call("claim", account_id=ADA, device_id=A)["device_id"] == A
    assert code(fleet.call, "claim", account_id=BOB, device_id=A) == "claimed_elsewhere"
    with_code = fleet.call("claim", account_id=ADA, device_id=D, activation_code="AB23")
    assert with_code["product_id"] == BETA
    assert fleet.events(f"device-{A}")[1:] == [DeviceClaimed(A, P, ADA)]


def test_a_customer_learns_nothing_of_a_device_of_another_product(fleet: Any) -> None:
    connected(fleet, C)
    for device_id in (C, "f" * 24, "none"):
        with pytest.raises(NotFound):
            fleet.call("claim", account_id=ADA, customer_id=ADA, product_id=P, device_id=device_id)


def claimed_by(fleet: Any, owner_id: str, *devices: str) -> None:
    for device_id, product_id in ((A, P), (B, P), (C, OTHER)):
        if device_id in devices:
            fleet.record(f"device-{device_id}", DeviceClaimed(device_id, product_id, owner_id))


def test_devices_of_an_account_that_is_forgotten_belong_to_nobody(fleet: Any) -> None:
    claimed_by(fleet, ADA, A, C)
    claimed_by(fleet, BOB, B)
    fleet.record(f"account-{ADA}", AccountForgotten(ADA))
    for device_id, product_id in ((A, P), (C, OTHER)):
        fleet.wait_for_event(f"device-{device_id}", DeviceUnclaimed)
        assert fleet.events(f"device-{device_id}")[-1] == DeviceUnclaimed(device_id, product_id, ADA)
    assert fleet.events(f"device-{B}")[-1] == DeviceClaimed(B, P, BOB)


def test_devices_of_a_customer_who_is_deleted_belong_to_nobody_and_others_of_a_linked_account_stay(fleet: Any) -> None:
    claimed_by(fleet, ADA, A, C)
    fleet.record(f"customer-{BOB}", CustomerDeleted(BOB, ADA, ORG, P))
    fleet.wait_for_event(f"device-{A}", DeviceUnclaimed)
    assert fleet.events(f"device-{C}")[-1] == DeviceClaimed(C, OTHER, ADA)
    fleet.record(f"customer-{BOB}", CustomerDeleted(BOB, ADA, ORG, None))
    fleet.wait_for_event(f"device-{C}", DeviceUnclaimed)


def test_the_team_sees_whose_customers_a_device_is(fleet: Any) -> None:  # CUS-6
    claimed_by(fleet, CUSTOMER, A)
    claimed_by(fleet, STRANGER, B)
    known, unknown = (fleet.call("get_device", product_id=P, device_id=device_id) for device_id in (A, B))
    assert (known["owner"], known["customer_id"], known.get("user_id")) == ("customer@example.com", CUSTOMER, None)
    assert (unknown["owner"], unknown["user_id"], unknown.get("customer_id")) == (STRANGER, STRANGER, None)
    listed = fleet.call("list_devices", product_id=P, sort="deviceId", descending=False)
    assert [device["owner"] for device in listed["devices"]] == ["customer@example.com", STRANGER]
    assert listed["customers"] == [{"id": CUSTOMER, "username": "customer@example.com"}]
    owned = fleet.call("owned_devices", product_id=P, owner_ids=[CUSTOMER, ADA])["devices"]
    assert [(device["owner_id"], device["id"], device["online"]) for device in owned] == [(CUSTOMER, A, False)]
    assert fleet.call("owned_devices", product_id=OTHER, owner_ids=[CUSTOMER])["devices"] == []


def test_a_device_that_leaves_its_product_is_nobodys(fleet: Any) -> None:
    claimed_by(fleet, ADA, A)
    fleet.call("remove_device", product_id=P, device_id=A)
    fleet.call("import_lines", product_id=OTHER, lines=[A])
    assert fleet.call("get_device", product_id=OTHER, device_id=A)["owner"] is None
    assert fleet.call("list_own_devices", account_id=ADA)["devices"] == []
    fleet.call("issue_claim_code", account_id=BOB)
    connected(fleet, A)
    assert fleet.call("claim", account_id=BOB, device_id=A)["product_id"] == OTHER
