"""A small world for the API: two organizations, their members, products, a device; services that answer as told."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from services.gateway.catching_up import Page
from services.gateway.devices.calls import Question
from services.gateway.entries import DeviceEntry, OrgEntry, ProductEntry, TokenEntry
from services.gateway.history import Listed, Past
from services.gateway.http.app import Limits, Services, build_app
from services.gateway.http.calls import Route
from services.gateway.http.csv_answers import rows_of
from services.gateway.http.documents import Building, Error
from services.gateway.http.routes import ROUTES
from services.gateway.hub import EventFilter, Hub
from services.gateway.import_progress import Progress
from services.gateway.live import Place, PublishedEvent
from services.gateway.log_reading import Wanted
from services.gateway.rollout_progress import RolloutProgress
from services.gateway.stream_ids import Ids
from shared.blobs import FileBlobs
from shared.context import Context
from shared.csv_text import MEDIA_TYPE
from shared.errors import Misuse, NotFound
from shared.events.gateway import ServerPublished
from shared.ids import digest
from shared.people.addresses import Addresses
from shared.people.keys import Keys
from shared.store.port import Position
from shared.targets import Membership
from tests.keys import MemoryTable

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEVICE = "0123456789abcdef01234567"
OUR_ORG, OTHER_ORG = "a" * 24, "b" * 24
MEMBER, STRANGER, LONER = "1" * 24, "2" * 24, "3" * 24
MEMBER_TOKEN, STRANGER_TOKEN, LONER_TOKEN = "11" * 20, "22" * 20, "33" * 20
EXPIRED_TOKEN, REVOKED_TOKEN = "ee" * 20, "ff" * 20

FIRMWARE = {
    "_id": "f" * 24,
    "version": 7,
    "title": "seven",
    "description": "",
    "name": "firmware.bin",
    "size": 5,
    "sha256": "5" * 64,
    "module": None,
    "signature": None,
    "signature_key": None,
    "uploaded_on": "2026-03-01T12:00:00.000Z",
    "updated_at": "2026-03-01T12:00:00.000Z",
    "uploaded_by": {"username": "member@example.org"},
    "product_id": 1000,
    "product_default": False,
    "current": False,
    "groups": [],
    "mandatory": False,
    "device_count": 0,
    "releasable": False,
}
PRODUCT = {
    "id": 1000,
    "platform_id": 6,
    "device_type": "Photon",
    "name": "Thermo",
    "slug": "thermo",
    "description": "measures",
    "type": "Consumer",
    "hardware_version": "",
    "organization": OUR_ORG,
    "org": "ours",
    "config_id": "c" * 24,
    "requires_activation_codes": False,
    "latest_firmware_version": None,
    "groups": [],
    "settings": {"quarantine": True, "known_application": {"opt_in": False}, "location": {}},
    "device_protection": None,
    "subscription_id": None,
    "mb_limit": None,
    "created_at": "2026-03-01T12:00:00.000Z",
}
ORGANIZATION = {
    "id": OUR_ORG,
    "name": "Ours",
    "slug": "ours",
    "created_at": "2026-03-01T12:00:00.000Z",
    "owner": {"username": "member@example.org"},
    "subscription": {"state": "trialing", "reason": None, "plan": "monthly"},
}
DEVICE_OBJECT = {
    "id": DEVICE,
    "name": None,
    "notes": None,
    "product_id": 1000,
    "platform_id": 6,
    "online": True,
    "connected": True,
    "last_heard": "2026-03-01T12:00:00.000Z",
    "last_handshake_at": None,
    "last_ip_address": None,
    "firmware_product_id": None,
    "firmware_version": None,
    "desired_firmware_version": None,
    "targeted_firmware_release_version": None,
    "development": False,
    "quarantined": False,
    "denied": False,
    "groups": [],
    "owner": None,
    "functions": None,
    "variables": None,
    "status": "normal",
    "cellular": False,
    "last_app": None,
    "firmware_updates_enabled": True,
    "firmware_updates_forced": False,
    "firmware_update": {
        "id": "0123456789abcdef01234567-7-1",
        "version": 7,
        "attempt": 1,
        "cause": "release",
        "state": "downloading",
        "percent": 40,
        "failures": 0,
        "reason": None,
    },
}
IMPORT = {
    "id": "9" * 24,
    "state": "running",
    "lines_total": 2,
    "lines_done": 0,
    "updated": 0,
    "existing": 0,
    "refused": 0,
    "keys_set": 0,
    "force": False,
    "started_at": "2026-03-01T12:00:00.000Z",
    "updated_at": "2026-03-01T12:00:00.000Z",
}


@dataclass
class Asked:
    service: str
    method: str
    context: Context
    arguments: dict[str, Any]
    timeout_s: float


Responder = Callable[[dict[str, Any]], Any]


@dataclass
class FakeBus:
    """Answers as told, or awaits it; an exception is raised; a call nobody told it about is a bug of the test."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    async def call(self, service: str, method: str, context: Context, timeout_s: float = 10.0, **arguments: Any) -> Any:
        self.asked.append(Asked(service, method, context, arguments, timeout_s))
        if f"{service}.{method}" not in self.answers:
            raise Misuse(f"nobody answers {service}.{method}")
        answer = self.answers[f"{service}.{method}"]
        if callable(answer):
            answer = answer(arguments)
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def last(self, method: str) -> Asked:
        return [asked for asked in self.asked if asked.method == method][-1]

    def count(self, method: str) -> int:
        return sum(asked.method == method for asked in self.asked)


