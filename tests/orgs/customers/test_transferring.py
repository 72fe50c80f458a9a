"""An owner is mailed who asks for which device, and answers by the link: with the service as it is hosted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from nameko.rpc import rpc

from services.orgs.bootstrap import build
from services.orgs.mail.mailing import Mailing
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.errors import Refused
from shared.events.contracts import CONTRACTS
from shared.mail.letters import Letter
from shared.people.open import PeopleKeys
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import EventStore
from shared.streams import Streams
from tests.orgs.mail.test_mailing import PASSWORD, Billing, Platform, account, company, text_of, token_in


class Devices:
    """``holdings``: whose each device is, in which product and by which claim."""

    name = "devices"
    holdings: ClassVar[dict[str, dict[str, Any]]] = {}

    @rpc
    def get_holding(self, device_id: str) -> dict[str, Any]:
        return self.holdings[device_id]


class Acme:
    """A company with a product, the mail of all, a store to look into, and what writes the mail."""

    def __init__(self, mail: Platform, store: EventStore, mailing: Mailing) -> None:
        self.mail, self.store, self.mailing = mail, store, mailing
        self.founder = account(mail, "ada@example.com")
        self.org_id, self.product_id = company(mail, self.founder)
        self._devices = 0

    def device(self, owner_id: str) -> str:
        """A device that is the owner's."""
        self._devices += 1
        device_id = f"{self._devices:024x}"
        Devices.holdings[device_id] = {"product_id": self.product_id, "owner_id": owner_id, "claim": 3}
        return device_id

    def customer(self, email: str, product_id: int | None = None) -> str:
        made = {"product_id": product_id or self.product_id, "email": email, "password": PASSWORD}
        token = self.mail.ask("create_customer", **made)["access_token"]
        return str(self.mail.ask("find_token", token=token)["customer_id"])

    def ask(self, device_id: str, claimant_id: str, **more: Any) -> str:
        held = Devices.holdings[device_id]
        wish = {"device_id": device_id, **held, "claimant_id": claimant_id, "device_name": "desk lamp", **more}
        return str(self.mail.ask("record_transfer", **wish)["transfer_id"])

    def answer(self, token: str, accept: bool) -> None:
        self.mail.ask("answer_transfer", token=token, accept=accept)

    def events(self, owner_id: str) -> list[str]:
        return [event.type for event in self.store.read(f"transfers-{owner_id}")]

    def letters(self, email: str) -> list[bytes]:
        asking = [written for written in self.mail.letters() if b"asks for your" in written]
        return [written for written in asking if f"To: {email}".encode() in written]


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    settings = Settings.load({}, data=tmp_path_factory.mktemp("transfers"), url="https://fleet.example")
    store, transport = open_store(settings.store), open_transport("local:", name="test")
    others = [ServiceHost(kind, transport, workers=1) for kind in (Billing, Devices)]
    runtime = Runtime("test", [transport, *others, build(settings, transport, store)])
    runtime.start()
    keys = PeopleKeys(settings.keys, store)
    mailing = Mailing(Streams(store, CONTRACTS.with_keys(keys)), settings.url)
    yield Acme(Platform(transport, Path(settings.mail), store), store, mailing)
    keys.close()
    runtime.stop()
    store.close()


