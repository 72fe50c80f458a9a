"""Keys beside an event store: nobody whose key is lost gets another one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from shared.context import Context
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS, Registry
from shared.events.fields import FORGOTTEN
from shared.events.firmware import VersionUploaded
from shared.events.orgs import AccountCreated, MemberJoined
from shared.people.open import open_contracts
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, New

ADA, BOB, EMAIL = "a" * 24, "b" * 24, "ada@example.com"
UPLOADED = VersionUploaded(1000, 7, "seven", "", "x.bin", 1, "0" * 64, EMAIL, ADA)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
    yield opened
    opened.close()


def created(person: str) -> AccountCreated:
    return AccountCreated(person, EMAIL, "hash", "", "", "")


def encoded(contracts: Registry, event: object) -> New:
    return contracts.encode(event, 0, Context.new("system:test", "test", uuid4()))


def sign_up(store: EventStore, contracts: Registry, person: str = ADA) -> None:
    store.append(f"account-{person}", ANY, [encoded(contracts, created(person))])


def test_a_lost_key_table_shows_everybody_as_forgotten_and_lets_nobody_store_more(
    store: EventStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_contracts(f"sqlite:///{tmp_path}/keys", store) as before:
        sign_up(store, before)
    assert caplog.messages == []
    with caplog.at_level(logging.WARNING), open_contracts(f"sqlite:///{tmp_path}/lost", store) as after:
        assert "the key table is new, but the event store holds personal data" in caplog.text
        assert after.decode(store.read(f"account-{ADA}")[0]).email == FORGOTTEN
        for event in (UPLOADED, MemberJoined("c" * 24, ADA, FORGOTTEN, "administrator")):
            with pytest.raises(Unavailable, match=f"the key of account {ADA} is missing"):
                encoded(after, event)
        sign_up(store, after, BOB)
        assert after.decode(store.read(f"account-{BOB}")[0]) == created(BOB)
    with open_contracts(f"sqlite:///{tmp_path}/keys", store) as restored:
        assert restored.decode(store.read(f"account-{ADA}")[0]) == created(ADA)
        assert encoded(restored, UPLOADED)


def test_an_account_from_before_there_were_keys_gets_one(
    store: EventStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = b'{"account_id":"%s","email":"ada@example.com","password_hash":"h","first_name":"","last_name":"",' % (
        ADA.encode()
    )
    meta = b'{"schema":1,"actor":"a","command":"c","correlation":"c"}'
    store.append(f"account-{ADA}", ANY, [New(uuid4(), "AccountCreated", data + b'"company_name":""}', meta)])
    with open_contracts(f"sqlite:///{tmp_path}/keys", store) as contracts:
        assert caplog.messages == []
        store.append("firmware-1000", ANY, [encoded(contracts, UPLOADED)])
        assert contracts.decode(store.read("firmware-1000")[0]) == UPLOADED
    with open_contracts(f"sqlite:///{tmp_path}/other", store) as others:  # whose key, made again, is another
        again = encoded(others, UPLOADED)
        assert others.decode(store.read("firmware-1000")[0]).uploaded_by == FORGOTTEN
        store.append("firmware-1000", ANY, [again])
        assert others.decode(store.read("firmware-1000")[1]) == UPLOADED


def test_the_contracts_without_keys_are_left_as_they_were(store: EventStore, tmp_path: Path) -> None:
    with open_contracts(f"sqlite:///{tmp_path}/keys", store) as contracts:
        assert contracts is not CONTRACTS
        assert [one.name for one in contracts] == [one.name for one in CONTRACTS]
        assert contracts.keys.secret("x") == contracts.keys.secret("x")
