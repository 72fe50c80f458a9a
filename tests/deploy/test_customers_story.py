"""A company's customer from signing up to being deleted, on the whole platform in this process: HTTP and a device that
speaks MQTT (CUS-1, CUS-5, CUS-6, PRD-4)."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import paho.mqtt.client as paho
import pytest

from deploy.composition import embedded
from services.gateway.bootstrap import GatewayPart
from shared.settings import Settings

LAMP, SPARE, PASSWORD, JO = "a" * 24, "b" * 24, "correct horse", "jo@example.com"
PATIENCE_S = 15.0


@dataclass
class Company:
    """A product in private beta with two devices, and the company's program for browsers."""

    api: httpx.Client
    gateway: GatewayPart
    team: str
    product: int
    client: dict[str, Any]

    def call(self, method: str, path: str, token: str | None, **options: Any) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.api.request(method, path, headers=headers, **options)

    def device_token(self, device_id: str) -> str:
        path = f"/v1/products/{self.product}/devices/{device_id}/token"
        return str(self.call("POST", path, self.team).json()["token"])

    def sign_up(self, email: str) -> str:
        form = {"email": email, "password": PASSWORD, "client_id": self.client["id"], "response_type": "token"}
        answer = self.api.post(f"/v1/products/{self.product}/customers", data=form)
        assert answer.status_code == 302, answer.text
        return parse_qs(urlsplit(answer.headers["location"]).fragment)["access_token"][0]

    def show(self, device_token: str, claim_code: str) -> None:
        """The device connects and shows the code, until the gateway has taken it."""
        taken, joined = threading.Event(), threading.Event()
        mqtt = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        mqtt.username_pw_set(device_token)
        mqtt.on_connect = lambda *_: joined.set()
        mqtt.on_publish = lambda *_: taken.set()
        mqtt.connect("127.0.0.1", self.gateway.port("mqtt"))
        mqtt.loop_start()
        assert joined.wait(PATIENCE_S)
        mqtt.publish("v1/devices/me/claim", f'{{"secretKey": "{claim_code}"}}', qos=1)
        assert taken.wait(PATIENCE_S)
        mqtt.disconnect()
        mqtt.loop_stop()


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    ports = {"http_port": 0, "mqtt_port": 0, "particle_tcp_port": 0, "particle_udp_port": 0}
    settings = Settings.load({}, data=tmp_path, payments="off:", workers=2, **ports)
    runtime, gateway = embedded(settings)
    runtime.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{gateway.http_port}", timeout=PATIENCE_S) as api:
            yield founded(api, gateway)
    finally:
        runtime.stop()


def founded(api: httpx.Client, gateway: GatewayPart) -> Company:
    api.post("/v1/users", json={"username": "ada@example.com", "password": PASSWORD})
    login = {"grant_type": "password", "username": "ada@example.com", "password": PASSWORD}
    grant = api.post("/oauth/token", data={**login, "client_id": "particle", "client_secret": "particle"}).json()
    acme = Company(api, gateway, grant["access_token"], 0, {})
    org = acme.call("POST", "/v1/orgs", acme.team, json={"name": "Acme"}).json()["organization"]
    lamp = {"name": "Lamp", "description": "Shines", "device_type": "mqtt"}
    made = acme.call("POST", f"/v1/orgs/{org['slug']}/products", acme.team, json=lamp).json()
    acme.product = made["product"]["id"]
    path = f"/v1/products/{acme.product}"
    acme.call("PUT", f"{path}/config", acme.team, json={"customers": {"private_beta": True}}).raise_for_status()
    app = {"name": "Lamp app", "type": "web", "redirect_uri": "https://lamp.example/"}
    acme.client = acme.call("POST", f"{path}/clients", acme.team, json=app).json()["client"]
    for device_id in (LAMP, SPARE):
        acme.call("POST", f"{path}/devices", acme.team, json={"id": device_id}).raise_for_status()
    return acme


