from __future__ import annotations

from typing import Any

import pytest

from shared.errors import NotFound, Refused

ACCESS = {
    "trust_first_key": False,
    "tls_only": True,
    "provisioning": "imported",
    "provisioning_key": None,
    "claim_without_secret": False,
    "firmware_name": "1000",
    "version_width": 5,
}
AUTHORITY = {
    "id": "4" * 24,
    "certificate": "-----BEGIN CERTIFICATE-----",
    "fingerprint": "0" * 64,
    "names_devices": True,
    "subject": "CN=Ours",
    "expires_at": "2036-03-01T12:00:00.000Z",
    "created_at": "2026-03-01T12:00:00.000Z",
}
PATH = "/v1/products/thermo/device_access"
AUTHORITIES = "/v1/orgs/ours/device_authorities"


@pytest.fixture(autouse=True)
def answers(api: Any) -> None:
    api.bus.answers["orgs.get_device_access"] = {"device_access": ACCESS}
    api.bus.answers["orgs.configure_device_access"] = {"device_access": ACCESS, "position": 3}
    api.bus.answers["orgs.issue_provisioning_key"] = {"key": "k", "secret": "s", "position": 4}
    api.bus.answers["orgs.list_device_authorities"] = {"authorities": [AUTHORITY]}
    api.bus.answers["orgs.add_device_authority"] = {"authority": AUTHORITY, "position": 5}
    api.bus.answers["orgs.remove_device_authority"] = {"position": 6}


def test_how_devices_get_in_is_read(api: Any) -> None:
    assert api.get(PATH).json() == {"device_access": ACCESS}
    assert api.bus.last("get_device_access").arguments == {"product_id": 1000}


def test_what_the_body_names_is_changed_and_nothing_else(api: Any) -> None:
    answer = api.put(PATH, json={"tls_only": True, "version_width": 5, "colour": "red"})
    assert answer.json() == {"ok": True, "device_access": ACCESS}
    assert answer.headers["X-Flotilla-Position"] == "3"
    changes = {"tls_only": True, "version_width": 5}
    assert api.bus.last("configure_device_access").arguments == {"product_id": 1000, "changes": changes}


def test_a_form_changes_it_alike(api: Any) -> None:
    assert api.put(PATH, data={"trust_first_key": "true", "firmware_name": "null"}).status_code == 200
    changes = {"trust_first_key": True, "firmware_name": None}
    assert api.bus.last("configure_device_access").arguments["changes"] == changes


@pytest.mark.parametrize("body", [{"tls_only": "maybe"}, {"version_width": 6}, {"firmware_name": "x" * 65}])
def test_what_cannot_be_set_is_refused_with_its_name(api: Any, world: Any, body: dict[str, Any]) -> None:
    status, code, text = world.error_of(api.put(PATH, json=body))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith(f"{next(iter(body))}: ")
    assert api.bus.count("configure_device_access") == 0


def test_a_firmware_name_that_another_product_has_is_refused(api: Any, world: Any) -> None:
    api.bus.answers["orgs.configure_device_access"] = Refused("name_taken", "Another has it.")
    assert world.error_of(api.put(PATH, json={"firmware_name": "lamp"})) == (400, "name_taken", "Another has it.")


def test_a_provisioning_secret_is_shown_once_and_kept_by_nobody_on_the_way(api: Any) -> None:
    answer = api.post(PATH + "/provisioning_key")
    assert (answer.status_code, answer.json()) == (201, {"ok": True, "key": "k", "secret": "s"})
    assert answer.headers["cache-control"] == "no-store"


def test_authorities_are_listed(api: Any, world: Any) -> None:
    assert api.get(AUTHORITIES).json() == {"device_authorities": [AUTHORITY]}
    assert api.bus.last("list_device_authorities").arguments == {"org_id": world.OUR_ORG}


def test_an_authority_is_added(api: Any, world: Any) -> None:
    answer = api.post(AUTHORITIES, json={"certificate": "pem\n"})
    assert (answer.status_code, answer.json()) == (201, {"ok": True, "device_authority": AUTHORITY})
    asked = {"org_id": world.OUR_ORG, "certificate": "pem\n", "names_devices": False}
    assert api.bus.last("add_device_authority").arguments == asked


@pytest.mark.parametrize("body", [{}, {"certificate": ""}, {"certificate": "x" * 16_385}])
def test_an_authority_has_a_certificate_of_16_kib_at_most(api: Any, world: Any, body: dict[str, Any]) -> None:
    assert world.error_of(api.post(AUTHORITIES, json=body))[:2] == (400, "invalid_request")
    assert api.bus.count("add_device_authority") == 0


@pytest.mark.parametrize("code", ["invalid_certificate", "authority_taken", "authority_exists", "too_many_authorities"])
def test_a_refused_authority_says_why(api: Any, world: Any, code: str) -> None:
    api.bus.answers["orgs.add_device_authority"] = Refused(code, "No.")
    assert world.error_of(api.post(AUTHORITIES, json={"certificate": "pem"})) == (400, code, "No.")


def test_an_authority_is_removed(api: Any, world: Any) -> None:
    assert api.delete(f"{AUTHORITIES}/{'4' * 24}").status_code == 204
    assert api.bus.last("remove_device_authority").arguments == {"org_id": world.OUR_ORG, "authority_id": "4" * 24}


def test_an_authority_that_is_not_there_is_not_found(api: Any, world: Any) -> None:
    api.bus.answers["orgs.remove_device_authority"] = NotFound("Device authority not found.")
    assert world.error_of(api.delete(f"{AUTHORITIES}/{'4' * 24}"))[0] == 404
