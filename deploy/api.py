"""A small client of the HTTP API for the command line, the demo and the tests: one method a call, errors as told."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, BinaryIO, Self

import httpx
import msgspec

from shared.errors import FlotillaError, Refused, Unavailable

UPLOAD_S = 900.0
DRY_RUN_S = 150.0
WATCH_PAUSE_S = 0.5
WATCH_AGAIN_S = 60.0
"""How long what is watched goes on although its platform is silent."""
TEST_CARD = "4242424242424242"
"""Of the sandbox: can be saved and charged."""
PROVIDER_S = 30.0
INVOICES_A_PAGE = 100
OVER = ("completed", "cancelled", "rolled_back")
"""States of a roll-out that no other follows by itself."""


class ApiError(FlotillaError):
    """The platform refused. ``code`` and the sentence are the body's ``error`` and ``error_description``."""

    def __init__(self, status: int, code: str, description: str) -> None:
        super().__init__(str(status), code, description)
        self.status = status
        self.code = code
        self.description = description

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.description}"


class Api:
    """Calls one gateway; ``log_in`` makes the calls behind it those of an account."""

    def __init__(
        self, url: str, *, timeout_s: float = 30.0, token: str | None = None, client: httpx.Client | None = None
    ) -> None:
        self._client = client or httpx.Client(base_url=url, timeout=timeout_s, trust_env=False)
        if token:
            self._client.headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def like(cls, other: Api, url: str) -> Api:
        """The same caller at another gateway."""
        made = cls(url)
        made._client.headers = other._client.headers
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the connections."""
        self._client.close()

    def call(self, method: str, path: str, **options: Any) -> Any:
        """One call; the decoded body. Raises ``ApiError``."""
        response = self._client.request(method, path, **options)
        if response.status_code >= 400:
            raise _error(response)
        return response.json() if response.content else {}

    def sign_up(self, username: str, password: str) -> None:
        """Create an account (ACC-1)."""
        self.call("POST", "/v1/users", json={"username": username, "password": password})

    def log_in(self, username: str, password: str) -> str:
        """Get an access token and use it from now on (ACC-2)."""
        form = {
            "grant_type": "password",
            "username": username,
            "password": password,
            "client_id": "particle",
            "client_secret": "particle",
        }
        token: str = self.call("POST", "/oauth/token", data=form)["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"
        return token

    def create_organization(self, name: str, slug: str, card: str = TEST_CARD) -> dict[str, Any]:
        """ORG-1. Where organizations are billed, a draft comes first, with a test ``card`` of the sandbox; a real one
        can only be given to the payment provider's own form. Raises ``ApiError``, ``Refused``."""
        wanted = {"name": name, "slug": slug}
        try:
            return self._organization(wanted)
        except ApiError as refused:
            if refused.code != "card_required":
                raise
        draft = self.call("POST", "/v1/orgs/drafts", json={})
        setup_id = finish_card_setup(draft["card_setup"], card)
        return self._organization({**wanted, "draft_id": draft["draft_id"], "setup_id": setup_id})

    def _organization(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        organization: dict[str, Any] = self.call("POST", "/v1/orgs", json=dict(wanted))["organization"]
        return organization

    def billing(self, org: str) -> dict[str, Any]:
        """How the subscription of an organization stands (BIL-1)."""
        summary: dict[str, Any] = self.call("GET", f"/v1/orgs/{org}/billing")
        return summary

    def invoices(self, org: str) -> list[dict[str, Any]]:
        """All of its invoices, the latest first."""
        found: list[dict[str, Any]] = []
        for number in itertools.count(1):
            query = {"page": number, "per_page": INVOICES_A_PAGE}
            page = self.call("GET", f"/v1/orgs/{org}/billing/invoices", params=query)
            found += page["invoices"]
            if number >= page["meta"]["total_pages"]:
                break
        return found

    def replace_card(self, org: str, card: str = TEST_CARD) -> dict[str, Any]:
        """With a test card of the sandbox (BIL-6); the summary."""
        setup_id = finish_card_setup(
            self.call("POST", f"/v1/orgs/{org}/billing/card/setup", json={})["card_setup"], card
        )
        summary: dict[str, Any] = self.call("PUT", f"/v1/orgs/{org}/billing/card", json={"setup_id": setup_id})
        return summary

    def switch_plan(self, org: str, plan: str) -> dict[str, Any]:
        """``monthly`` or ``yearly`` (BIL-2); the summary."""
        summary: dict[str, Any] = self.call("POST", f"/v1/orgs/{org}/billing/plan", json={"plan": plan})
        return summary

    def cancel_subscription(self, org: str) -> dict[str, Any]:
        """BIL-4; the summary with ``ends_at``."""
        summary: dict[str, Any] = self.call("POST", f"/v1/orgs/{org}/billing/cancel")
        return summary

    def reactivate(self, org: str, card: str | None = None) -> dict[str, Any]:
        """BIL-5; with a test card of the sandbox where it is inactive. The summary, which is not ``active`` yet while
        the provider has not said whether it is paid."""
        body = {}
        if card is not None:
            setup = self.call("POST", f"/v1/orgs/{org}/billing/card/setup", json={})["card_setup"]
            body = {"setup_id": finish_card_setup(setup, card)}
        summary: dict[str, Any] = self.call("POST", f"/v1/orgs/{org}/billing/reactivate", json=body)
        return summary

    def create_product(self, org: str, name: str, description: str, device_type: str = "mqtt") -> dict[str, Any]:
        """PRD-1."""
        body = {"product": {"name": name, "description": description, "device_type": device_type}}
        product: dict[str, Any] = self.call("POST", f"/v1/orgs/{org}/products", json=body)["product"]
        return product

    def import_devices(self, product: int, file: bytes, *, force: bool = False) -> dict[str, Any]:
        """DEV-1, at most 10,000 lines; the report."""
        report: dict[str, Any] = self.call(
            "POST",
            f"/v1/products/{product}/devices",
            files={"file": ("devices.txt", file, "text/plain")},
            data={"force": "true"} if force else {},
        )
        return report

    def start_import(self, product: int, file: bytes | BinaryIO, *, force: bool = False) -> dict[str, Any]:
        """DEV-1 for long files, which are streamed; the job."""
        started: dict[str, Any] = self.call(
            "POST",
            f"/v1/products/{product}/imports",
            files={"file": ("devices.txt", file, "text/plain")},
            data={"force": "true"} if force else {},
            timeout=UPLOAD_S,
        )["import"]
        return started

    def imports(self, product: int, count: int) -> list[dict[str, Any]]:
        """The newest jobs of a product."""
        path = f"/v1/products/{product}/imports"
        found: list[dict[str, Any]] = self.call("GET", path, params={"per_page": count})["imports"]
        return found

    def cancel_import(self, product: int, import_id: str) -> dict[str, Any]:
        """What was done stays; the job as it is then."""
        job: dict[str, Any] = self.call("DELETE", f"/v1/products/{product}/imports/{import_id}")["import"]
        return job

    def import_progress(self, product: int, import_id: str) -> Iterator[dict[str, Any]]:
        """A job whenever it moved, until its end, also over a restart of the platform. Raises ``ApiError``, and
        ``Unavailable`` after ``WATCH_AGAIN_S`` without an answer."""
        return self._watched(f"/v1/products/{product}/imports/{import_id}/events", lambda state: state != "progress")

    def act_on_devices(self, product: int, action: str, device_ids: list[str], **options: Any) -> dict[str, Any]:
        """One action on up to 1,000 devices; each one's outcome."""
        body = {"action": action, "devices": device_ids, **options}
        answer: dict[str, Any] = self.call("POST", f"/v1/products/{product}/devices/actions", json=body)
        return answer

    def import_state(self, product: int, import_id: str) -> dict[str, Any]:
        """How far a job is."""
        state: dict[str, Any] = self.call("GET", f"/v1/products/{product}/imports/{import_id}")["import"]
        return state

    def import_problems(self, product: int, import_id: str) -> Iterator[dict[str, Any]]:
        """The refused lines of a job, page by page."""
        page = 1
        while True:
            path = f"/v1/products/{product}/imports/{import_id}/problems"
            answer = self.call("GET", path, params={"page": page, "per_page": 1_000})
            yield from answer["problems"]
            if page >= answer["meta"]["total_pages"]:
                return
            page += 1

    def device_tokens(self, product: int, device_ids: list[str]) -> dict[str, str]:
        """Fresh tokens for devices, by device ID; earlier ones stop working."""
        tokens: dict[str, str] = {}
        for start in range(0, len(device_ids), 1_000):
            body = {"device_ids": device_ids[start : start + 1_000]}
            answer = self.call("POST", f"/v1/products/{product}/devices/tokens", json=body)
            tokens.update({entry["id"]: entry["token"] for entry in answer["tokens"]})
        return tokens

    def product(self, product: int) -> dict[str, Any]:
        """One product."""
        found: dict[str, Any] = self.call("GET", f"/v1/products/{product}")["product"]
        return found

    def trusts_first_key(self, product: int) -> bool:
        """Whether devices of a product that have no key on record are let in with the one that they show."""
        access = self.call("GET", f"/v1/products/{product}/device_access")["device_access"]
        return bool(access["trust_first_key"])

    def set_device_key(self, product: int, device_id: str, public_key: str) -> None:
        """The public key (PEM) that a device proves itself with; its old one ends."""
        self.call("PUT", f"/v1/products/{product}/devices/{device_id}/key", json={"public_key": public_key})

    def devices(self, product: int, **filters: Any) -> list[dict[str, Any]]:
        """All devices of a product that pass the filters, page by page."""
        found: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            query = {"per_page": 500, "sortAttr": "deviceId", "sortDir": "asc", **filters}
            page = self.call(
                "GET", f"/v1/products/{product}/devices", params=query | ({"after": after} if after else {})
            )
            found += page["devices"]
            after = page["meta"].get("next")
            if not after:
                return found

    def update_device(self, product: int, device_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Lock, flash, unlock, mark, name, group."""
        answer: dict[str, Any] = self.call("PUT", f"/v1/products/{product}/devices/{device_id}", json=dict(changes))
        return answer

    def call_function(self, product: int, device_id: str, function: str, argument: str) -> int:
        """What a function of a connected device returns."""
        path = f"/v1/products/{product}/devices/{device_id}/{function}"
        returned: int = self.call("POST", path, json={"arg": argument})["return_value"]
        return returned

    def read_variable(self, product: int, device_id: str, variable: str) -> Any:
        """The value of a variable of a connected device."""
        return self.call("GET", f"/v1/products/{product}/devices/{device_id}/{variable}")["result"]

    def upload_firmware(self, product: int, version: int, title: str, image: bytes) -> dict[str, Any]:
        """FW-1."""
        firmware: dict[str, Any] = self.call(
            "POST",
            f"/v1/products/{product}/firmware",
            data={"version": str(version), "title": title, "description": f"{len(image)} bytes"},
            files={"file": ("firmware.bin", image, "application/octet-stream")},
        )
        return firmware

    def send_firmware(
        self, product: int, fields: Mapping[str, str], file: tuple[str, BinaryIO], signature: bytes | None = None
    ) -> dict[str, Any]:
        """FW-1, streamed: ``file`` is its name and what is read; with its detached signature, if it has one."""
        files = {"file": (*file, "application/octet-stream")}
        signed = {"signature": ("signature", signature, "application/octet-stream")} if signature else {}
        path = f"/v1/products/{product}/firmware"
        firmware: dict[str, Any] = self.call("POST", path, data=dict(fields), files={**signed, **files})
        return firmware

    def firmware_version(self, product: int, version: int) -> dict[str, Any]:
        """FW-2."""
        firmware: dict[str, Any] = self.call("GET", f"/v1/products/{product}/firmware/{version}")
        return firmware

    @contextmanager
    def firmware_binary(
        self, product: int, version: int, sha256: str, start: int
    ) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The file of a version from byte ``start`` on, if it is still the one of this digest, else all of it: where
        what comes begins, and the pieces. Raises ``ApiError``, and errors of httpx on the way."""
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{sha256}"'} if start else {}
        path = f"/v1/products/{product}/firmware/{version}/binary"
        with self._client.stream("GET", path, headers=headers) as response:
            if response.status_code >= 400:
                response.read()
                raise _error(response)
            yield start if response.status_code == 206 else 0, response.iter_raw()

    def signing(self, product: int) -> dict[str, Any]:
        """Who signs a product's firmware, and whether it must be signed."""
        signing: dict[str, Any] = self.call("GET", f"/v1/products/{product}/signing")
        return signing

    def release(
        self, product: int, version: int, *, groups: list[str] | None = None, intelligent: bool = False
    ) -> dict[str, Any]:
        """FW-4; None: to all."""
        to: dict[str, Any] = {"product_default": True} if groups is None else {"groups": groups}
        body = {"version": version, **to, "intelligent": intelligent}
        firmware: dict[str, Any] = self.call("PUT", f"/v1/products/{product}/firmware/release", json=body)
        return firmware

    def firmware(self, product: int) -> list[dict[str, Any]]:
        """FW-2."""
        versions: list[dict[str, Any]] = self.call("GET", f"/v1/products/{product}/firmware")
        return versions

    def statistics(self, product: int) -> dict[str, Any]:
        """The counters of the fleet."""
        counters: dict[str, Any] = self.call("GET", f"/v1/products/{product}/stats")
        return counters

    def dry_run(self, product: int, plan: Mapping[str, Any]) -> dict[str, Any]:
        """FW-6: how far each stage of a plan goes."""
        path = f"/v1/products/{product}/rollouts/dry-run"
        found: dict[str, Any] = self.call("POST", path, json=dict(plan), timeout=DRY_RUN_S)
        return found

    def dry_run_as_csv(self, product: int, plan: Mapping[str, Any]) -> Iterator[bytes]:
        """Every device and what it would do."""
        return self._csv("POST", f"/v1/products/{product}/rollouts/dry-run", json=dict(plan))

    def plan_rollout(self, product: int, plan: Mapping[str, Any]) -> dict[str, Any]:
        """With ``start`` approved, too."""
        rollout: dict[str, Any] = self.call("POST", f"/v1/products/{product}/rollouts", json=dict(plan))["rollout"]
        return rollout

    def rollouts(self, product: int) -> list[dict[str, Any]]:
        """The newest first."""
        found: list[dict[str, Any]] = self.call("GET", f"/v1/products/{product}/rollouts")["rollouts"]
        return found

    def rollout(self, product: int, rollout_id: str) -> dict[str, Any]:
        """How one stands."""
        found: dict[str, Any] = self.call("GET", f"/v1/products/{product}/rollouts/{rollout_id}")["rollout"]
        return found

    def decide_rollout(self, product: int, rollout_id: str, word: str, reason: str = "") -> dict[str, Any]:
        """``approve``, ``pause``, ``resume``, ``cancel`` or ``rollback``; how it stands then."""
        path = f"/v1/products/{product}/rollouts/{rollout_id}/{word}"
        found: dict[str, Any] = self.call("POST", path, json={"reason": reason})["rollout"]
        return found

    def rollout_devices(self, product: int, rollout_id: str, state: str | None, count: int) -> dict[str, Any]:
        """The first devices that asked for a turn, and ``meta.next``."""
        query = {"per_page": count, **({"state": state} if state else {})}
        path = f"/v1/products/{product}/rollouts/{rollout_id}/devices"
        found: dict[str, Any] = self.call("GET", path, params=query)
        return found

    def rollout_devices_as_csv(self, product: int, rollout_id: str, state: str | None) -> Iterator[bytes]:
        """All of them."""
        path = f"/v1/products/{product}/rollouts/{rollout_id}/devices"
        return self._csv("GET", path, params={"state": state} if state else {})

    def rollout_report(self, product: int, rollout_id: str) -> dict[str, Any]:
        """Prediction against fact."""
        path = f"/v1/products/{product}/rollouts/{rollout_id}/report"
        found: dict[str, Any] = self.call("GET", path, timeout=DRY_RUN_S)
        return found

    def rollout_report_as_csv(self, product: int, rollout_id: str) -> Iterator[bytes]:
        """The same of every device."""
        return self._csv("GET", f"/v1/products/{product}/rollouts/{rollout_id}/report")

    def rollout_progress(self, product: int, rollout_id: str) -> Iterator[dict[str, Any]]:
        """The same of a roll-out."""
        return self._watched(f"/v1/products/{product}/rollouts/{rollout_id}/events", OVER.__contains__)

    def _watched(self, path: str, is_last: Callable[[str], bool]) -> Iterator[dict[str, Any]]:
        silent_since = time.monotonic()
        while True:
            try:
                with self._frames_of(path) as frames:
                    for frame in frames:
                        silent_since = time.monotonic()
                        if frame is not None:
                            yield frame[1]
                            if is_last(frame[0]):
                                return
            except httpx.TransportError as error:
                if time.monotonic() - silent_since > WATCH_AGAIN_S:
                    raise Unavailable(f"the platform does not answer: {error}") from None
            time.sleep(WATCH_PAUSE_S)

    def _csv(self, method: str, path: str, **options: Any) -> Iterator[bytes]:
        with self._client.stream(
            method, path, headers={"Accept": "text/csv"}, timeout=DRY_RUN_S, **options
        ) as response:
            if response.status_code >= 400:
                response.read()
                raise _error(response)
            yield from response.iter_bytes()

    @contextmanager
    def events(self, product: int) -> Iterator[Iterator[tuple[str, dict[str, Any]] | None]]:
        """The product's live events (LOG-2): pairs of name and the JSON behind it, None for a sign of life."""
        with self._frames_of(f"/v1/products/{product}/events") as frames:
            yield frames

    @contextmanager
    def _frames_of(self, path: str) -> Iterator[Iterator[tuple[str, dict[str, Any]] | None]]:
        timeout = httpx.Timeout(15.0, read=30.0)
        with self._client.stream("GET", path, timeout=timeout) as response:
            if response.status_code >= 400:
                response.read()
                raise _error(response)
            yield _frames(response.iter_lines())


def finish_card_setup(setup: Mapping[str, Any], card: str) -> str:
    """Give a test card to the sandbox as its form in a browser would (contract 13.2); the id of the finished set-up.
    Raises ``ApiError`` for a card that is refused, and ``Refused`` where real money is moved, which has a page."""
    if not str(setup["publishable_key"]).startswith("pk_test_"):
        raise Refused("real_money", "real cards are given to the payment provider's own form, on the billing page")
    form = {
        "key": setup["publishable_key"],
        "client_secret": setup["client_secret"],
        "payment_method_data[type]": "card",
        "payment_method_data[card][number]": card,
        "payment_method_data[card][exp_month]": "12",
        "payment_method_data[card][exp_year]": str(datetime.now(UTC).year + 3),
        "payment_method_data[card][cvc]": "123",
    }
    url = f"{setup['api_url']}/v1/setup_intents/{setup['setup_id']}/confirm"
    if _confirmed(url, form) == "requires_action":  # the bank's check, which the sandbox counts as passed
        _confirmed(url, {name: form[name] for name in ("key", "client_secret")})
    return str(setup["setup_id"])


def _confirmed(url: str, form: Mapping[str, Any]) -> str:
    """How the set-up stands then."""
    response = httpx.post(url, data=dict(form), timeout=PROVIDER_S, trust_env=False)
    if response.status_code >= 400:
        raise _refused_by_provider(response)
    return str(response.json()["status"])


def _refused_by_provider(response: httpx.Response) -> ApiError:
    try:
        error = response.json()["error"]
        return ApiError(response.status_code, str(error.get("code")), str(error.get("message")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ApiError(response.status_code, "not_json", response.text[:200])


def _frames(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]] | None]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, msgspec.json.decode(line.removeprefix("data: "))
        else:
            yield None


def _error(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        return ApiError(response.status_code, "not_json", response.text[:200])
    return ApiError(response.status_code, str(body.get("error")), str(body.get("error_description")))
