"""Timelines of the examples, lived with the sandbox over HTTP: what test_charging does with a provider in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import httpx

from services.billing.sandbox_provider import SandboxProvider
from services.billing.subscriptions import Command, StartSubscription
from shared.events.billing import Card
from tests.billing.fault_proxy import Fault, FaultProxy
from tests.billing.test_charging import Charged, lived
from tests.billing.timelines import ORG

NUMBERS = {"ok": "4242424242424242", "declines": "4000000000000341", "needs_authentication": "4000002500003155"}
KEY = ("sk_test_12345", "")
READ_S = 0.5
"""The adapter waits for an answer so long here; what is delayed is later."""


class SandboxOverHttp:
    """The sandbox behind the proxy, as ``Charged`` wants a provider; ``direct`` is the way around the proxy, which a
    browser and the tests take."""

    def __init__(self, direct: str, proxy: FaultProxy, through: str) -> None:
        self._http = httpx.Client(base_url=direct, auth=KEY)
        self.proxy = proxy
        real = SandboxProvider("sk_test_12345", url=through, retries=0, timeouts_s=(2.0, READ_S))
        self.prepare, self.execute = real.prepare, real.execute
        self.inspect, self.abandon = real.inspect, real.abandon

    def begin(self, faults: Mapping[int, Fault]) -> None:
        """With an empty sandbox and one customer."""
        self._http.delete("/_config/data").raise_for_status()
        self.proxy.reset(faults)
        self.customer_ref = str(self._post("/v1/customers", {"metadata[org_id]": ORG})["id"])

    def save_card(self, kind: str) -> str:
        """Its name."""
        form = {"number": NUMBERS[kind], "exp_month": "12", "exp_year": "2099", "cvc": "123"}
        made = self._post("/v1/payment_methods", {"type": "card", **{f"card[{name}]": form[name] for name in form}})
        self._post(f"/v1/payment_methods/{made['id']}/attach", {"customer": self.customer_ref})
        return str(made["id"])

    def confirmed_by_member(self, provider_ref: str) -> None:
        """What the provider's script does in a browser, once."""
        intent = self._http.get(f"/v1/payment_intents/{provider_ref}").json()
        if intent["status"] != "requires_confirmation":
            return
        confirmed = self._post(f"/v1/payment_intents/{provider_ref}/confirm", {})
        if confirmed["status"] == "requires_action":
            form = {"client_secret": confirmed["client_secret"], "success": "true"}
            self._post(f"/v1/payment_intents/{provider_ref}/_authenticate", form)

    def moved(self) -> list[tuple[int, int]]:
        """Invoice and cents of all money that moved."""
        listed = self._http.get("/v1/payment_intents", params={"limit": "1000"}).json()["data"]
        succeeded = [intent for intent in listed if intent["status"] == "succeeded"]
        return [(int(intent["metadata"]["invoice"]), intent["amount"]) for intent in succeeded]

    def _post(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        answer = self._http.post(path, data=form)
        answer.raise_for_status()
        return cast(dict[str, Any], answer.json())

    def close(self) -> None:
        self._http.close()


class ChargedOverHttp(Charged):
    """A timeline whose customer and cards are the sandbox's."""

    provider: Any

    def _command(self, step: dict[str, Any], at: Any) -> Command:
        command = super()._command(step, at)
        if isinstance(command, StartSubscription):
            return replace(command, customer_ref=self.provider.customer_ref)
        return command

    def _card(self, kind: str) -> Card:
        return Card(self.provider.save_card(kind), "visa", NUMBERS[kind][-4:], 12, 2099, kind)


def lived_over_http(vector: dict[str, Any], sandbox: SandboxOverHttp, faults: Mapping[int, Fault]) -> ChargedOverHttp:
    sandbox.begin(faults)
    return cast(ChargedOverHttp, lived(vector, cast(Any, sandbox), ChargedOverHttp))
