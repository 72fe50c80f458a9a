from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Refused

TIMES = {"created_at": "2026-03-01T12:00:00.000Z", "expires_at": "2026-03-15T12:00:00.000Z"}
ROLE = {"id": "administrator", "name": "Administrator"}
INVITATION = {
    "id": "6" * 24,
    "status": "pending",
    "organization": {"id": "a" * 24, "name": "Ours", "slug": "ours"},
    "role": ROLE,
    "invited_by": "member@example.org",
    **TIMES,
}
PATHS = ["/v1/orgs/ours/team", "/v1/products/thermo/team"]


@pytest.fixture(autouse=True)
def services(api: Any) -> None:
    member = {"_id": "1" * 24, "username": "member@example.org", "role": ROLE, "is_programmatic": False}
    invite = {"id": "6" * 24, "username": "jo@example.org", "role": ROLE, "invited_by": "member@example.org", **TIMES}
    api.bus.answers["orgs.list_team"] = {
        "team": [{**member, "joined_at": "2026-03-01T12:00:00.000Z"}],
        "invites": [invite],
    }
    for method in ("invite_member", "remove_member", "change_role"):
        api.bus.answers[f"orgs.{method}"] = {"position": 30}
    api.bus.answers["orgs.list_invitations"] = {"invitations": [INVITATION]}
    api.bus.answers["orgs.answer_invitation"] = {"invitation": {**INVITATION, "status": "accepted"}, "position": 31}


@pytest.mark.parametrize("path", PATHS)
def test_the_team_of_a_product_is_that_of_its_organization(api: Any, world: Any, path: str) -> None:
    assert api.get(path).json()["team"][0]["username"] == "member@example.org"
    assert api.bus.last("list_team").arguments == {"org_id": world.OUR_ORG}


@pytest.mark.parametrize("path", PATHS)
def test_somebody_is_invited_with_full_access_unless_it_is_said_otherwise(api: Any, world: Any, path: str) -> None:
    assert api.post(path, json={"username": "jo@example.org"}).json() == {
        "ok": True,
        "invited": {"username": "jo@example.org"},
    }
    asked = {"org_id": world.OUR_ORG, "username": "jo@example.org", "invited_by": world.MEMBER}
    assert api.bus.last("invite_member").arguments == {**asked, "role": None}
    api.post(path, json={"username": "jo@example.org", "role": "support"})
    assert api.bus.last("invite_member").arguments == {**asked, "role": "support"}


@pytest.mark.parametrize("code", ["user_not_found", "already_in_organization", "invitation_pending"])
def test_each_refusal_of_an_invitation_has_its_code(api: Any, world: Any, code: str) -> None:  # ORG-3
    api.bus.answers["orgs.invite_member"] = Refused(code, "No, because.")
    assert world.error_of(api.post(PATHS[0], json={"username": "jo@example.org"})) == (400, code, "No, because.")


@pytest.mark.parametrize("path", PATHS)
def test_an_address_in_a_path_is_taken_as_it_stands(api: Any, world: Any, path: str) -> None:
    assert api.delete(f"{path}/jo+x@example.org").json() == {"ok": True}
    removed = {"org_id": world.OUR_ORG, "username": "jo+x@example.org", "removed_by": world.MEMBER}
    assert api.bus.last("remove_member").arguments == removed
    assert api.put(f"{path}/jo+x@example.org", json={"role": "developer"}).json() == {"ok": True}
    changed = {"org_id": world.OUR_ORG, "username": "jo+x@example.org", "role": "developer"}
    assert api.bus.last("change_role").arguments == {**changed, "changed_by": world.MEMBER}


def test_a_member_with_a_smaller_role_removes_nobody_but_itself(api: Any, world: Any) -> None:  # ORG-5
    api.directory.roles[world.MEMBER] = "readonly"
    api.directory.add_token(world.MEMBER_TOKEN, world.MEMBER, world.OUR_ORG)
    assert world.error_of(api.delete(f"{PATHS[0]}/jo@example.org"))[:2] == (403, "permission_denied")
    assert api.delete(f"{PATHS[0]}/Member@Example.org").status_code == 200
    assert api.bus.count("remove_member") == 1


def test_the_invited_sees_invitations_and_answers_them(api: Any, world: Any) -> None:  # ORG-4
    assert api.get("/v1/user/invitations", token=world.LONER_TOKEN).json()["invitations"] == [INVITATION]
    path = f"/v1/user/invitations/{INVITATION['id']}"
    answer = api.put(path, json={"status": "accepted"}, token=world.LONER_TOKEN)
    assert answer.json()["invitation"]["status"] == "accepted"
    asked = {"account_id": world.LONER, "invitation_id": INVITATION["id"], "status": "accepted"}
    assert api.bus.last("answer_invitation").arguments == asked


def test_an_organization_is_renamed(api: Any, world: Any) -> None:
    api.bus.answers["orgs.rename_organization"] = {"organization": world.ORGANIZATION, "position": 32}
    assert api.put("/v1/orgs/ours", json={"name": "Others"}).status_code == 200
    assert api.bus.last("rename_organization").arguments == {"org_id": world.OUR_ORG, "name": "Others"}
