"""Every list as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest

from services.gateway.http import csv_answers
from services.gateway.http.csv_answers import rows_of
from services.gateway.http.routes import ROUTES
from shared.errors import NotFound, Refused, Unavailable

DEVICES = "/v1/products/thermo/devices"
META = {"page": 1, "per_page": 500, "total": 2, "total_exact": True, "total_pages": 1}


def rows(answer: httpx.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.fixture
def fleet(api: Any, world: Any) -> Any:
    """Two devices, on a page each."""
    one = {**world.DEVICE_OBJECT, "name": "=1+1", "groups": ["a", "b"], "firmware_update": None}
    other = {**world.DEVICE_OBJECT, "id": "f" * 24, "name": 'say "hi", é'}
    pages = {None: ([one], "next page"), "next page": ([], "last page"), "last page": ([other], None)}

    def listed(asked: Any) -> dict[str, Any]:
        devices, after = pages[asked["after"]]
        return {"devices": devices, "customers": [], "meta": {**META, "next": after}}

    api.bus.answers["devices.list_devices"] = listed
    return api


def test_all_pages_come_one_after_the_other(fleet: Any):
    one, other = rows(fleet.get(DEVICES, params={"format": "csv", "query": "online"}))
    assert (one["groups"], other["name"], other["id"]) == ("a; b", 'say "hi", é', "f" * 24)
    assert fleet.bus.last("list_devices").arguments["per_page"] == 500
    assert fleet.bus.last("list_devices").arguments["query"] == "online"


def test_no_cell_is_a_formula(fleet: Any):
    assert rows(fleet.get(DEVICES, params={"format": "csv"}))[0]["name"] == "'=1+1"


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("text/csv, */*;q=0.1", True),
        ("text/csv;q=0.5, application/json", False),
        ("application/json;q=0.5, text/csv", True),
        ("text/csv, application/json", True),
        ("application/json, text/csv", False),
        ("text/csv;q=0", False),
        ("text/csv;q=x", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_the_client_says_what_it_likes(fleet: Any, accept: str, is_csv: bool):
    answer = fleet.get(DEVICES, headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("text/csv" if is_csv else "application/json")


def test_a_format_in_the_query_is_what_counts(fleet: Any, world: Any):
    answer = fleet.get(DEVICES, params={"format": "json"}, headers={"Accept": "text/csv"})
    assert answer.json()["devices"]
    assert world.error_of(fleet.get(DEVICES, params={"format": "xml"})) == (
        400,
        "invalid_request",
        "format: Must be json or csv.",
    )


def test_what_is_refused_is_refused_as_ever(api: Any, world: Any):
    assert world.error_of(api.get(DEVICES, params={"format": "csv", "page": "0"}))[:2] == (400, "invalid_request")


def test_a_list_that_breaks_off_is_not_taken_for_a_whole(fleet: Any):
    whole = fleet.bus.answers["devices.list_devices"]

    def broken(asked: Any) -> Any:
        return Unavailable("gone") if asked["after"] == "last page" else whole(asked)

    fleet.bus.answers["devices.list_devices"] = broken
    with pytest.raises(Unavailable):
        fleet.get(DEVICES, params={"format": "csv"})


def test_a_login_that_ends_gets_no_further_page(fleet: Any, world: Any):
    whole = fleet.bus.answers["devices.list_devices"]

    def ended(asked: Any) -> Any:
        fleet.directory.tokens.pop(world.digest(world.MEMBER_TOKEN), None)
        return whole(asked)

    fleet.bus.answers["devices.list_devices"] = ended
    fleet.bus.answers["orgs.find_token"] = NotFound("gone")
    with pytest.raises(Refused):
        fleet.get(DEVICES, params={"format": "csv"})


def test_lists_that_are_on_their_way_are_counted(fleet: Any, world: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(csv_answers, "EXPORTS_PER_LOGIN", 1)
    assert [fleet.get(DEVICES, params={"format": "csv"}).status_code for _ in range(3)] == [200] * 3  # one by one
    monkeypatch.setattr(csv_answers, "EXPORTS_PER_LOGIN", 0)
    code = world.error_of(fleet.get(DEVICES, params={"format": "csv"}))
    assert code == (429, "too_many_requests", "This login has 0 lists as CSV open on this gateway; close one first.")


def test_lists_by_number_go_on_to_the_last_page(api: Any):
    def listed(asked: Any) -> dict[str, Any]:
        problem = {"line": asked["page"], "text": "@x", "code": "malformed", "reason": "r"}
        meta = {"page": asked["page"], "per_page": 500, "total": 3, "total_pages": 3}
        return {"problems": [problem], "meta": meta}

    api.bus.answers["devices.import_problems"] = listed
    found = rows(api.get(f"/v1/products/thermo/imports/{'1' * 24}/problems?format=csv"))
    assert [(row["line"], row["text"]) for row in found] == [("1", "'@x"), ("2", "'@x"), ("3", "'@x")]


def test_lists_without_pages_are_sent_whole(api: Any):
    group = {"name": "a", "description": "", "color": "", "fw_version": None, "device_count": 3}
    api.bus.answers["devices.list_groups"] = {"groups": [group]}
    assert rows(api.get("/v1/products/thermo/groups?format=csv")) == [
        {"name": "a", "description": "", "color": "", "fw_version": "", "device_count": "3"}
    ]


def test_the_head_of_a_list_has_no_rows(fleet: Any):
    answer = fleet.request("HEAD", DEVICES, params={"format": "csv"})
    assert (answer.status_code, answer.content) == (200, b"")


def test_the_lists_of_the_api_have_it():
    found = {route.path for route in ROUTES if rows_of(route) is not None}
    product = "/v1/products/{product}"
    lists = {f"{product}/{name}" for name in ("devices", "customers", "firmware", "groups", "logs", "team", "clients")}
    assert lists | {"/v1/devices", "/v1/orgs/{org}/audit", "/v1/access_tokens"} <= found
    assert not {f"{product}/stats", f"{product}/config", f"{product}/devices/{{device}}", "/v1/user"} & found