def refusal(act: Callable[..., object], *args: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as refused:
        act(*args, **arguments)
    return refused.value.code


def test_the_owner_is_told_who_asks_for_what_and_hands_it_over_once(acme: Acme) -> None:
    owner, claimant = account(acme.mail, "bob@example.com"), account(acme.mail, "cas@example.com")
    asked = acme.ask(acme.device(owner), claimant)
    message = acme.mail.mail("bob@example.com", "cas@example.com asks for your device")
    text = text_of(message)
    assert "desk lamp (000" in text
    assert "https://fleet.example/transfer?token=" in text
    assert "Nobody has made sure that this address is really theirs." in text
    token = token_in(message)
    shown = acme.mail.ask("get_transfer", token=token)
    assert shown["actor"] == f"account:{owner}"
    assert (shown["asker"], shown["proven"], shown["device_name"]) == ("cas@example.com", False, "desk lamp")
    acme.mail.ask("verify_email", token=token_in(acme.mail.mail("cas@example.com", "Confirm")))
    assert acme.mail.ask("get_transfer", token=token)["proven"] is True
    acme.answer(token, accept=True)
    accepted = CONTRACTS.decode(acme.store.read(f"transfers-{owner}")[-1])
    assert (accepted.transfer_id, accepted.claimant_id, accepted.claim) == (asked, claimant, 3)
    for accept in (True, False):
        assert refusal(acme.answer, token, accept) == "invalid_transfer_token"
    told = acme.mail.mail("cas@example.com", "The device that you asked for is yours")
    assert accepted.device_id in text_of(told)
    assert "bob" not in text_of(told)


def test_who_asks_again_at_once_has_nobody_mailed_twice(acme: Acme) -> None:
    owner, claimant = account(acme.mail, "dan@example.com"), account(acme.mail, "eli@example.com")
    device_id = acme.device(owner)
    asked = acme.ask(device_id, claimant)
    assert acme.ask(device_id, claimant) == asked
    token = token_in(acme.mail.mail("dan@example.com", "eli@example.com asks"))
    assert acme.events(owner) == ["TransferAsked"]
    acme.answer(token, accept=False)
    assert refusal(acme.ask, device_id, claimant) == "transfer_declined"
    assert len(acme.letters("dan@example.com")) == 1
    acme.mail.mail("eli@example.com", "stays with its owner")
    assert acme.events(owner) == ["TransferAsked", "TransferDeclined"]


def test_links_of_others_and_of_other_purposes_open_nothing(acme: Acme) -> None:
    owner, claimant = account(acme.mail, "fay@example.com"), account(acme.mail, "gus@example.com")
    acme.ask(acme.device(owner), claimant)
    token = token_in(acme.mail.mail("fay@example.com", "asks for your device"))
    digits = token.partition(".")[2]
    wrong = [f"{claimant}.{digits}", f"{owner}.{'0' * 40}", "", token + "0"]
    wrong.append(token_in(acme.mail.mail("fay@example.com", "Confirm your email address")))
    for other in wrong:
        assert refusal(acme.mail.ask, "get_transfer", token=other) == "invalid_transfer_token"
        assert refusal(acme.answer, other, True) == "invalid_transfer_token"


def test_nothing_is_agreed_to_once_the_device_is_not_the_owners_or_who_asked_is_gone(acme: Acme) -> None:
    owner, claimant = account(acme.mail, "hal@example.com"), account(acme.mail, "ivo@example.com")
    device_id = acme.device(owner)
    acme.ask(device_id, claimant)
    token = token_in(acme.mail.mail("hal@example.com", "ivo@example.com asks"))
    held = Devices.holdings[device_id]
    for change in ({"owner_id": None}, {"owner_id": acme.founder}, {"claim": 4}, {"product_id": 9999}):
        Devices.holdings[device_id] = {**held, **change}
        assert refusal(acme.mail.ask, "get_transfer", token=token) == "invalid_transfer_token"
        assert refusal(acme.answer, token, True) == "invalid_transfer_token"
    Devices.holdings[device_id] = held
    acme.mail.ask("delete_account", account_id=claimant, password=PASSWORD)
    assert refusal(acme.mail.ask, "get_transfer", token=token) == "claimant_gone"
    assert refusal(acme.answer, token, True) == "claimant_gone"
    assert acme.events(owner) == ["TransferAsked"]


def test_a_customer_is_asked_in_the_companys_name_alone(acme: Acme) -> None:  # CUS-7
    owner, claimant = acme.customer("jo@example.com"), acme.customer("kay@example.com")
    acme.ask(acme.device(owner), claimant, customer_id=claimant)
    message = acme.mail.mail("jo@example.com", "kay@example.com asks for your device")
    assert str(message["From"]).startswith("Lantern <")
    assert b"flotilla" not in bytes(message).lower()
    shown = acme.mail.ask("get_transfer", token=token_in(message))
    assert (shown["asker"], shown["actor"]) == ("kay@example.com", f"customer:{owner}")
    acme.answer(token_in(message), accept=True)
    assert acme.events(owner) == ["TransferAsked", "TransferAccepted"]
    told = acme.mail.mail("kay@example.com", "is yours")
    assert str(told["From"]).startswith("Lantern <")
    assert b"flotilla" not in bytes(told).lower()


def test_mail_that_names_whoever_asked_goes_when_they_are_forgotten(acme: Acme) -> None:  # EVT-5
    owner, claimant = account(acme.mail, "lea@example.com"), acme.customer("max@example.com")
    acme.ask(acme.device(owner), claimant, customer_id=claimant)
    acme.mail.mail("lea@example.com", "max@example.com asks")
    (asked,) = acme.store.read(f"transfers-{owner}")
    letter = acme.mailing.compose(asked)
    assert isinstance(letter, Letter)
    assert letter.persons == (owner, claimant)
    acme.mail.ask("delete_customer", product_id=acme.product_id, email="max@example.com")
    assert acme.mailing.compose(asked) == "forgotten"  # so that the postman looks for what he wrote meanwhile
    for _ in range(400):
        if not acme.letters("lea@example.com"):
            return
        threading.Event().wait(0.02)
    raise AssertionError("mail that names somebody who is gone is kept")
