"""However often events arrive, and however those of different streams overtake each other, the handlers of the real
services leave the same streams (EVT-4)."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.billing.clock import BillingClock
from services.billing.service import BillingService
from services.billing.subscriptions import Policy
from services.devices.quarantine import KnownProducts
from services.devices.service import DevicesService
from services.firmware.releases import Proofs
from services.firmware.service import FirmwareService
from services.orgs.service import OrgsService
from shared.bus import wire
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.local import LocalTransport
from shared.bus.messages import to_message, to_recorded
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.context import Context
from shared.events.billing import SeatAdded, TrialStarted
from shared.events.contracts import CONTRACTS
from shared.events.firmware import VersionFirstRan, VersionUploaded
from shared.events.gateway import FirmwareReported
from shared.events.orgs import MemberJoined, OrganizationCreated, OrganizationFounded
from shared.store.open import open_store
from shared.store.port import ANY, EventStore, New, Position, Recorded
from shared.streams import Streams
from tests.keys import contracts_with_keys

PRODUCT = 1000
VERSIONS = (1, 2, 3)
NAMESPACE = UUID(int=7)
KEYED = contracts_with_keys()


def hex24(kind: str, number: int) -> str:
    return uuid5(NAMESPACE, f"{kind}-{number}").hex[:24]


def reported(gateway: str, number: int, version: int, *, member: bool) -> FirmwareReported:
    """A device that is a member runs a version; one that is not reports the product all the same."""
    product = PRODUCT if member else None
    device = hex24("member" if member else "stranger", number)
    return FirmwareReported(device, product, PRODUCT, version, "", "", gateway, 1, number)


def happened() -> dict[str, list[Any]]:
    """What the services are told, by stream."""
    streams: dict[str, list[Any]] = {}
    for gateway in ("a", "b"):
        streams[f"connection-{gateway}"] = [
            *(reported(gateway, number, version, member=True) for number, version in enumerate(VERSIONS)),
            *(reported(gateway, number, 1, member=False) for number in range(3)),
            reported(gateway, 0, 3, member=True),
        ]
    for number in range(2):
        account, org = hex24("account", number), hex24("org", number)
        email = f"{number}@example.com"
        founded = OrganizationFounded(account, email, org, f"Org {number}", f"org-{number}", "monthly")
        streams[f"account-{account}"] = [founded]
        other = hex24("other-org", number)
        created = OrganizationCreated(other, f"Other {number}", f"other-{number}", "yearly", account, email)
        team = [MemberJoined(other, one, email, "administrator") for one in (account, hex24("second", number))]
        streams[f"org-{other}"] = [created, *team]
    return streams


class Same:
    """A provider of one and the same object."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def get_dependency(self, worker_ctx: Any) -> Any:
        return self._thing


class AnyProduct:
    def get_product(self, product_id: int) -> dict[str, Any]:
        return {"product": {"id": product_id}}


class NoRounds:
    """Nothing is rolled out."""

    def round(self, _: Any) -> None:
        """Nothing to do."""


class NoPresence:
    def sweep(self) -> None:
        """There are no sessions here."""


def messages() -> list[dict[str, Any]]:
    """As the relays would publish them, in order of position; the same in every run."""
    found: list[dict[str, Any]] = []
    clock = ClockProvider().get_dependency(None)
    for stream, events in happened().items():
        for version, event in enumerate(events):
            context = Context(uuid5(NAMESPACE, f"{stream}@{version}"), "account:x", "chain")
            new = KEYED.encode(event, 0, context, stream=stream)
            position = Position(len(found) + 1)
            stored = Recorded(new.id, new.type, stream, version, position, clock(), new.data, new.meta)
            found.append(to_message(stored))
    return found


MESSAGES = messages()
OF_STREAM = {stream: [one for one in MESSAGES if one["stream"] == stream] for stream in happened()}


