"""What people are told by mail: from the streams to the folder, with the service as it is hosted."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nameko.rpc import rpc

from services.orgs.bootstrap import build
from services.orgs.mail.mail_reactions import MailReactions
from services.orgs.mail.mailing import TOLD
from shared.bus.calls import blocking_client
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.bus.reactions import reaction_of
from shared.bus.relay import Relay
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.webhooks import WebhookDisabled
from shared.projections.database import Database
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY

PASSWORD = "correct horse"


class Billing:
    name = "billing"

    @rpc
    def subscription(self, org_id: str) -> dict[str, Any]:
        raise NotFound("Subscription not found.")

    @rpc
    def finish_draft(self, draft_id: str | None, account_id: str, setup_id: str | None) -> dict[str, Any]:
        return {"org_id": draft_id}


class Devices:
    name = "devices"

    @rpc
    def owned_devices(self, product_id: int, owner_ids: list[str]) -> dict[str, Any]:
        return {"devices": []}


class Platform:
    """The running service and the folder that its mail goes to."""

    def __init__(self, transport: Any, folder: Path, store: Any) -> None:
        self._transport = transport
        self.store = store
        self.folder = folder
        self.seen: int | None = None
        self._pause = threading.Event()

    def ask(self, method: str, **arguments: Any) -> Any:
        headers = Context.new("account:" + "a" * 24, "test", uuid4()).headers()
        after = {} if self.seen is None else {"after": str(self.seen)}
        answer = getattr(blocking_client(self._transport, headers | after, 10.0).orgs, method)(**arguments)
        self.seen = max(filter(None, (answer.get("position"), self.seen)), default=None)
        return answer

    def letters(self) -> Iterator[bytes]:
        """All that is in the folder, but for what is removed meanwhile."""
        for path in sorted(self.folder.glob("*.eml")):
            with suppress(FileNotFoundError):
                yield path.read_bytes()

    def mail(self, to: str, subject: str) -> Any:
        """The message with this in its subject, once it is there."""
        for _ in range(400):
            for written in self.letters():
                message = message_from_bytes(written, policy=policy.default)
                if message["To"] == to and subject in message["Subject"]:
                    return message
            self._pause.wait(0.02)
        raise AssertionError(f"no mail to {to} about {subject!r}")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("mailing")
    settings = Settings.load({}, data=data, url="https://fleet.example", mail_from="no-reply@mail.example")
    store, transport = open_store(settings.store), open_transport("local:", name="test")
    others = [ServiceHost(kind, transport, workers=1) for kind in (Billing, Devices)]
    database = Database(settings.db, "hooks")
    database.prepare([])
    types = CONTRACTS.of_service("hooks")
    relay = Relay("hooks", store, transport, database.checkpoints(), types, contracts=CONTRACTS)
    runtime = Runtime("test", [transport, *others, relay, build(settings, transport, store)])
    runtime.start()
    yield Platform(transport, Path(settings.mail), store)
    runtime.stop()
    database.close()
    store.close()


def text_of(message: Any) -> str:
    return str(message.get_body(("plain",)).get_content())


def token_in(message: Any) -> str:
    return re.search(r"token=([0-9a-f]{24}\.[0-9a-f]{40})", text_of(message))[1]  # type: ignore[index]


def account(platform: Platform, email: str) -> str:
    made = platform.ask("create_account", username=email, password=PASSWORD)
    return str(made["account_id"])


def company(platform: Platform, founder: str) -> tuple[str, int]:
    org = platform.ask("create_organization", account_id=founder, name=f"Acme {uuid4().hex[:6]}")["organization"]
    wanted = {"name": "Lantern", "description": "Shines", "platform_id": 6}
    return org["id"], platform.ask("create_product", org_id=org["id"], **wanted)["product"]["id"]


def test_each_event_that_people_are_told_of_has_its_reaction() -> None:
    methods = inspect.getmembers(MailReactions, inspect.isfunction)
    told = {
        entrypoint.event_type
        for name, function in methods
        if reaction_of(MailReactions, name) == "mail"
        for entrypoint in function.nameko_entrypoints
    }
    assert told == {event.__name__ for event in TOLD}


def test_the_mailed_link_proves_the_address(platform: Platform) -> None:  # ACC-1
    account_id = account(platform, "ada@example.com")
    message = platform.mail("ada@example.com", "Confirm your email address")
    assert "https://fleet.example/verify?token=" in text_of(message)
    platform.ask("verify_email", token=token_in(message))
    assert platform.ask("get_user", account_id=account_id)["email_verified"] is True


def test_the_mailed_link_sets_a_new_password_and_that_is_told_too(platform: Platform) -> None:  # ACC-1
    account(platform, "bob@example.com")
    platform.ask("ask_password_reset", username="BOB@example.com")
    token = token_in(platform.mail("bob@example.com", "Choose a new password"))
    platform.ask("reset_password", token=token, password="battery staple")
    platform.mail("bob@example.com", "Your password was changed")
    with pytest.raises(Refused):
        platform.ask("reset_password", token=token, password="another one")


def test_the_address_that_an_account_had_is_told_and_not_what_it_has_now(platform: Platform) -> None:  # ACC-1
    account_id = account(platform, "lea@example.com")
    asked = {"account_id": account_id, "current_password": PASSWORD}
    platform.ask("change_email", **asked, username="leo@example.com")
    platform.mail("leo@example.com", "Confirm your email address")
    platform.ask("change_email", **asked, username="lou@example.com")
    for was in ("lea@example.com", "leo@example.com"):
        message = platform.mail(was, "The address of your account was changed")
        assert "no longer work" in text_of(message)
        assert b"lou@" not in message.as_bytes()


def test_the_invited_is_told_by_whom_and_whoever_is_removed_too(platform: Platform) -> None:  # ORG-4
    founder, guest = account(platform, "eve@example.com"), account(platform, "fay@example.com")
    org_id, _ = company(platform, founder)
    platform.ask("invite_member", org_id=org_id, username="fay@example.com", invited_by=founder)
    message = platform.mail("fay@example.com", "invites you to Acme")
    assert "eve@example.com" in text_of(message)
    (invitation,) = platform.ask("list_invitations", account_id=guest)["invitations"]
    platform.ask("verify_email", token=token_in(platform.mail("fay@example.com", "Confirm your email address")))
    platform.ask("answer_invitation", account_id=guest, invitation_id=invitation["id"], status="accepted")
    team = platform.ask("list_team", org_id=org_id)
    assert [member["username"] for member in team["team"]] == ["eve@example.com", "fay@example.com"]
    assert team["invites"] == []
    told = platform.ask("team_addresses", org_id=org_id)  # as billing asks, when it writes to a team
    addresses = [("eve@example.com", "administrator"), ("fay@example.com", "administrator")]
    assert [(one["email"], one["role"]) for one in told["members"]] == addresses
    assert set(told["organization"]) == {"name", "slug"}
    alone = platform.ask("team_addresses", org_id=org_id, account_id=guest)["members"]
    assert [one["account_id"] for one in alone] == [guest]
    platform.ask("remove_member", org_id=org_id, username="fay@example.com", removed_by=founder)
    platform.mail("fay@example.com", "no longer in the team of Acme")
    assert platform.ask("team_addresses", org_id=org_id, account_id=guest)["members"] == []
    with pytest.raises(NotFound):
        platform.ask("team_addresses", org_id="f" * 24)


def test_managers_are_told_of_a_webhook_that_was_disabled_by_itself(platform: Platform) -> None:  # LOG-3
    founder, guest = account(platform, "wim@example.com"), account(platform, "xia@example.com")
    org_id, product_id = company(platform, founder)
    platform.ask("invite_member", org_id=org_id, username="xia@example.com", invited_by=founder, role="developer")
    (invitation,) = platform.ask("list_invitations", account_id=guest)["invitations"]
    platform.ask("verify_email", token=token_in(platform.mail("xia@example.com", "Confirm your email address")))
    platform.ask("answer_invitation", account_id=guest, invitation_id=invitation["id"], status="accepted")
    for number, (stream, reason) in enumerate(
        ((f"product-{product_id}", "failing"), (f"org-{org_id}", "asked"), (f"account-{guest}", "gone"))
    ):
        told = WebhookDisabled(f"{number:024x}", reason, "status 503")  # type: ignore[arg-type]
        event = CONTRACTS.encode(told, 0, Context.new("system:hooks", "test"), stream=f"webhooks-{stream}")
        platform.store.append(f"webhooks-{stream}", ANY, [event])
    message = platform.mail("wim@example.com", "was disabled")
    assert "product Lantern was disabled" in message["Subject"]
    assert "nothing got through" in text_of(message)
    assert "status 503" in text_of(message)
    assert "gone for good" in text_of(platform.mail("xia@example.com", "of your account was disabled"))
    told_of = [message_from_bytes(one, policy=policy.default) for one in platform.letters()]
    assert sum("was disabled" in one["Subject"] for one in told_of) == 2


def test_customers_are_told_in_the_companys_name_alone(platform: Platform) -> None:  # CUS-1, CUS-7, PRD-4
    founder = account(platform, "gil@example.com")
    org_id, product_id = company(platform, founder)
    owner = {"org_id": org_id, "product_id": product_id}
    made = {"name": "App", "type": "web", "redirect_uri": "https://lantern.example/"}
    client = platform.ask("create_client", owner=owner, **made)["client"]
    asked = {"product_id": product_id, "email": "hal@example.com"}
    grant = platform.ask("create_customer", **asked, password=PASSWORD, client_id=client["id"])
    assert platform.ask("find_token", token=grant["access_token"])["subject"] == "customer"
    platform.ask("ask_customer_reset", **asked)
    platform.ask("invite_to_beta", product_id=product_id, emails=["hal@example.com", "ida@example.com"])
    for subject in ("Welcome to Lantern", "Choose a new password for Lantern", "Your activation code for Lantern"):
        message = platform.mail("hal@example.com", subject)
        assert message["From"] == "Lantern <no-reply@mail.example>"
        assert b"flotilla" not in message.as_bytes().lower()
    token = token_in(platform.mail("hal@example.com", "Choose a new password"))
    platform.ask("reset_customer_password", product_id=product_id, token=token, password="battery staple")
    told = platform.mail("hal@example.com", "Your password for Lantern was changed")
    assert b"flotilla" not in told.as_bytes().lower()
    with pytest.raises(NotFound):
        platform.ask("find_token", token=grant["access_token"])
    page = platform.ask("list_customers", product_id=product_id)
    (customer,) = page["customers"]
    assert customer["username"] == "hal@example.com"
    assert customer["activation_code"] in text_of(platform.mail("hal@example.com", "activation code"))


def test_mail_of_a_deleted_customer_is_removed(platform: Platform) -> None:  # EVT-5
    founder = account(platform, "jan@example.com")
    _, product_id = company(platform, founder)
    platform.ask("invite_to_beta", product_id=product_id, emails=["kay@example.com"])
    platform.mail("kay@example.com", "activation code")
    platform.ask("create_customer", product_id=product_id, email="kay@example.com", password=PASSWORD)
    platform.ask("delete_customer", product_id=product_id, email="kay@example.com")
    for _ in range(400):
        if not any(b"kay@example.com" in written for written in platform.letters()):
            return
        threading.Event().wait(0.02)
    raise AssertionError("mail of somebody who is gone is kept")


@pytest.mark.parametrize("product_id", [0, 64_999])
def test_a_link_to_a_product_that_does_not_exist_is_one_that_is_over(platform: Platform, product_id: int) -> None:
    asked = {"product_id": product_id, "token": f"{'1' * 24}.{'a' * 40}", "password": "battery staple"}
    with pytest.raises(Refused) as refusal:
        platform.ask("reset_customer_password", **asked)
    assert refusal.value.code == "invalid_reset_token"
