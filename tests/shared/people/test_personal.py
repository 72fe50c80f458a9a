"""Personal fields on their way through the codec (EVT-5)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from shared.bus.messages import to_event, to_message
from shared.context import Context
from shared.errors import Misuse
from shared.events.contracts import CONTRACTS, Contract, Registry
from shared.events.fields import FORGOTTEN, UNOPENED, Event, Personal, Text
from shared.events.firmware import VersionUploaded
from shared.events.orgs import (
    AccountCreated,
    AccountForgotten,
    MemberJoined,
    NameReserved,
    OrganizationCreated,
    OrganizationFounded,
)
from shared.people.keys import Keys
from shared.people.personal import personal_fields
from shared.store.port import Position, Recorded
from tests.keys import MemoryTable, contracts_with_keys

ADA, ORG, EMAIL = "a" * 24, "b" * 24, "ada@example.com"
CONTEXT = Context.new("account:" + ADA, "test", UUID(int=7))
CREATED = AccountCreated(ADA, EMAIL, "$argon2id$secret", "Ada", "Lovelace", "")
UPLOADED = VersionUploaded(1000, 7, "seven", "", "x.bin", 1, "0" * 64, EMAIL, ADA)
PERSONAL: list[Event] = [
    CREATED,
    NameReserved("email", EMAIL, f"account-{ADA}"),
    OrganizationFounded(ADA, EMAIL, ORG, "Acme", "acme", "monthly"),
    OrganizationCreated(ORG, "Acme", "acme", "monthly", ADA, EMAIL),
    MemberJoined(ORG, ADA, EMAIL, "administrator"),
    UPLOADED,
]
PLAIN_VERSION_1 = {
    "NameReserved": '{"kind":"email","name":"ada@example.com","holder_stream":"account-aaaaaaaaaaaaaaaaaaaaaaaa"}',
    "AccountCreated": '{"account_id":"aaaaaaaaaaaaaaaaaaaaaaaa","email":"ada@example.com","password_hash":'
    '"$argon2id$secret","first_name":"Ada","last_name":"Lovelace","company_name":""}',
    "OrganizationFounded": '{"account_id":"aaaaaaaaaaaaaaaaaaaaaaaa","email":"ada@example.com","org_id":'
    '"bbbbbbbbbbbbbbbbbbbbbbbb","name":"Acme","slug":"acme","plan":"monthly"}',
    "OrganizationCreated": '{"org_id":"bbbbbbbbbbbbbbbbbbbbbbbb","name":"Acme","slug":"acme","plan":"monthly",'
    '"owner_id":"aaaaaaaaaaaaaaaaaaaaaaaa","owner_email":"ada@example.com"}',
    "MemberJoined": '{"org_id":"bbbbbbbbbbbbbbbbbbbbbbbb","account_id":"aaaaaaaaaaaaaaaaaaaaaaaa","email":'
    '"ada@example.com","role":"administrator"}',
    "VersionUploaded": '{"product_id":1000,"version":7,"title":"seven","description":"","file_name":"x.bin",'
    '"size_bytes":1,"sha256":"0000000000000000000000000000000000000000000000000000000000000000",'
    '"uploaded_by":"ada@example.com"}',
}
"""As release 0.1 stored them."""


def stored(event: Event, contracts: Registry) -> Recorded:
    new = contracts.encode(event, 0, CONTEXT)
    return recorded(new.type, new.data, new.meta)


def recorded(event_type: str, data: bytes, meta: bytes) -> Recorded:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Recorded(UUID(int=1), event_type, "s", 0, Position(1), at, data, meta)


def fields(event: Event) -> list[str]:
    return list(personal_fields(type(event)))


@pytest.mark.parametrize("event", PERSONAL)
def test_what_is_personal_is_stored_sealed_and_comes_back(event: Event) -> None:
    contracts = contracts_with_keys()
    one = stored(event, contracts)
    for value in (EMAIL, "ada@", "Lovelace", "argon2id"):
        assert value.encode() not in one.data
    assert contracts.is_sealed(one)
    assert contracts.decode(one) == event
    assert contracts.decode_all([one, one]) == [event, event]


@pytest.mark.parametrize("event", PERSONAL)
def test_without_the_key_it_reads_as_forgotten_and_everything_else_as_before(event: Event) -> None:
    table = MemoryTable()
    one = stored(event, contracts_with_keys(table))
    gone = msgspec.structs.replace(event, **dict.fromkeys(fields(event), FORGOTTEN))
    assert contracts_with_keys(MemoryTable()).decode(one) == gone  # the table is lost
    table.destroy(ADA)
    contracts = contracts_with_keys(table)
    assert contracts.decode(one) == gone
    assert contracts.decode_all([one]) == [gone]


@pytest.mark.parametrize("event", PERSONAL)
def test_a_process_without_keys_reads_that_it_is_sealed_and_stores_nothing_personal(event: Event) -> None:
    one = stored(event, contracts_with_keys())
    unopened = msgspec.structs.replace(event, **dict.fromkeys(fields(event), UNOPENED))
    assert CONTRACTS.decode(one) == unopened
    with pytest.raises(Misuse, match="this process has no keys"):
        CONTRACTS.encode(event, 0, CONTEXT)
    with pytest.raises(Misuse, match="has no keys"):
        _ = CONTRACTS.keys


@pytest.mark.parametrize("event", PERSONAL)
def test_what_was_stored_before_there_were_keys_is_still_read(event: Event) -> None:
    name = type(event).__name__
    meta = b'{"schema":1,"actor":"account:a","command":"c","correlation":"c"}'
    old = recorded(name, PLAIN_VERSION_1[name].encode(), meta)
    plain = msgspec.structs.replace(event, uploader_id=None) if event is UPLOADED else event
    for contracts in (CONTRACTS, contracts_with_keys()):
        assert not contracts.is_sealed(old)
        assert contracts.decode(old) == plain
        assert contracts.decode_all([old]) == [plain]


def test_names_that_tell_of_nobody_stay_plain() -> None:
    event = NameReserved("org_slug", "acme", f"account-{ADA}")
    one = stored(event, CONTRACTS)
    assert json.loads(one.data)["name"] == "acme"
    assert CONTRACTS.decode(one) == event


@pytest.mark.parametrize(
    "event",
    [NameReserved("email", EMAIL, "product-1000"), msgspec.structs.replace(UPLOADED, uploader_id=None)],
)
def test_what_is_personal_without_saying_whose_it_is_is_a_bug(event: Event) -> None:
    with pytest.raises(Misuse, match="says no account"):
        contracts_with_keys().encode(event, 0, CONTEXT)


def test_limits_are_those_of_the_plain_text() -> None:
    longest = msgspec.structs.replace(CREATED, email="a" * 252 + "@b", first_name="x" * 128)
    contracts = contracts_with_keys()
    assert contracts.decode(stored(longest, contracts)) == longest
    for changes in ({"email": "a" * 253 + "@b"}, {"first_name": "x" * 129}, {"email": "a"}):
        with pytest.raises(Misuse, match="breaks its contract"):
            contracts.encode(msgspec.structs.replace(CREATED, **changes), 0, CONTEXT)


def test_nothing_new_is_sealed_for_somebody_who_is_forgotten() -> None:
    table = MemoryTable()
    table.destroy(ADA)
    contracts = contracts_with_keys(table)
    one = stored(UPLOADED, contracts)
    assert json.loads(one.data)["uploaded_by"] == FORGOTTEN
    assert contracts.decode(one) == msgspec.structs.replace(UPLOADED, uploaded_by=FORGOTTEN)


def test_a_process_that_sees_somebody_forgotten_lets_go_of_the_key_at_once() -> None:
    contracts = contracts_with_keys()
    created = stored(CREATED, contracts)
    forgotten = stored(AccountForgotten(ADA), contracts)
    assert contracts.decode(created) == CREATED
    assert contracts.decode_all([created, forgotten, created])[2].email == FORGOTTEN
    assert contracts.decode(created).email == FORGOTTEN


def test_a_message_on_the_bus_stays_sealed_and_is_opened_by_whoever_has_keys() -> None:
    contracts = contracts_with_keys()
    message = json.loads(json.dumps(to_message(stored(CREATED, contracts))))
    assert EMAIL not in json.dumps(message)
    assert message["schema"] == 2
    assert to_event(message, contracts) == CREATED
    assert to_event(message, CONTRACTS).email == UNOPENED


def test_what_was_altered_in_the_store_is_not_passed_off_as_forgotten() -> None:
    contracts = contracts_with_keys()
    data = json.loads(stored(CREATED, contracts).data)
    swapped = {**data, "first_name": data["last_name"], "last_name": data["first_name"]}
    plain = {**data, "email": EMAIL}
    meta = contracts.encode(CREATED, 0, CONTEXT).meta
    for changed, field in ((swapped, "first_name"), (plain, "email")):
        with pytest.raises(msgspec.ValidationError, match=f"AccountCreated.{field} cannot be opened"):
            contracts.decode(recorded("AccountCreated", json.dumps(changed).encode(), meta))


class Greeted(Event, frozen=True):
    """Personal of somebody whom it does not name."""

    name: Annotated[str, Text(64), Personal("nobody")]


class Met(Event, frozen=True):
    """Version 3 says where; versions 1 and 2 did not, and 1 was plain."""

    account_id: Annotated[str, Text(24)]
    name: Annotated[str, Text(64), Personal("account_id")]
    place: Annotated[str, Text(64)]


def upcast(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "place": "unknown"}


def test_a_contract_that_forgets_to_say_since_when_it_is_sealed_is_found_at_start() -> None:
    with pytest.raises(Misuse, match="sealed_since"):
        Registry([Contract("x", Met)])
    with pytest.raises(Misuse, match="no field nobody"):
        Registry([Contract("x", Greeted, sealed_since=1)])


def test_an_older_version_that_was_sealed_is_upcast_and_opened() -> None:
    keys = Keys(MemoryTable(), lambda person: False)
    second = Registry([Contract("x", Met, sealed_since=1)], keys)
    third = Registry([Contract("x", Met, 3, {1: lambda data: data, 2: upcast}, sealed_since=2)], keys)
    data = json.loads(second.encode(Met(ADA, "Ada", "here"), 0, CONTEXT).data)
    del data["place"]
    for version, name in ((1, data["name"]), (2, "Ada")):
        meta = b'{"schema":%d,"actor":"a","command":"c","correlation":"c"}' % version
        found = third.decode(recorded("Met", json.dumps(data).encode(), meta))
        assert found == Met(ADA, name, "unknown")
