"""The firmware service as its bootstrap makes it, over the local bus and a store of its own. ``orgs`` and
``devices`` are played, and so is the relay of what gateways record, which the devices service has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from nameko.rpc import rpc

from services.firmware import bootstrap
from shared.blobs import Blobs, open_blobs
from shared.bus.calls import blocking_client
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.bus.relay import Relay
from shared.context import Context
from shared.errors import NotFound
from shared.events.contracts import CONTRACTS
from shared.predictions import page_of
from shared.projections.database import Database
from shared.rollouts import PLACES
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, Position
from tests.prompt import prompt

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TYPES = {1000: ("Photon", 6), 2000: ("mqtt", 65_535), 3000: ("Core", 0)}
PATIENCE_S = 10.0


class Orgs:
    """A product of each kind."""

    name = "orgs"

    @rpc(expected_exceptions=NotFound)
    def get_product(self, product_id: int) -> dict[str, Any]:
        if product_id not in TYPES:
            raise NotFound("Product not found.")
        device_type, platform_id = TYPES[product_id]
        return {"product": {"id": product_id, "device_type": device_type, "platform_id": platform_id}}


class Devices:
    """Those that are locked, by product and version. Every product has the groups ``lab`` and ``hall``, and ten devices
    that would get a version."""

    name = "devices"
    locked: ClassVar[dict[tuple[int, int], int]] = {}

    @rpc
    def count_locked(self, product_id: int, version: int) -> dict[str, Any]:
        return {"count": self.locked.get((product_id, version), 0)}

    @rpc
    def list_groups(self, product_id: int) -> dict[str, Any]:
        return {"groups": [{"name": name} for name in ("hall", "lab")]}

    @rpc
    def rollout_sizes(self, stages: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        return {"eligible": 10, "stages": [{"allowed": 1, "share": PLACES} for _ in stages], "reasons": {}}

    @rpc
    def predict_rollout(self, after: str | None, **_: Any) -> dict[str, Any]:
        devices = ["a" * 24] if after is None else []
        return {**page_of(devices, ['{"would":"update"}'], [0] * len(devices)), "next": None if after else "a" * 24}


class Platform:
    """A running service, its store, and a caller that reads what it wrote."""

    def __init__(self, folder: Path, views_url: str) -> None:
        self.settings = Settings.load({}, data=folder, db=views_url, workers=2)
        self.store = prompt(open_store(f"{self.settings.store}?durability=normal", clock=lambda: NOW))
        self.blobs: Blobs = open_blobs(self.settings.blobs)
        self.transport = open_transport("local:", name="tests")
        self.after: Position | None = None
        self.neighbours = [ServiceHost(service, self.transport, workers=1) for service in (Orgs, Devices)]
        self.database = Database(self.settings.db, "devices")
        self.database.prepare([])
        self.relay = Relay(
            "devices",
            self.store,
            self.transport,
            self.database.checkpoints(),
            CONTRACTS.of_service("gateway"),
            source="gateway",
            contracts=CONTRACTS,
        )
        self.devices_relay = Relay(
            "devices",
            self.store,
            self.transport,
            self.database.checkpoints(),
            CONTRACTS.of_service("devices"),
            source="devices",
            contracts=CONTRACTS,
        )
        self.runtime = bootstrap.build(self.settings, self.transport, self.store, clock=lambda: NOW)

    def start(self) -> None:
        self.transport.start()
        Devices.locked.clear()
        for neighbour in self.neighbours:
            neighbour.start()
        self.runtime.start()
        self.relay.start()
        self.devices_relay.start()

    def stop(self) -> None:
        self.relay.stop()
        self.devices_relay.stop()
        self.database.close()
        self.runtime.stop()
        for neighbour in self.neighbours:
            neighbour.stop()
        self.transport.stop()
        self.store.close()

    @property
    def locked(self) -> dict[tuple[int, int], int]:
        """Devices that are locked, by product and version."""
        return Devices.locked

    def call(self, method: str, *, context: Context | None = None, **arguments: Any) -> dict[str, Any]:
        """Call the service as the gateway does: later calls see what earlier ones did."""
        context = context or Context.new("account:tester", "tests")
        headers = {**context.headers(), **({"after": str(self.after)} if self.after else {})}
        client = blocking_client(self.transport, headers, PATIENCE_S)
        answer: dict[str, Any] = getattr(client.firmware, method)(**arguments)
        if answer.get("position") is not None:
            self.after = Position(max(self.after or 0, answer["position"]))
        return answer

    def record(self, stream: str, *events: object) -> None:
        """Append facts as a gateway, or another service, does."""
        for event in events:
            new = CONTRACTS.encode(event, 0, Context.new("system:tests", "tests", uuid4()))
            self.after = self.store.append(stream, ANY, [new]).position

    def events(self, stream: str) -> list[Any]:
        return [CONTRACTS.decode(event) for event in self.store.read(stream)]

    def wait_for_event(self, stream: str, event_type: type) -> None:
        """Return as soon as the stream has an event of the type, and make later calls see it."""
        deadline = datetime.now(UTC) + timedelta(seconds=PATIENCE_S)
        looked: Position | None = None
        while datetime.now(UTC) < deadline:
            page = self.store.read_all(looked)
            for event in page.events:
                if event.stream == stream and event.type == event_type.__name__:
                    self.after = event.position
                    return
            looked = page.looked
            if page.end:
                self.store.wait(looked, 0.5)
        raise AssertionError(f"no {event_type.__name__} in {stream}")


@pytest.fixture
def platform(tmp_path: Path, views_url: str) -> Iterator[Platform]:
    running = Platform(tmp_path, views_url)
    running.start()
    yield running
    running.stop()
