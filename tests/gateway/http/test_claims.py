from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.errors import Refused

DEVICE = "0123456789abcdef01234567"
CODE = {"claim_code": "c" * 64, "device_ids": [DEVICE], "position": 3}


def test_anybody_with_an_account_gets_a_claim_code(api: Any, world: Any) -> None:  # contract 11.2
    api.bus.answers["devices.issue_claim_code"] = CODE
    answer = api.post("/v1/device_claims", json={}, token=world.LONER_TOKEN)
    assert answer.json() == {"claim_code": "c" * 64, "device_ids": [DEVICE]}
    assert answer.headers["Cache-Control"] == "no-store"
    assert api.bus.last("issue_claim_code").arguments == {
        "account_id": world.LONER,
        "customer_id": None,
        "product_id": None,
        "activation_code": None,
        "code": None,
    }


@pytest.mark.parametrize("body", [{"iccid": "8944501234567890123"}, {"imei": "490154203237518"}])
def test_the_number_of_a_sim_or_modem_is_the_code(api: Any, body: Any) -> None:
    api.bus.answers["devices.issue_claim_code"] = CODE
    api.post("/v1/device_claims", json=body)
    assert api.bus.last("issue_claim_code").arguments["code"] == next(iter(body.values()))


@pytest.mark.parametrize("body", [{"iccid": "123"}, {"imei": "49015420323751x"}, {"iccid": "9" * 23}])
def test_what_is_no_such_number_is_no_code(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.post("/v1/device_claims", json=body))[:2] == (400, "invalid_request")


def test_a_code_of_somebody_else_is_refused(api: Any, world: Any) -> None:
    api.bus.answers["devices.issue_claim_code"] = Refused("code_taken", "somebody else has made this a claim code")
    answer = api.post("/v1/device_claims", json={"imei": "490154203237518"})
    assert world.error_of(answer)[:2] == (400, "code_taken")


def test_the_team_takes_a_device_from_its_owner(api: Any) -> None:  # contract 7.2
    api.bus.answers["devices.unclaim"] = {"position": 4}
    assert api.delete(f"/v1/products/thermo/devices/{DEVICE}/owner").json() == {"ok": True}
    assert api.bus.last("unclaim").arguments == {"product_id": 1000, "device_id": DEVICE}


def test_the_owner_gives_a_device_up(api: Any, world: Any) -> None:  # contract 8
    api.bus.answers["devices.unclaim"] = {"position": 4}
    refused = api.delete(f"/v1/devices/{DEVICE}", token=world.LONER_TOKEN)
    assert world.error_of(refused)[:2] == (403, "Permission Denied")
    api.directory.devices[DEVICE] = replace(api.directory.devices[DEVICE], owner_id=world.LONER)
    assert api.delete(f"/v1/devices/{DEVICE}", token=world.LONER_TOKEN).json() == {"ok": True}
    assert api.bus.last("unclaim").arguments == {"product_id": 1000, "device_id": DEVICE}
