from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orgs.audit.audit_view import _NESTED, AUDIT, LEFT_OUT, MAX_KINDS, MAX_THINGS, thing
from shared.context import Context, about
from shared.events import customers, devices, firmware, gateway, groups, oauth, orgs
from shared.events.contracts import CONTRACTS
from shared.projections.view import Row
from shared.store.port import Position, Recorded
from tests.keys import contracts_with_keys

ADA, ORG = "1" * 24, "a" * 24
AT = datetime(2030, 1, 1, tzinfo=UTC)
COMMAND = replace(
    Context.new(f"account:{ADA}", "gateway:a"),
    token="c" * 24,
    address="sealed:1:00000000:AAAA",
    about=about(ORG, 1000),
)
contracts = contracts_with_keys()


def recorded(event: object, context: Context = COMMAND, number: int = 1) -> Recorded:
    new = contracts.encode(event, number, context)
    at = AT + timedelta(seconds=number)
    return Recorded(new.id, new.type, "s", number, Position(number), at, new.data, new.meta)


def rows(*told: tuple[object, Context]) -> list[Row]:
    """The view after these events."""
    found: dict[Any, Any] = {}
    for number, (event, context) in enumerate(told, start=1):
        envelope = recorded(event, context, number)
        for key in AUDIT.keys(event, envelope):
            found[key] = AUDIT.fold(found.get(key), event, envelope)
    return list(found.values())


def device(number: int) -> str:
    return f"d{number:023x}"


def test_a_command_is_a_row_with_who_what_to_what_when_from_where_and_under_which_token() -> None:
    assert rows((firmware.FirmwareReleased(1000, 7, None, True), COMMAND)) == [
        {
            "command": COMMAND.correlation_id,
            "org_id": ORG,
            "product_id": 1000,
            "at": AT + timedelta(seconds=1),
            "position": 1,
            "actor": f"account:{ADA}",
            "token": "c" * 24,
            "address": "sealed:1:00000000:AAAA",
            "what": ["FirmwareReleased"],
            "things": ["version 7"],
            "events": 1,
        }
    ]


def test_an_import_is_one_row_however_many_devices_it_brings() -> None:
    (row,) = rows(*((devices.DeviceImported(device(number), 1000, False), COMMAND) for number in range(1_000)))
    assert (row["what"], row["events"], row["position"]) == (["DeviceImported"], 1_000, 1)
    assert row["things"] == [f"device {device(number)}" for number in range(MAX_THINGS)]


def test_a_command_of_many_kinds_names_some() -> None:
    told = [
        devices.DeviceImported(device(1), 1000, False),
        devices.DeviceForced(device(1), 1000),
        devices.DeviceApproved(device(1), 1000, False),
        devices.DeviceLocked(device(1), 1000, 7, False),
        devices.DeviceUnlocked(device(1), 1000),
        devices.DevelopmentMarked(device(1), 1000, True),
        devices.DeviceGrouped(device(1), 1000, ["hall"]),
        devices.DeviceDescribed(device(1), 1000, "", ""),
        devices.DeviceDenied(device(1), 1000),
        devices.DeviceRemoved(device(1), 1000),
    ]
    (row,) = rows(*((event, COMMAND) for event in told))
    assert row["what"] == [type(event).__name__ for event in told][:MAX_KINDS]
    assert (row["things"], row["events"]) == ([f"device {device(1)}"], len(told))


@pytest.mark.parametrize("actor", ["system:orgs", f"device:{device(1)}"])
def test_what_nobody_commanded_is_not_in_it(actor: str) -> None:
    assert rows((devices.DeviceQuarantined(device(1), 1000), replace(COMMAND, actor=actor))) == []


def test_what_is_no_organizations_is_not_in_it() -> None:
    assert rows((orgs.EmailVerified(ADA), replace(COMMAND, about=None))) == []


def test_what_says_itself_whose_it_is_is_theirs() -> None:
    answer = orgs.InvitationDeclined(ORG, "2" * 24, ADA)
    (row,) = rows((answer, replace(COMMAND, about=None)))
    assert (row["org_id"], row["product_id"], row["things"]) == (ORG, None, [f"account {ADA}"])


def test_what_does_not_say_of_which_product_it_is_is_of_that_of_the_command() -> None:
    (row,) = rows((oauth.ClientDeleted("lamp-1234"), COMMAND))
    assert (row["org_id"], row["product_id"], row["things"]) == (ORG, 1000, ["client lamp-1234"])


def test_a_call_of_a_function_is_a_command() -> None:
    (row,) = rows((gateway.FunctionCalled(device(1), 1000, "unlock", "answered", 7, ADA), COMMAND))
    assert (row["what"], row["things"]) == (["FunctionCalled"], [f"device {device(1)}"])


def test_all_events_of_these_services_are_in_it_but_for_those_that_are_left_out() -> None:
    known = {contract.event for contract in CONTRACTS if contract.service in ("orgs", "devices", "firmware")}
    assert set(AUDIT.events) == known - LEFT_OUT | {gateway.FlashAsked, gateway.FunctionCalled}
    assert _NESTED.isdisjoint({contract.event for contract in CONTRACTS})


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (groups.GroupDeleted(1000, "hall"), "group hall"),
        (orgs.ManufacturingStarted(1000, 1), "product 1000"),
        (orgs.OrganizationRenamed(ORG, "New"), f"organization {ORG}"),
        (orgs.MemberRoleChanged(ORG, ADA, "support"), f"account {ADA}"),
        (customers.CustomerTokensEnded("7" * 24, 2), f"customer {'7' * 24}"),
        (devices.ClaimCodeEnded("0" * 64), ""),
    ],
)
def test_what_an_event_is_about(event: object, named: str) -> None:
    assert thing(event) == named


CONTEXTS = st.sampled_from(
    [
        COMMAND,
        replace(COMMAND, correlation_id="another"),
        replace(COMMAND, actor="system:devices"),
        replace(COMMAND, about=None),
    ]
)
EVENTS = st.sampled_from(
    [
        devices.DeviceRemoved(device(1), 1000),
        devices.DeviceRemoved(device(2), 1001),
        oauth.ClientDeleted("lamp-1234"),
        orgs.OrganizationRenamed(ORG, "New"),
        orgs.EmailVerified(ADA),
    ]
)


@given(st.lists(st.tuples(EVENTS, CONTEXTS), max_size=40))
def test_no_row_is_without_organization_and_every_event_counts_once(told: Sequence[tuple[Any, Context]]) -> None:
    found = rows(*told)
    assert all(row["org_id"] == ORG and len(row["things"]) <= MAX_THINGS for row in found)
    mine = [
        event
        for event, context in told
        if context.actor.startswith("account:") and (context.about or isinstance(event, orgs.OrganizationRenamed))
    ]
    assert sum(row["events"] for row in found) == len(mine)
    assert len(found) <= 2