@contextmanager
def platform(folder: Path) -> Iterator[tuple[EventStore, LocalTransport]]:
    """The four services over one store, with the versions uploaded already."""
    with ExitStack() as stack:
        store = open_store(f"sqlite:///{folder / 'events.db'}?durability=normal")
        stack.callback(store.close)
        for version in VERSIONS:
            image = (
                PRODUCT,
                version,
                f"v{version}",
                "",
                "image.bin",
                1,
                f"{version:064x}",
                "a@b.example",
                hex24("u", 0),
            )
            context = Context(uuid5(NAMESPACE, f"upload-{version}"), "account:x", "chain")
            stream = f"firmware-{PRODUCT}"
            store.append(stream, ANY, [KEYED.encode(VersionUploaded(*image), 0, context, stream=stream)])
        for stream, told in OF_STREAM.items():
            if stream.startswith("org-"):  # billing reads on where it hears of something
                recorded = map(to_recorded, told)
                store.append(stream, ANY, [New(one.id, one.type, one.data, one.meta) for one in recorded])
        transport = LocalTransport()
        stack.callback(transport.stop)
        given_ones = {
            "streams": EventStreams(Streams(store, KEYED), KEYED),
            "clock": ClockProvider(),
            "policy": Given(Policy()),
            "billing_clock": Given(BillingClock(Streams(store, KEYED))),
            "proofs": Given(Proofs()),
            "presence": Same(NoPresence()),
            "coordinator": Same(NoRounds()),
            "known_products": Given(KnownProducts()),
            "orgs": Same(AnyProduct()),
        }
        for service_class in (BillingService, OrgsService, FirmwareService, DevicesService):
            provide = {
                name: Same(None) for name, one in inspect.getmembers(service_class) if isinstance(one, (Given, Views))
            }
            provide |= {name: one for name, one in given_ones.items() if hasattr(service_class, name)}
            host = ServiceHost(service_class, transport, provide=provide)
            host.start()
            stack.callback(host.stop)
        yield store, transport


def outcome(folder: Path, deliveries: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """What is in the streams of the services afterwards: types and facts, in order."""
    folder.mkdir()
    with platform(folder) as (store, transport):
        handled = []
        for message in deliveries:
            source = next(one for one in ("gateway", "orgs") if message["type"] in CONTRACTS.of_service(one))
            handled.append(transport.publish(source, message["type"], wire.encode(message), {}, handled=True))
        for future in handled:
            future.result(30)
        assert len(transport.kept) == 0
        events = store.read_all(None, 10_000).events
        assert len({event.id for event in events}) == len(events), "something was applied twice"
        found: dict[str, list[Any]] = {}
        for event in events:
            found.setdefault(event.stream, []).append(_fact(KEYED.decode(event)))
    return {stream: sorted(facts, key=repr) for stream, facts in found.items()}


def _fact(event: Any) -> Any:
    """Which of several devices proves a version is a race between the gateways; that one of them does is not. Each run
    has its own time at which teams came to be."""
    match event:
        case VersionFirstRan():
            return type(event), event.product_id, event.version
        case TrialStarted():
            return type(event), event.org_id, event.plan
        case SeatAdded():
            return type(event), event.org_id, event.member_id, event.seats
        case _:
            return event


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Each event once, in order."""
    found = outcome(tmp_path_factory.mktemp("once") / "run", MESSAGES)
    strangers = [f"device-{hex24('stranger', number)}" for number in range(3)]
    assert all(len(found[stream]) == 1 for stream in strangers)
    assert len(found[f"firmware-{PRODUCT}"]) == 2 * len(VERSIONS)
    for number in range(2):
        assert len(found[f"subscription-{hex24('other-org', number)}"]) == 3
        assert len(found[f"org-{hex24('org', number)}"]) >= 1
    return found


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), doubles=st.integers(0, 40))
def test_any_duplication_and_any_overtaking_between_streams_leaves_the_same_streams(
    tmp_path_factory: pytest.TempPathFactory, expected: dict[str, list[Any]], seed: int, doubles: int
) -> None:
    chance = random.Random(seed)
    left = {stream: list(events) for stream, events in OF_STREAM.items()}
    deliveries: list[dict[str, Any]] = []
    while any(left.values()):  # the first delivery of each event is in the order of its stream
        stream = chance.choice([name for name, events in left.items() if events])
        deliveries.append(left[stream].pop(0))
    for _ in range(doubles):  # a double comes at any time after that
        index = chance.randrange(len(deliveries))
        deliveries.insert(chance.randint(index + 1, len(deliveries)), deliveries[index])
    assert outcome(tmp_path_factory.mktemp("many") / "run", deliveries) == expected
