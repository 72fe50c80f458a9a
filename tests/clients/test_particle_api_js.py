"""The official JavaScript client, as it is published, against the platform as it is started (contract 16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.running import Process
from deploy.simulation.modules import build_module
from tests.clients.company import PASSWORD, Company, Told

pytestmark = [pytest.mark.whole, pytest.mark.timeout(300)]

Step = tuple[str, int, dict[str, Any]]

SPARE = "d" * 24
FIRST_DAY: Sequence[Step] = [
    ("sign up", 200, {"ok": True}),
    ("sign up", 200, {"ok": True}),
    ("sign up again", 400, {"error": "username_taken"}),
    ("wrong password", 400, {"error": "invalid_grant", "error_description": "User credentials are invalid"}),
    ("log in", 200, {"token_type": "bearer", "expires_in": 7_776_000}),
    ("log in", 200, {"token_type": "bearer"}),
    ("no organization", 200, {"products": []}),
    ("say who I am", 200, {"ok": True}),
    ("who am I", 200, {"username": "ada@example.com", "account_info": {"first_name": "Ada"}}),
    ("identify", 200, {"email": "ada@example.com"}),
    ("found", 201, {"ok": True}),
    ("create product", 201, {"ok": True}),
    ("product", 200, {}),
    ("product of a stranger", 404, {"error": "Product not found."}),
    ("configuration", 200, {"complete": False}),
    ("configure", 200, {"unanswered": ["working_with_particle.authentication", "firmware.programming"]}),
    ("add device", 200, {"updated": 1}),
    ("add devices", 200, {"updated": 1, "invalidDeviceIds": ["no device"]}),
    ("devices", 200, {}),
    ("rename", 200, {"name": "cellar"}),
    ("develop", 200, {"development": True}),
    ("device", 200, {"name": "cellar", "development": True, "online": False}),
    ("claim what is offline", 400, {"error": "not_open_to_claims"}),
    ("call what is offline", 400, {"error": "device_offline"}),
    ("upload", 201, {"version": 1, "title": "first", "releasable": False}),
    ("firmware", 200, {}),
    ("release", 400, {"error": "firmware_not_running"}),
    ("invite nobody", 400, {"error": "user_not_found"}),
    ("invite", 200, {"invited": {"username": "bob@example.com"}}),
    ("invite again", 400, {"error": "invitation_pending"}),
    ("invitations", 200, {"ok": True}),
    ("accept without a word", 400, {"error": "email_not_verified"}),
    ("verify", 200, {"ok": True}),
    ("accept", 200, {"ok": True}),
    ("product of a member", 200, {}),
    ("team", 200, {"invites": []}),
    ("remove", 200, {"ok": True}),
    ("create webhook", 201, {"ok": True, "event": "temp", "integration_type": "Webhook"}),
    ("webhooks", 200, {}),
    ("delete webhook", 200, {"ok": True}),
    ("create integration", 201, {"ok": True, "json": {"t": "{{t}}"}}),
    ("edit integration", 200, {"event": "te", "url": "http://127.0.0.1:9/in"}),
    ("integrations", 200, {}),
    ("delete integration", 204, {}),
    ("create client", 200, {"ok": True}),
    ("clients", 200, {"ok": True}),
    ("create customer", 201, {"token_type": "bearer"}),
    ("create customer again", 400, {"error": "customer_exists"}),
    ("customer logs in", 200, {"token_type": "bearer"}),
    ("client logs in", 200, {"token_type": "bearer"}),
    ("claim code", 200, {"device_ids": []}),
    ("claim code of the team", 403, {"error": "permission_denied"}),
    ("customer's devices", 200, {}),
    ("devices for a customer", 403, {"error": "permission_denied"}),
    ("customers", 200, {"devices": []}),
    ("product stream", 200, {"name": "doors/open", "data": "\u00fc", "coreid": "api", "public": False}),
    ("own stream", 200, {"name": "note/1", "data": "x", "coreid": "api"}),
    ("change password", 200, {"ok": True}),
    ("old token", 401, {"error": "invalid_token"}),
    ("log in again", 200, {"token_type": "bearer"}),
    ("delete client", 204, {}),
    ("delete token", 200, {"ok": True}),
    ("deleted token", 401, {"error": "invalid_token"}),
    ("last member", 400, {"error": "last_member"}),
    ("delete account", 200, {"ok": True}),
]

DEVICE: Sequence[Step] = [
    ("log in", 200, {"token_type": "bearer"}),
    ("claim code", 200, {}),
    ("online", 200, {"data": "online", "coreid": SPARE}),
    ("claimed", 200, {"id": SPARE, "platform_id": 6, "owner": "kay@example.com"}),
    ("claim again", 200, {"ok": True, "claimed": True}),
    ("sign up another", 200, {"ok": True}),
    ("log in as another", 200, {"token_type": "bearer"}),
    ("claim what is taken", 403, {"error": "That belongs to someone else."}),
    ("ask for it", 200, {"ok": True}),
    ("device", 200, {"functions": ["brew", "reset"], "online": True}),
    ("rename", 200, {"id": SPARE, "name": "urn"}),
    ("notes", 200, {"notes": "on the stove"}),
    ("call", 200, {"name": "urn", "connected": True, "return_value": 1}),
    ("call by name", 200, {"return_value": 2}),
    ("call below the product", 200, {"return_value": 3}),
    ("call what is not there", 404, {"error": "Function bake not found"}),
    ("variable", 200, {"cmd": "VarReturn", "name": "name", "result": "kettle-dddddd"}),
    ("variable below the product", 200, {"result": True}),
    ("variable that is not there", 404, {"error": "Variable not found"}),
    ("signal", 200, {"id": SPARE, "signaling": True}),
    ("ping", 200, {"ok": True, "online": True}),
    ("reading", 200, {"coreid": SPARE, "name": "telemetry"}),
    ("upload", 201, {"version": 2, "title": "second", "releasable": False}),
    ("firmware", 200, {"version": 2, "title": "second", "product_default": False}),
    ("download", 200, {"same": True}),
    ("release too early", 400, {"error": "firmware_not_running"}),
    ("lock and flash", 200, {"desired_firmware_version": 2}),
    ("flash started", 200, {"coreid": SPARE}),
    ("flash success", 200, {"coreid": SPARE}),
    ("release", 200, {"ok": True, "product_default": True}),
    ("unlock", 200, {"desired_firmware_version": None}),
    ("runs it", 200, {"firmware_version": 2, "targeted_firmware_release_version": 2}),
    ("sources", 400, {"error": "not_supported"}),
    ("development", 200, {"development": True}),
    ("flash a file", 200, {"id": SPARE, "status": "Update started"}),
    ("file started", 200, {"coreid": SPARE}),
    ("file success", 200, {"coreid": SPARE}),
    ("runs the file", 200, {"firmware_version": 3, "targeted_firmware_release_version": None}),
    ("flash below the product", 200, {"id": SPARE, "status": "Update started"}),
    ("removed from its owner", 200, {"ok": True}),
    ("nobody owns it", 200, {"owner": None, "name": "urn"}),
    ("personal client", 200, {"ok": True}),
    ("change client", 200, {"ok": True}),
    ("as the owner", 200, {"token_type": "bearer"}),
    ("who", 200, {"username": "kay@example.com"}),
    ("tokens", 200, {}),
    ("delete client", 204, {}),
    ("a deleted client's token", 401, {"error": "invalid_token"}),
    ("delete token", 200, {"ok": True}),
    ("deleted token", 401, {"error": "invalid_token"}),
]


def test_a_companys_first_day_with_the_official_client(
    platform: tuple[Process, Path], run_story: Callable[..., Told]
) -> None:
    must_be(run_story("story.js", str(platform[0].http), str(platform[1] / "mail")), FIRST_DAY)


def test_a_device_from_its_claim_to_its_second_firmware(
    company: Company, run_story: Callable[..., Told], tmp_path: Path
) -> None:
    modules = [tmp_path / f"v{version}.bin" for version in (2, 3)]
    for version, module in zip((2, 3), modules, strict=True):
        module.write_bytes(build_module(company.product, version, bytes(5_000)))

    def connect(told: dict[str, Any]) -> None:
        if told["step"] == "claim code":
            company.switch_on(company.spare, told["body"]["claim_code"])

    words = (company.url, company.username, PASSWORD, str(company.product), company.spare, *map(str, modules))
    told = run_story("devices.js", *words, on_step=connect)
    must_be(told, DEVICE)
    tokens = next(one["body"] for one in told if one["step"] == "tokens")
    assert tokens
    assert all(set(one["token"][:-4]) == {"*"} for one in tokens)  # ACC-2


def must_be(told: Told, expected: Sequence[Step]) -> None:
    """The same steps with the same statuses, and bodies with at least this in them."""
    assert [(one["step"], one["status"]) for one in told] == [(name, status) for name, status, _ in expected]
    for one, (name, _, body) in zip(told, expected, strict=True):
        found = one["body"] if isinstance(one["body"], dict) else {}
        assert (name, {key: found.get(key) for key in body}) == (name, body)