@dataclass
class FakeCalls:
    """Devices as told; an answer that is an exception is raised."""

    answer: Any = 7
    online: bool = True
    asked: list[tuple[str, Question, float, Context]] = field(default_factory=list)

    async def ask(self, device_id: str, question: Question, timeout_s: float, context: Context) -> Any:
        self.asked.append((device_id, question, timeout_s, context))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def is_online(self, device_id: str, context: Context) -> bool:
        return self.online


@dataclass
class FakeLog:
    """Keeps what is published."""

    posted: list[tuple[ServerPublished, str]] = field(default_factory=list)

    async def post(self, event: ServerPublished, actor: str) -> None:
        self.posted.append((event, actor))


@dataclass
class FakeHistory:
    """What was published, by lane; the end of it is where readers begin."""

    past: list[PublishedEvent] = field(default_factory=list)
    forgotten: bool = False
    ids: Ids = field(default_factory=lambda: Ids(bytes(32)))
    listed: Listed = field(default_factory=lambda: Listed([], None, False))
    asked: list[Any] = field(default_factory=list)

    async def list_newest(self, product_id: int, before: Any, wanted: Wanted, limit: int) -> Listed:
        self.asked.append((product_id, before, wanted, limit))
        return self.listed

    def lanes(self) -> dict[str, str]:
        return {event.lane: "a" for event in self.past}

    async def here(self) -> dict[str, Place]:
        return {event.lane: event.place for event in self.past if event.place is not None}

    async def read(self, wanted: EventFilter, lane: str, place: Place | None, since: datetime, past: Past) -> Page:
        behind = [one for one in self.past if one.lane == lane and one.place and one.place > (place or Place(-1))]
        reached = behind[-1].place if behind else place
        return Page([one for one in behind if wanted.takes(one, OUR_ORG, None)], reached, True, gap=self.forgotten)


