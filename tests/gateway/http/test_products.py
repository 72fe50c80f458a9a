from __future__ import annotations

from typing import Any

import pytest

from shared.errors import Refused

FIELDS = {"name": "Thermo", "description": "measures", "platform_id": 6}
ASKED = {**FIELDS, "device_type": None, "type": None, "hardware_version": None}


@pytest.fixture(autouse=True)
def answers(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_product"] = {"product": world.PRODUCT, "position": 3}
    api.bus.answers["orgs.list_products"] = {"products": [world.PRODUCT]}
    api.bus.answers["orgs.get_product"] = {"product": world.PRODUCT}
    api.bus.answers["orgs.get_organization"] = {"organization": world.ORGANIZATION}
    api.bus.answers["orgs.create_organization"] = {"organization": world.ORGANIZATION, "position": 2}


def test_an_organization_is_founded(api: Any, world: Any) -> None:
    body = {"name": "Ours", "slug": "ours", "plan": "yearly"}
    answer = api.post("/v1/orgs", json=body, token=world.LONER_TOKEN)
    assert answer.status_code == 201
    assert answer.json() == {"ok": True, "organization": world.ORGANIZATION}
    assert api.bus.last("create_organization").arguments == {"account_id": world.LONER, **body}


def test_a_refused_organization_says_why(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_organization"] = Refused("slug_taken", "The slug ours is taken.")
    answer = api.post("/v1/orgs", json={"name": "Ours", "slug": "ours"})
    assert world.error_of(answer) == (400, "slug_taken", "The slug ours is taken.")


def test_the_callers_organization_is_listed(api: Any, world: Any) -> None:
    assert api.get("/v1/orgs").json() == {"ok": True, "organizations": [world.ORGANIZATION]}
    assert api.get("/v1/orgs", token=world.LONER_TOKEN).json() == {"ok": True, "organizations": []}


@pytest.mark.parametrize("ref", ["ours", "a" * 24])
def test_an_organization_is_found_by_slug_or_id(api: Any, world: Any, ref: str) -> None:
    assert api.get(f"/v1/orgs/{ref}").json()["organization"] == world.ORGANIZATION
    assert api.bus.last("get_organization").arguments == {"org_id": world.OUR_ORG}


@pytest.mark.parametrize("body", [FIELDS, {"product": FIELDS}, {"product": {**FIELDS, "settings": {}}}])
@pytest.mark.parametrize("path", ["/v1/orgs/ours/products", "/v1/user/products"])
def test_a_product_is_created_from_flat_or_wrapped_fields(api: Any, world: Any, path: str, body: Any) -> None:
    answer = api.post(path, json=body)
    assert answer.status_code == 201
    assert answer.json() == {"ok": True, "product": world.PRODUCT}
    assert api.bus.last("create_product").arguments == {"org_id": world.OUR_ORG, **ASKED}


def test_a_product_is_created_from_a_form(api: Any) -> None:
    form = {"product[name]": "Thermo", "product[description]": "measures", "product[platform_id]": "6"}
    assert api.post("/v1/user/products", data=form).status_code == 201
    assert api.bus.last("create_product").arguments["platform_id"] == 6


@pytest.mark.parametrize("name", ["name", "description"])
def test_a_product_needs_name_and_description(api: Any, world: Any, name: str) -> None:
    body = {key: value for key, value in FIELDS.items() if key != name}
    status, code, text = world.error_of(api.post("/v1/user/products", json=body))
    assert (status, code) == (400, "invalid_request")
    assert text.startswith(f"{name}: ")


@pytest.mark.parametrize("code", ["unsupported_platform", "name_taken"])
def test_a_refused_product_says_why(api: Any, world: Any, code: str) -> None:
    api.bus.answers["orgs.create_product"] = Refused(code, "No.")
    assert world.error_of(api.post("/v1/user/products", json=FIELDS)) == (400, code, "No.")


def test_without_an_organization_there_is_nowhere_to_put_a_product(api: Any, world: Any) -> None:
    answer = api.post("/v1/user/products", json=FIELDS, token=world.LONER_TOKEN)
    assert world.error_of(answer)[:2] == (400, "organization_required")


@pytest.mark.parametrize("path", ["/v1/products", "/v1/user/products", "/v1/orgs/ours/products"])
def test_products_are_listed_with_what_is_released(api: Any, world: Any, path: str) -> None:
    products = api.get(path).json()["products"]
    assert products == [{**world.PRODUCT, "latest_firmware_version": 7}]


def test_without_an_organization_the_list_is_empty(api: Any, world: Any) -> None:
    assert api.get("/v1/products", token=world.LONER_TOKEN).json() == {"products": []}


@pytest.mark.parametrize("ref", ["1000", "thermo", "thermo/"])
def test_a_product_is_an_object_found_by_number_or_slug(api: Any, world: Any, ref: str) -> None:
    answer = api.get(f"/v1/products/{ref}").json()
    assert answer == {"product": {**world.PRODUCT, "latest_firmware_version": 7}}
    assert api.bus.last("get_product").arguments == {"product_id": 1000}


def test_a_product_that_does_not_exist_is_not_found_in_its_own_words(api: Any, world: Any) -> None:
    expected = (404, "Product not found.", "Product not found.")
    assert world.error_of(api.get("/v1/products/9999")) == expected
    assert world.error_of(api.get("/v1/products/" + "9" * 3_000)) == expected


def test_statistics_have_the_whole_shape_of_the_contract(api: Any) -> None:
    counted = {
        "devices": {"total": 3, "online": 1, "quarantined": 0, "development": 1},
        "firmware": [{"version": 7, "device_count": 2}],
        "usage": [{"day": "2030-01-01", "events": 3, "calls": 1}],
        "errors": [{"kind": "reset/panic", "version": 7, "day": "2030-01-01", "count": 2}],
    }
    api.bus.answers["devices.statistics"] = {**counted, "customers": {"with_device": 2, "active": 1}}
    api.bus.answers["orgs.count_customers"] = {"total": 5}
    assert api.get("/v1/products/thermo/stats").json() == {
        **counted,
        "customers": {"total": 5, "with_device": 2, "active": 1},
    }
