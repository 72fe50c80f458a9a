from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import Refused

PATH = "/v1/products/thermo"
SHOWN = {"overview": {"summary": None}}
CONFIGURATION = {
    "configuration": SHOWN,
    "product_configuration": SHOWN,
    "unanswered": ["overview.summary"],
    "complete": False,
    "questionnaire": 1,
}


@pytest.fixture(autouse=True)
def services(api: Any, world: Any) -> None:
    api.bus.answers["orgs.get_configuration"] = CONFIGURATION
    api.bus.answers["orgs.answer_configuration"] = {**CONFIGURATION, "position": 4}
    api.bus.answers["orgs.get_questionnaire"] = {"title": "Product configuration"}
    api.bus.answers["orgs.change_product"] = {"product": world.PRODUCT, "position": 5}
    api.bus.answers["orgs.remove_product"] = {"position": 6}


def test_the_configuration_is_shown_and_its_questions_to_whoever_asks_for_a_schema(api: Any) -> None:  # PRD-2
    assert api.get(f"{PATH}/config").json() == {"ok": True, **CONFIGURATION}
    asked = {"Accept": "application/schema+json"}
    assert api.runner.run(api._request("GET", f"{PATH}/config", bearer(asked), {})).json() == {
        "title": "Product configuration"
    }


def bearer(headers: dict[str, str]) -> dict[str, str]:
    return {"Authorization": f"Bearer {'11' * 20}", **headers}


def test_answers_are_passed_on_as_they_are(api: Any) -> None:
    answers = {"customers": {"private_beta": True}, "unknown": {"x": 1}}
    assert api.put(f"{PATH}/config", json=answers).status_code == 200
    assert api.bus.last("answer_configuration").arguments == {"product_id": 1000, "answers": answers}


def test_a_form_has_words_for_values(api: Any) -> None:  # contract 1.4
    form = {
        "customers[private_beta]": "true",
        "overview[expected_units]": "500",
        "overview[summary]": "null",
        "firmware[programming]": "ota_on_setup",
        "access_token": "11" * 20,
    }
    assert api.put(f"{PATH}/config", data=form, token=None).status_code == 200
    assert api.bus.last("answer_configuration").arguments["answers"] == {
        "customers": {"private_beta": True},
        "overview": {"expected_units": 500, "summary": None},
        "firmware": {"programming": "ota_on_setup"},
    }


def test_manufacturing_is_refused_with_what_is_missing(api: Any, world: Any) -> None:  # PRD-2
    api.bus.answers["orgs.start_manufacturing"] = Refused(
        "configuration_incomplete", "Not answered yet.", json.dumps({"unanswered": ["overview.summary"]})
    )
    answer = api.post(f"{PATH}/manufacturing")
    assert world.error_of(answer)[:2] == (400, "configuration_incomplete")
    assert answer.json()["unanswered"] == ["overview.summary"]
    started = {"manufacturing": {"started_at": "2026-03-01T12:00:00.000Z"}, "position": 7}
    api.bus.answers["orgs.start_manufacturing"] = started
    assert api.post(f"{PATH}/manufacturing").status_code == 201


@pytest.mark.parametrize("body", [{"name": "Lantern"}, {"product": {"name": "Lantern"}}])
def test_a_product_is_changed(api: Any, body: Any) -> None:
    assert api.put(PATH, json=body).json()["product"]["latest_firmware_version"] == 7
    assert api.bus.last("change_product").arguments == {"product_id": 1000, "changes": {"name": "Lantern"}}


def test_a_product_is_removed_unless_it_has_devices(api: Any, world: Any) -> None:
    assert api.delete(PATH).status_code == 204
    api.bus.answers["orgs.remove_product"] = Refused("product_not_empty", "The product has 3 devices.")
    assert world.error_of(api.delete(PATH))[:2] == (400, "product_not_empty")


def test_whoever_may_not_create_products_does_not_by_the_short_path_either(api: Any, world: Any) -> None:  # ORG-5
    api.directory.roles[world.MEMBER] = "support"
    api.directory.add_token(world.MEMBER_TOKEN, world.MEMBER, world.OUR_ORG)
    answer = api.post("/v1/user/products", json={"name": "Thermo", "description": "x", "platform_id": 6})
    assert world.error_of(answer)[:2] == (403, "permission_denied")