@dataclass
class FakeDirectory:
    tokens: dict[str, TokenEntry] = field(default_factory=dict)
    orgs: dict[str, OrgEntry] = field(default_factory=dict)
    products: dict[str, ProductEntry] = field(default_factory=dict)
    devices: dict[str, DeviceEntry] = field(default_factory=dict)
    account_orgs: dict[str, str] = field(default_factory=dict)
    roles: dict[str, Any] = field(default_factory=dict)
    waited: list[int] = field(default_factory=list)
    head: int = 100
    imports: dict[str, Progress] = field(default_factory=dict)
    watchers: list[Callable[[str], None]] = field(default_factory=list)
    on_wait: Callable[[int], None] = lambda position: None

    def token(self, token_digest: str) -> TokenEntry | None:
        return self.tokens.get(token_digest)

    def membership(self, account_id: str) -> tuple[str, Any] | None:
        org_id = self.account_orgs.get(account_id)
        return None if org_id is None else (org_id, "administrator")

    def org(self, ref: str) -> OrgEntry | None:
        return self.orgs.get(ref)

    def product(self, ref: str) -> ProductEntry | None:
        return self.products.get(ref)

    def device(self, device_id: str) -> DeviceEntry | None:
        return self.devices.get(device_id)

    def import_job(self, product_id: int, import_id: str) -> Progress | None:
        return self.imports.get(import_id) if product_id == 1000 else None

    def on_import(self, callback: Callable[[str], None]) -> Callable[[], None]:
        self.watchers.append(callback)
        return lambda: self.watchers.remove(callback)

    def advance_import(self, **changes: Any) -> None:
        """``IMPORT`` is now as it was with these changes."""
        self.imports[IMPORT["id"]] = Progress({**IMPORT, **changes})
        for told in self.watchers:
            told(IMPORT["id"])

    async def exists(self, position: Position) -> bool:
        return position <= self.head

    async def wait_for(self, position: Position, timeout_s: float) -> bool:
        assert 0 < timeout_s <= 2.0
        self.waited.append(position)
        self.on_wait(position)
        return True

    def add_token(self, token: str, account_id: str, org_id: str | None, expires_at: datetime | None = None) -> None:
        role = self.roles.get(account_id, "administrator" if org_id else None)
        entry = TokenEntry(token[:24], account_id, "member@example.org", "particle", expires_at, org_id, role)
        self.tokens[digest(token)] = entry


def device_entry(device_id: str, product_id: int | None) -> DeviceEntry:
    return DeviceEntry(device_id, Membership(product_id), None, None, "", "", False, None, None, 0, 0)


def directory_of_the_world() -> FakeDirectory:
    directory = FakeDirectory()
    directory.add_token(MEMBER_TOKEN, MEMBER, OUR_ORG, NOW + timedelta(days=90))
    directory.add_token(STRANGER_TOKEN, STRANGER, OTHER_ORG)
    directory.add_token(LONER_TOKEN, LONER, None)
    directory.add_token(EXPIRED_TOKEN, MEMBER, OUR_ORG, NOW - timedelta(seconds=1))
    for org in (OrgEntry(OUR_ORG, "ours", "Ours"), OrgEntry(OTHER_ORG, "others", "Others")):
        directory.orgs[org.org_id] = directory.orgs[org.slug] = org
    product = ProductEntry(1000, OUR_ORG, "thermo", "Thermo", "Photon", 6, 7)
    gadget = ProductEntry(1001, OUR_ORG, "gadget", "Gadget", "mqtt", 65_535, None)
    for entry in (product, gadget):
        directory.products[str(entry.product_id)] = directory.products[entry.slug] = entry
    directory.devices[DEVICE] = device_entry(DEVICE, 1000)
    return directory


class FakeClock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def route_of(method: str, path: str) -> Route | None:
    """The row of the table that answers this request."""
    for route in ROUTES:
        pattern = re.sub(r"{(\w+)(:path)?}", lambda match: ".+" if match[2] else "[^/]+", route.path)
        if route.method == method and re.fullmatch(pattern, path.rstrip("/")):
            return route
    return None


