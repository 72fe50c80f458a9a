from __future__ import annotations

from typing import Any

import pytest

CLIENT = {"id": "lamp-1234", "name": "Lamp", "type": "web", "redirect_uri": "https://lamp.example/", "product_id": 1000}


@pytest.fixture(autouse=True)
def services(api: Any) -> None:
    api.bus.answers["orgs.list_clients"] = {"clients": [CLIENT]}
    api.bus.answers["orgs.create_client"] = {"client": {**CLIENT, "secret": "s" * 40}, "position": 5}
    api.bus.answers["orgs.change_client"] = {"client": CLIENT, "position": 6}
    api.bus.answers["orgs.delete_client"] = {"position": 7}


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/v1/clients", {"account_id": "1" * 24}),
        ("/v1/products/thermo/clients", {"org_id": "a" * 24, "product_id": 1000}),
        ("/v1/orgs/ours/clients", {"org_id": "a" * 24}),
    ],
)
def test_clients_are_managed_in_three_places(api: Any, path: str, owner: Any) -> None:  # CUS-4
    assert api.get(path).json()["clients"] == [CLIENT]
    assert api.bus.last("list_clients").arguments == {"owner": owner}
    made = api.post(path, json={"name": "Lamp", "type": "web", "redirect_uri": "https://lamp.example/"})
    assert made.json()["client"]["secret"] == "s" * 40
    assert made.headers["cache-control"] == "no-store"
    assert api.bus.last("create_client").arguments["owner"] == owner
    assert api.put(f"{path}/lamp-1234", json={"scope": "none"}).status_code == 200
    assert api.bus.last("change_client").arguments == {"owner": owner, "client_id": "lamp-1234", "scope": "none"}
    assert api.delete(f"{path}/lamp-1234").status_code == 204
    assert api.bus.last("delete_client").arguments == {"owner": owner, "client_id": "lamp-1234"}


def test_the_path_of_2015_makes_a_client_of_the_callers_organization_and_of_no_other(api: Any, world: Any) -> None:
    body = {"name": "Lamp", "type": "installed", "organization": "ours"}
    assert api.post("/v1/clients", json=body).status_code == 200
    assert api.bus.last("create_client").arguments["owner"] == {"org_id": world.OUR_ORG}
    for slug in ("others", "nobody"):
        answer = api.post("/v1/clients", json={**body, "organization": slug})
        assert world.error_of(answer) == (404, "not_found", "Organization not found.")
