"""The devices service as its bootstrap makes it, over the local bus and a store of its own, with neighbours that are
played."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest
from nameko.rpc import rpc

from services.devices import bootstrap
from services.devices.presence import Presence
from shared.bus.calls import blocking_client
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.context import Context
from shared.errors import FlotillaError, NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, Position, Recorded
from tests.prompt import prompt

PATIENCE_S = 10.0


BETA, ACTIVATION_CODE, INVITEE = 4000, "AB23", "1" * 24
CUSTOMER, OTHERS_CUSTOMER = "c" * 24, "e" * 24


def played_product(product_id: int) -> dict[str, Any]:
    if product_id not in (1000, 2000, BETA):
        raise NotFound("Product not found.")
    beta = {"requires_activation_codes": product_id == BETA}
    return {"id": product_id, "platform_id": 6, "device_type": "Photon", **beta}


class Orgs:
    """Products 1000, 2000 and ``BETA`` exist, the devices of 2000 are claimed without a secret, those of ``BETA`` with
    ``ACTIVATION_CODE`` only; of the team of all only the addresses of ada and of account a… are known, and of customers
    that of ``CUSTOMER``. ``gone`` are accounts and customers that were deleted; the number says how many questions
    about them were answered before that. ``OTHERS_CUSTOMER`` is another company's; ``transfers``: owners were asked.
    ``taken`` says for which device a code was taken; a device in ``early`` is asked about once before that."""

    name = "orgs"
    gone: ClassVar[dict[str, int]] = {}
    transfers: ClassVar[list[dict[str, Any]]] = []
    taken: ClassVar[dict[str, str]] = {}
    early: ClassVar[list[str]] = []

    @rpc(expected_exceptions=NotFound)
    def get_product(self, product_id: int) -> dict[str, Any]:
        return {"product": played_product(product_id)}

    @rpc(expected_exceptions=NotFound)
    def list_products(self, org_id: str) -> dict[str, Any]:
        return {"products": [played_product(number) for number in (1000, 2000)]}

    @rpc(expected_exceptions=FlotillaError)
    def check_activation_code(self, product_id: int, customer_id: str, code: str) -> dict[str, Any]:
        if code != ACTIVATION_CODE:
            raise Refused("invalid_activation_code", "This is no activation code of yours.")
        return {"invitee_id": INVITEE}

    @rpc(expected_exceptions=FlotillaError)
    def check_claim(
        self, owner_id: str, product_id: int, device_id: str, customer_id: str | None, invitee_id: str | None
    ) -> dict[str, Any]:
        if owner_id in self.gone:
            self.gone[owner_id] -= 1
            if self.gone[owner_id] < 0:
                raise Refused("claimant_gone", "There is no such account or customer.")
        if customer_id == OTHERS_CUSTOMER:
            raise Refused("other_product", "The device is another company's.")
        if device_id in self.early:
            self.early.remove(device_id)
        elif product_id == BETA and (invitee_id is None or self.taken.get(invitee_id, device_id) != device_id):
            raise Refused("activation_code_needed", "A device of this product is claimed with an activation code.")
        return {}

    @rpc(expected_exceptions=FlotillaError)
    def record_transfer(self, **wish: Any) -> dict[str, Any]:
        self.transfers.append(wish)
        return {"transfer_id": "7" * 24, "position": None}

    @rpc(expected_exceptions=FlotillaError)
    def take_activation_code(self, product_id: int, invitee_id: str, owner_id: str, device_id: str) -> dict[str, Any]:
        self.taken.setdefault(invitee_id, device_id)
        return {}

    @rpc(expected_exceptions=NotFound)
    def device_owners(self, product_id: int, owner_ids: list[str]) -> dict[str, Any]:
        ada = {"username": "ada@example.com", "customer_id": None}
        known = {"ada": ada, "a" * 24: ada, CUSTOMER: {"username": "customer@example.com", "customer_id": CUSTOMER}}
        return {"owners": {owner_id: known[owner_id] for owner_id in owner_ids if owner_id in known}}

    @rpc(expected_exceptions=NotFound)
    def owners_named(self, product_id: int, username: str) -> dict[str, Any]:
        return {"owner_ids": [CUSTOMER] if username == "customer@example.com" else []}

    @rpc(expected_exceptions=NotFound)
    def get_device_access(self, product_id: int) -> dict[str, Any]:
        return {"device_access": {"claim_without_secret": product_id == 2000}}


class Firmware:
    """Version 3 of product 1000 exists."""

    name = "firmware"

    @rpc(expected_exceptions=NotFound)
    def get_version(self, product_id: int, version: int) -> dict[str, Any]:
        if (product_id, version) != (1000, 3):
            raise NotFound("Firmware not found.")
        return {"version": version}


@dataclass
class SetClock:
    """A clock that a test sets."""

    now: datetime = field(default_factory=lambda: datetime(2030, 1, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def go_on(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Platform:
    """A running service, its store, and a caller that reads what it wrote."""

    def __init__(self, folder: Path, views_url: str, clock: Callable[[], datetime]) -> None:
        self.settings = Settings.load({}, data=folder, db=views_url, workers=2)
        self.clock = clock
        self.store: EventStore = prompt(open_store(f"{self.settings.store}?durability=normal", clock=clock))
        self.transport: Transport = open_transport("local:", name="tests")
        self.after: Position | None = None
        self.runtime = self._build()
        self.neighbours = [ServiceHost(service, self.transport, workers=1) for service in (Orgs, Firmware)]

    def _build(self) -> Runtime:
        return bootstrap.build(self.settings, self.transport, self.store, clock=self.clock)

    @property
    def gone(self) -> dict[str, int]:
        """Accounts and customers that were deleted, see ``Orgs``."""
        return Orgs.gone

    @property
    def transfers(self) -> list[dict[str, Any]]:
        """What owners were asked for."""
        return Orgs.transfers

    @property
    def taken(self) -> dict[str, str]:
        """Activation codes that were taken, see ``Orgs``."""
        return Orgs.taken

    @property
    def early(self) -> list[str]:
        """Devices whose claim is judged before another has taken the activation code, see ``Orgs``."""
        return Orgs.early

    @property
    def projector(self) -> Projector:
        return next(part for part in self.runtime.parts if isinstance(part, Projector))

    @cached_property
    def database(self) -> Database:
        """A look at the views besides the service's own."""
        return Database(self.settings.db, "devices")

    @property
    def presence(self) -> Presence:
        return Presence(self.store, CONTRACTS, self.database, self.projector, self.clock)

    @cached_property
    def relay(self) -> Relay:
        """Events of ``orgs``, which its service would send."""
        types = CONTRACTS.of_service("orgs")
        return Relay("orgs", self.store, self.transport, self.database.checkpoints(), types, contracts=CONTRACTS)

    def start(self) -> None:
        Orgs.gone.clear()
        Orgs.transfers.clear()
        Orgs.taken.clear()
        Orgs.early.clear()
        self.transport.start()
        for neighbour in self.neighbours:
            neighbour.start()
        self.runtime.start()
        self.relay.start()

    def restart(self) -> None:
        self.runtime.stop()
        self.runtime = self._build()
        self.runtime.start()

    def stop(self) -> None:
        self.relay.stop()
        self.runtime.stop()
        self.database.close()
        for neighbour in self.neighbours:
            neighbour.stop()
        self.transport.stop()
        self.store.close()

    def call(self, method: str, *, context: Context | None = None, **arguments: Any) -> dict[str, Any]:
        """Call the service as the gateway does: later calls see what earlier ones did."""
        context = context or Context.new("account:tester", "tests")
        headers: Mapping[str, Any] = {**context.headers(), **({"after": str(self.after)} if self.after else {})}
        client = blocking_client(self.transport, dict(headers), PATIENCE_S)
        answer: dict[str, Any] = getattr(client.devices, method)(**arguments)
        if answer.get("position") is not None:
            self.after = Position(max(self.after or 0, answer["position"]))
        return answer

    def record(self, stream: str, *events: object) -> Position:
        """Append facts as a gateway, or another service, does."""
        for event in events:
            new = CONTRACTS.encode(event, 0, Context.new("system:tests", "tests", uuid4()))
            self.after = self.store.append(stream, ANY, [new]).position
        assert self.after is not None
        return self.after

    def events(self, stream: str) -> list[Any]:
        return [CONTRACTS.decode(event) for event in self.store.read(stream)]

    def wait_for_event(self, stream: str, event_type: type, timeout_s: float = PATIENCE_S) -> Recorded:
        """The first event of a type in a stream, as soon as it is there."""
        deadline = datetime.now(UTC) + timedelta(seconds=timeout_s)
        looked: Position | None = None
        while datetime.now(UTC) < deadline:
            page = self.store.read_all(looked)
            for event in page.events:
                if event.stream == stream and event.type == event_type.__name__:
                    return event
            looked = page.looked
            if page.end:
                self.store.wait(looked, 0.5)
        raise AssertionError(f"no {event_type.__name__} in {stream}")


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def running(folder: Path, views_url: str, clock: SetClock) -> Iterator[Platform]:
    platform = Platform(folder, views_url, clock)
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture
def platform(tmp_path: Path, views_url: str, clock: SetClock) -> Iterator[Platform]:
    yield from running(tmp_path, views_url, clock)


@pytest.fixture(scope="module")
def lasting_platform(tmp_path_factory: pytest.TempPathFactory, lasting_views_url: str) -> Iterator[Platform]:
    """One for all tests of a module, which must leave it as it is."""
    yield from running(tmp_path_factory.mktemp("devices"), lasting_views_url, SetClock())