class Api:
    """The application with its fakes, called synchronously; every JSON answer is held against its schema."""

    def __init__(self, folder: Path, runner: asyncio.Runner, limits: Limits) -> None:
        self.bus = FakeBus({"orgs.find_token": NotFound("Token not found.")})
        self.directory = directory_of_the_world()
        self.clock = FakeClock()
        self.blobs = FileBlobs(folder)
        self.hub = Hub(self.directory)
        self.calls = FakeCalls()
        self.history = FakeHistory()
        self.log = FakeLog()
        self.rollouts = RolloutProgress("a", pace_s=0)
        self.keys = MemoryTable()
        self.addresses = Addresses(Keys(self.keys, lambda person: False))
        self.status: dict[str, Any] = {"ok": True, "parts": {"directory": {"lag": 0}}}
        self.runner = runner
        self.app = build_app(
            Services(
                bus=self.bus,
                directory=self.directory,
                hub=self.hub,
                history=self.history,
                log=self.log,
                calls=self.calls,
                blobs=self.blobs,
                rollouts=self.rollouts,
                addresses=self.addresses,
                clock=self.clock,
                status=lambda: self.status,
                limits=limits,
            )
        )

    def request(
        self, method: str, path: str, *, token: str | None = MEMBER_TOKEN, headers: Any = None, **options: Any
    ) -> httpx.Response:
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        response = self.runner.run(self._request(method, path, sent, options))
        check(method, response)
        return response

    async def _request(self, method: str, path: str, headers: dict[str, str], options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=options.pop("client", ("192.0.2.1", 4711)))
        async with asyncio.timeout(20), httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> httpx.Response:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> httpx.Response:
        return self.request("DELETE", path, **options)


def check(method: str, response: httpx.Response) -> None:
    """What the contract says of every answer."""
    if method in ("HEAD", "OPTIONS") or response.status_code == 204:
        return
    route = route_of(method, response.request.url.path)
    if route is not None and route.media_type != "application/json" and response.is_success:
        return
    kind = response.headers.get("content-type", "").partition(";")[0]
    if route is not None and kind in route.streamed and response.is_success:
        return
    if response.is_redirect:
        return
    is_page = "text/html" in response.headers.get("content-type", "")
    if route is not None and route.media_type == "text/html" and is_page:
        return
    if route is not None and rows_of(route) is not None and response.headers["content-type"] == MEDIA_TYPE:
        assert response.status_code == route.status
        return
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    if not response.is_success:
        assert Error().validate(response.json()) == {}
        assert response.json()["ok"] is False
    elif response.status_code == 202 and route is not None and route.past:
        assert Building().validate(response.json()) == {}
    elif response.request.url.params.get("format") == "raw":
        assert response.status_code == 200
    elif route is not None and route.response is not None:
        assert response.status_code in ((route.status, 202) if route.unsettled else (route.status,))
        assert route.response.validate(response.json()) == {}


@pytest.fixture
def world() -> ModuleType:
    """This module, which tests cannot import: its constants and helpers."""
    return sys.modules[__name__]


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def api(tmp_path: Path, runner: asyncio.Runner, limits: Limits) -> Api:
    return Api(tmp_path / "blobs", runner, limits)


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    body = response.json()
    return response.status_code, body["error"], body["error_description"]


class Stream:
    """An event stream as an ASGI server would carry it."""

    def __init__(self, api: Api, path: str, token: str = MEMBER_TOKEN, send: Any = None, headers: Any = None) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._requested = False
        raw, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": raw,
            "raw_path": raw.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [
                (b"authorization", f"Bearer {token}".encode()),
                *((name.lower().encode(), value.encode()) for name, value in (headers or {}).items()),
            ],
            "client": ("192.0.2.1", 4711),
            "server": ("gateway", 80),
        }
        self.task = asyncio.ensure_future(api.app(scope, self._receive, send or self._send))

    async def _receive(self) -> Any:
        if not self._requested:
            self._requested = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.messages.put_nowait(message)

    async def head(self) -> tuple[int, dict[str, str]]:
        message = await asyncio.wait_for(self.messages.get(), 5)
        assert message["type"] == "http.response.start"
        return message["status"], {name.decode(): value.decode() for name, value in message["headers"]}

    async def write(self) -> bytes:
        """The next write; empty at the end."""
        message = await asyncio.wait_for(self.messages.get(), 5)
        assert message["type"] == "http.response.body"
        assert bool(message["body"]) == message["more_body"]
        body: bytes = message["body"]
        return body

    async def leave(self) -> None:
        """The client goes away."""
        self._gone.set()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(self.task, 5)
