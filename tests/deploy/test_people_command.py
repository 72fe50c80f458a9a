"""``flotilla people`` on the data of a platform that is not running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from services.orgs.people.account_commands import ChangeEmail
from services.orgs.people.accounts import ACCOUNTS, stream_of
from services.orgs.people.creation import Creation
from shared.clock import system_clock
from shared.context import Context
from shared.errors import NotFound
from shared.people.keys import DESTROYED
from shared.people.open import PeopleKeys, open_contracts
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, New
from shared.streams import Streams

ADA, BOB = "ada@example.com", "bob@example.com"


@contextmanager
def streams(data: Path) -> Iterator[Streams]:
    settings = Settings.load({}, data=data)
    store = open_store(settings.store)
    with open_contracts(settings.keys, store) as contracts:
        yield Streams(store, contracts)
    store.close()


def sign_up(data: Path, email: str) -> str:
    with streams(data) as opened:
        creation = Creation(opened, Context.new("anonymous", "test"), system_clock())
        return creation.account(email, "$argon2id$unused", ("First", "Last", "Company"))[0]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path


def run(*words: str, data: Path, answer: str = "", code: int = 0) -> str:
    done = CliRunner(env={"COLUMNS": "250"}).invoke(
        app, ["people", *words, "--data", str(data)], input=answer, catch_exceptions=False
    )
    assert done.exit_code == code, done.output
    return done.output


def test_everybody_is_listed_with_the_present_address(data: Path) -> None:
    ada = sign_up(data, ADA)
    with streams(data) as opened:
        now = system_clock()
        change = ChangeEmail("ada@example.org", end_tokens=False, nonce="1" * 24, now=now)
        opened.handle(ACCOUNTS, stream_of(ada), change, Context.new("anonymous", "test"))
    assert run("list", data=data).split()[-1] == "ada@example.org"


def test_everybody_is_listed_and_who_is_forgotten_says_so(data: Path) -> None:
    ada, bob = sign_up(data, ADA), sign_up(data, BOB)
    lines = run("list", data=data).splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [(ada, ADA), (bob, BOB)]
    assert "account " + ada in run("forget", ADA, "--yes", data=data)
    lines = run("list", data=data).splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in lines] == [(ada, "forgotten"), (bob, BOB)]


def test_forgetting_says_what_is_destroyed_and_asks_first(data: Path) -> None:
    ada = sign_up(data, ADA)
    shown = run("forget", ADA, data=data, answer="n\n", code=1)
    assert f"account {ada}: {ADA}" in shown
    assert "destroyed" in shown
    assert "nothing was done" in shown
    assert run("list", data=data).split()[-1] == ADA
    shown = run("forget", ADA, data=data, answer="y\n")
    assert f"account {ada} is forgotten" in shown
    assert "backups of the key table" in shown
    assert run("list", data=data).split()[-1] == "forgotten"


def test_a_person_is_known_by_id_too_and_forgotten_once(data: Path) -> None:
    ada = sign_up(data, ADA)
    assert "is forgotten" in run("forget", ada.upper(), "--yes", data=data)
    assert "as it was before" in run("forget", ada, data=data)
    with pytest.raises(NotFound, match=r"there is no account 'ada@example\.com'"):
        run("forget", ADA, "--yes", data=data)


@pytest.mark.parametrize("who", ["nobody@example.com", "f" * 24, "", "x" * 10_000, "forgotten"])
def test_somebody_unknown_is_not_found(data: Path, who: str) -> None:
    sign_up(data, ADA)
    with pytest.raises(NotFound, match="there is no account"):
        run("forget", who, "--yes", data=data)


def test_a_key_that_a_crash_left_is_destroyed_by_repeating(data: Path) -> None:
    ada = sign_up(data, ADA)
    run("forget", ada, "--yes", data=data)
    settings = Settings.load({}, data=data)
    store = open_store(settings.store)
    keys = PeopleKeys(settings.keys, store)
    assert keys.table.find(ada) is DESTROYED
    keys.close()
    (data / "keys" / "keys.db").unlink()
    assert "as it was before" in run("forget", ada, "--yes", data=data)
    keys = PeopleKeys(settings.keys, store)
    assert keys.table.find(ada) is DESTROYED
    keys.close()
    store.close()


def test_a_lost_key_table_is_told_in_the_list(data: Path) -> None:
    sign_up(data, ADA)
    (data / "keys" / "keys.db").unlink()
    assert "key is missing" in run("list", data=data)
    sign_up(data, ADA)
    assert run("list", data=data).split()[-1] == ADA


def test_it_says_what_was_stored_in_the_clear_before_there_were_keys(data: Path) -> None:
    account_id = "a" * 24
    text = '{"account_id":"%s","email":"old@example.com","password_hash":"h","first_name":"","last_name":"",'
    meta = b'{"schema":1,"actor":"a","command":"c","correlation":"c"}'
    body = (text % account_id + '"company_name":""}').encode()
    with streams(data) as opened:
        opened.store.append(f"account-{account_id}", ANY, [New(uuid4(), "AccountCreated", body, meta)])
    assert "old@example.com" in run("list", data=data)
    assert "1 of its events from before" in run("forget", account_id, "--yes", data=data)
    assert run("list", data=data).split()[-1] == "forgotten"
