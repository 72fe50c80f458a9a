from __future__ import annotations

from typing import Any

import pytest

from services.gateway.entries import ProductEntry

AUDIT = "/v1/orgs/ours/audit"
COMMAND = {
    "id": "6b3c1f9e-0000-4000-8000-000000000001",
    "at": "2026-03-01T12:00:00.000Z",
    "actor": "account:" + "1" * 24,
    "name": "member@example.org",
    "token": None,
    "address": "192.0.2.1",
    "product_id": 1000,
    "what": ["FirmwareReleased"],
    "things": ["version 7"],
    "events": 1,
}


@pytest.fixture(autouse=True)
def answered(api: Any) -> None:
    api.bus.answers["orgs.list_audit"] = {"audit": [COMMAND], "meta": {"per_page": 25, "next": "1-2"}}


def arguments(api: Any) -> Any:
    return api.bus.last("list_audit").arguments


def test_an_administrator_sees_who_did_what(api: Any, world: Any) -> None:
    answer = api.get(AUDIT)
    assert answer.status_code == 200
    assert answer.json() == {"audit": [COMMAND], "meta": {"per_page": 25, "next": "1-2"}}
    assert arguments(api) == {
        "org_id": world.OUR_ORG,
        "product_id": None,
        "actor": None,
        "kind": None,
        "since": None,
        "until": None,
        "after": None,
        "per_page": 25,
    }


def test_what_is_asked_for_is_passed_on(api: Any) -> None:
    query = "?actor=ada@example.com&type=DeviceRemoved&from=2026-01-01T00:00:00Z&to=900&after=1-2&per_page=7"
    assert api.get(AUDIT + query).status_code == 200
    asked = arguments(api)
    assert (asked["actor"], asked["kind"], asked["per_page"]) == ("ada@example.com", "DeviceRemoved", 7)
    assert (asked["since"], asked["until"], asked["after"]) == ("2026-01-01T00:00:00Z", "900", "1-2")


@pytest.mark.parametrize("ref", ["thermo", "1000"])
def test_a_product_is_named_by_slug_or_number(api: Any, ref: str) -> None:
    api.get(f"{AUDIT}?product={ref}")
    assert arguments(api)["product_id"] == 1000


def test_a_product_that_was_removed_is_named_by_its_number(api: Any) -> None:
    api.get(f"{AUDIT}?product=4711")
    assert arguments(api)["product_id"] == 4711


@pytest.mark.parametrize("ref", ["nothing", "70000", "x" * 65, "-1", "²"])
def test_what_is_no_product_is_not_found_or_refused(api: Any, ref: str) -> None:
    assert api.get(f"{AUDIT}?product={ref}").status_code == (400 if len(ref) > 64 else 404)
    assert api.bus.asked == []


def test_another_organizations_product_is_not_found(api: Any, world: Any) -> None:
    theirs = ProductEntry(2000, world.OTHER_ORG, "toaster", "Toaster", "mqtt", 65_535, None)
    api.directory.products |= {"2000": theirs, "toaster": theirs}
    for ref in (theirs.slug, str(theirs.product_id)):
        assert api.get(f"{AUDIT}?product={ref}").status_code == 404
    assert api.bus.asked == []


@pytest.mark.parametrize("query", ["per_page=0", "per_page=101", "type=" + "x" * 65, "after=" + "1" * 49])
def test_what_is_out_of_bounds_is_refused(api: Any, query: str) -> None:
    assert api.get(f"{AUDIT}?{query}").status_code == 400
    assert api.bus.asked == []