def test_from_signing_up_to_a_device_that_is_ones_own_and_to_the_end(company: Company) -> None:
    path = f"/v1/products/{company.product}"
    invited = company.call("POST", f"{path}/activation_codes", company.team, json={"customers": [JO.upper()]}).json()
    code = invited["activation_codes"][0]["code"]
    customer = company.sign_up(JO)
    refused = company.call("POST", f"{path}/device_claims", customer, json={})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_activation_code")
    claim = company.call("POST", f"{path}/device_claims", customer, json={"activation_code": code}).json()["claim_code"]
    spare = company.call("POST", f"{path}/device_claims", customer, json={"activation_code": code}).json()["claim_code"]

    company.show(company.device_token(LAMP), claim)
    (mine,) = until(lambda: company.call("GET", "/v1/devices", customer).json())
    assert (mine["id"], mine["owner"]) == (LAMP, JO)
    assert company.call("PUT", f"/v1/devices/{LAMP}", customer, json={"name": "desk"}).json()["name"] == "desk"
    assert company.call("GET", f"/v1/devices/{SPARE}", customer).status_code == 403

    until(lambda: is_used(company, path))
    company.show(company.device_token(SPARE), spare)  # in vain: the activation code is used up
    company.sign_up("kay@example.com")
    page = until(lambda: whole_page(company, path))
    shown = {one["username"]: (one["devices"], one.get("activation_code")) for one in page["customers"]}
    assert shown == {JO: ([LAMP], code), "kay@example.com": ([], None)}
    assert [device["id"] for device in page["devices"]] == [LAMP]
    seen = company.call("GET", f"{path}/devices/{LAMP}", company.team).json()
    assert (seen["owner"], "user_id" in seen) == (JO, False)
    listed = company.call("GET", f"{path}/devices", company.team).json()["customers"]
    assert [(one["username"], one["activation_code"]) for one in listed] == [(JO, code)]

    assert company.call("DELETE", f"{path}/customers/{JO}", company.team).json() == {"ok": True}
    assert company.call("GET", "/v1/devices", customer).status_code == 401
    until(lambda: company.call("GET", f"{path}/devices/{LAMP}", company.team).json()["owner"] is None)
    assert company.call("GET", f"{path}/devices/{SPARE}", company.team).json()["owner"] is None


def test_a_device_goes_to_another_customer_by_its_owners_word(company: Company, tmp_path: Path) -> None:  # CUS-5, CUS-7
    path, kay = f"/v1/products/{company.product}", "kay@example.com"
    company.call("PUT", f"{path}/config", company.team, json={"customers": {"private_beta": False}}).raise_for_status()
    tokens = {email: company.sign_up(email) for email in (JO, kay)}
    claim = company.call("POST", f"{path}/device_claims", tokens[JO], json={}).json()["claim_code"]
    company.show(company.device_token(LAMP), claim)
    until(lambda: company.call("GET", "/v1/devices", tokens[JO]).json())
    assert company.call("POST", "/v1/devices", tokens[kay], json={"id": LAMP}).status_code == 403
    wish = {"id": LAMP, "request_transfer": True}
    asked = [company.call("POST", "/v1/devices", tokens[kay], json=wish).json() for _ in range(2)]
    assert asked[0] == asked[1] == {"ok": True, "transfer_id": asked[0]["transfer_id"]}
    link = until(lambda: link_mailed(tmp_path, JO))
    assert kay in company.api.get(link).text
    shown = company.api.post("/transfer", data={"token": link.partition("token=")[2], "decision": "accept"})
    assert f"belongs to {kay}" in shown.text
    (moved,) = until(lambda: company.call("GET", "/v1/devices", tokens[kay]).json())
    assert (moved["id"], moved["owner"]) == (LAMP, kay)
    assert company.call("GET", "/v1/devices", tokens[JO]).json() == []
    assert company.call("GET", f"/v1/devices/{LAMP}", tokens[JO]).status_code == 403
    assert company.call("GET", f"{path}/devices/{LAMP}", company.team).json()["owner"] == kay
    why = company.call("GET", f"{path}/devices/{LAMP}/why", company.team).json()
    (owner,) = [aspect for aspect in why["aspects"] if aspect["aspect"] == "owner"]
    assert [one["type"] for one in owner["chain"]][-3:] == ["TransferAccepted", "DeviceUnclaimed", "DeviceClaimed"]
    audit = until(lambda: audited(company))
    assert [(one["name"], one["things"]) for one in audit] == [(kay, [f"device {LAMP}"]), (JO, [f"device {LAMP}"])]


def link_mailed(data: Path, email: str) -> str | None:
    """The link by which this person hands a device over."""
    letters = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in data.glob("mail/*.eml")]
    texts = [one.get_body(("plain",)).get_content() for one in letters if one["To"] == email]
    found = [re.search(r"/transfer\?token=[0-9a-f.]{65}", text) for text in texts]
    return next((one[0] for one in found if one), None)


def audited(company: Company) -> Any:
    rows = company.call("GET", "/v1/orgs/acme/audit", company.team).json()["audit"]
    asked = [row for row in rows if row["what"] and row["what"][0].startswith("Transfer")]
    return asked[::-1] if len(asked) == 2 else None


def is_used(company: Company, path: str) -> bool:
    codes = company.call("GET", f"{path}/activation_codes", company.team).json()["activation_codes"]
    return bool(codes[0]["used"])


def whole_page(company: Company, path: str) -> Any:
    page = company.call("GET", f"{path}/customers", company.team).json()
    return page if len(page["customers"]) == 2 and page["devices"] else None


def until(ask: Any) -> Any:
    """The first answer that says anything."""
    pause = threading.Event()
    for _ in range(300):
        answer = ask()
        if answer:
            return answer
        pause.wait(0.05)
    raise AssertionError("it did not come")
