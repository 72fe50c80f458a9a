"""Forgetting as the hosted service completes it: real store, real views and keys, local bus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from nameko.rpc import rpc

from services.orgs.bootstrap import VIEWS, build
from services.orgs.people.account_commands import ForgetAccount
from services.orgs.people.accounts import ACCOUNTS, stream_of
from services.orgs.people.forgetting import Forgetting
from services.orgs.people.mail_links import link_token
from shared.bus.calls import blocking_client
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.clock import system_clock
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.fields import FORGOTTEN
from shared.people.keys import DESTROYED
from shared.people.open import PeopleKeys
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import Position
from shared.streams import Streams
from tests.prompt import prompt

ADA, PASSWORD, PATIENCE_S = "ada@example.com", "correct horse", 20.0


class Billing:
    """Has not heard of anything yet."""

    name = "billing"

    @rpc(expected_exceptions=NotFound)
    def subscription(self, org_id: str) -> dict[str, Any]:
        raise NotFound("Subscription not found.")

    @rpc
    def finish_draft(self, draft_id: str | None, account_id: str, setup_id: str | None) -> dict[str, Any]:
        return {"org_id": draft_id}


class Platform:
    """The running service, and the store and keys of the operator beside it."""

    def __init__(self, folder: Any, views_url: str) -> None:
        self.settings = Settings.load({}, data=folder, db=views_url, workers=2)
        self.store = prompt(open_store(f"{self.settings.store}?durability=normal"))
        self.transport = open_transport("local:", name="test")
        service = build(self.settings, self.transport, self.store)
        billing = ServiceHost(Billing, self.transport, workers=1)
        self.runtime = Runtime("test", [self.transport, billing, service])
        self.keys = PeopleKeys(self.settings.keys, self.store)
        self.streams = Streams(self.store, CONTRACTS.with_keys(self.keys))
        self.seen: Position | None = None

    def close(self) -> None:
        self.runtime.stop()
        self.keys.close()
        self.store.close()

    def ask(self, method: str, **arguments: Any) -> dict[str, Any]:
        headers = Context.new("anonymous", "test").headers() | ({} if self.seen is None else {"after": str(self.seen)})
        answer: dict[str, Any] = getattr(blocking_client(self.transport, headers, PATIENCE_S).orgs, method)(**arguments)
        self.seen = Position(max(answer.get("position") or 0, self.seen or 0))
        return answer

    def log_in(self) -> dict[str, Any]:
        return self.ask(
            "oauth_token",
            fields={"grant_type": "password", "username": ADA, "password": PASSWORD, "client_id": "particle"},
            expires_in_s=None,
        )


@pytest.fixture
def platform(tmp_path: Any, views_url: str) -> Iterator[Platform]:
    running = Platform(tmp_path, views_url)
    running.runtime.start()
    yield running
    running.close()


@pytest.fixture
def ada(platform: Platform) -> str:
    info = {"first_name": "Ada", "last_name": "Lovelace", "company_name": "Engines"}
    account_id: str = platform.ask("create_account", username=ADA, password=PASSWORD, account_info=info)["account_id"]
    return account_id


def soon(is_true: Callable[[], bool]) -> bool:
    deadline = datetime.now(UTC) + timedelta(seconds=PATIENCE_S)
    while not is_true():
        if datetime.now(UTC) > deadline:
            return False
    return True


def test_what_the_operator_forgets_the_service_forgets_at_once(platform: Platform, ada: str) -> None:
    given = platform.log_in()
    org = platform.ask("create_organization", account_id=ada, name="Acme")["organization"]
    assert org["owner"] == {"username": ADA}
    context = Context.new("system:operator", "test", uuid4())
    platform.seen = Forgetting(platform.streams, context, system_clock()).account(ada)
    with pytest.raises(Refused, match="invalid_grant"):
        platform.log_in()
    with pytest.raises(Refused, match="invalid_grant"):
        platform.ask(
            "oauth_token",
            fields={"grant_type": "refresh_token", "refresh_token": given["refresh_token"], "client_id": "particle"},
        )
    with pytest.raises(NotFound):
        platform.ask("find_token", token=given["access_token"])
    user = platform.ask("get_user", account_id=ada)
    assert user["username"] == FORGOTTEN
    assert set(user["account_info"].values()) == {FORGOTTEN}
    again = platform.ask("get_organization", org_id=org["id"])["organization"]
    assert again == {**org, "owner": {"username": FORGOTTEN}}
    assert platform.ask("create_account", username=ADA, password=PASSWORD)["account_id"] != ada
    assert platform.log_in()["access_token"]


def test_a_crash_before_the_key_was_destroyed_is_mended_by_the_reaction(platform: Platform, ada: str) -> None:
    token_id = platform.log_in()["token_id"]
    assert len(platform.ask("list_tokens", account_id=ada)["tokens"]) == 1
    context = Context.new("system:operator", "test", uuid4())
    platform.streams.handle(ACCOUNTS, stream_of(ada), ForgetAccount(), context)  # and there it died
    assert soon(lambda: platform.keys.table.find(ada) is DESTROYED)
    assert soon(lambda: len(platform.store.read(f"token-{token_id}")) == 2)
    revoked = CONTRACTS.decode(platform.store.read(f"token-{token_id}")[1])
    assert (revoked.account_id, revoked.reason) == (ada, "forgotten")


def test_whoever_is_deleted_or_forgotten_leaves_the_team_and_is_invited_no_more(platform: Platform, ada: str) -> None:
    org_id = platform.ask("create_organization", account_id=ada, name="Acme")["organization"]["id"]
    people = {}
    for name in ("bob", "eve", "tim"):
        email = f"{name}@example.com"
        people[name] = platform.ask("create_account", username=email, password=PASSWORD)["account_id"]
        platform.ask("invite_member", org_id=org_id, username=email, invited_by=ada)
        if name == "tim":
            continue
        (invitation,) = platform.ask("list_invitations", account_id=people[name])["invitations"]
        link = platform.streams.load(ACCOUNTS, stream_of(people[name])).state.verification
        platform.ask("verify_email", token=link_token(platform.streams, "verify", people[name], link.nonce))
        asked = {"account_id": people[name], "invitation_id": invitation["id"], "status": "accepted"}
        platform.ask("answer_invitation", **asked)
    assert len(platform.ask("list_team", org_id=org_id)["team"]) == 3
    platform.ask("delete_account", account_id=people["bob"], password=PASSWORD)
    for name in ("eve", "tim"):
        context = Context.new("system:operator", "test", uuid4())
        Forgetting(platform.streams, context, system_clock()).account(people[name])

    def only_ada() -> bool:
        team = platform.ask("list_team", org_id=org_id)
        return [one["_id"] for one in team["team"]] == [ada] and not team["invites"]

    assert soon(only_ada)
    assert soon(lambda: not any(platform.transport.status()["queues"].values()))
    assert platform.transport.status()["parked"] == 0


def test_views_that_are_built_anew_equal_those_that_lived_through_it(platform: Platform, ada: str) -> None:
    platform.ask("create_organization", account_id=ada, name="Acme")
    platform.ask("create_account", username="bob@example.com", password=PASSWORD)
    context = Context.new("system:operator", "test", uuid4())
    position = Forgetting(platform.streams, context, system_clock()).account(ada)
    platform.seen = position
    platform.ask("get_user", account_id=ada)
    platform.runtime.stop()
    database = Database(platform.settings.db, "orgs")
    projector = Projector("orgs", platform.store, database, VIEWS, platform.streams.contracts)
    projector.catch_up()
    before = [database.digest(view) for view in VIEWS]
    for view in VIEWS:
        projector.rebuild(view.name)
    assert [database.digest(view) for view in VIEWS] == before
    database.close()
