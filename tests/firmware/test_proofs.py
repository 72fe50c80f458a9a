from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.firmware.releases import Proofs
from shared.bus.providers import WorkerStreams
from shared.context import Context
from shared.events.firmware import VersionFirstRan, VersionUploaded
from shared.events.gateway import FirmwareReported
from shared.store.open import open_store
from shared.store.port import ANY, EventStore
from shared.streams import Streams
from tests.keys import contracts_with_keys

P = 1000
ID = "53ff6f066667574834212367"


def reported(version: int | None, product_id: int | None = P, reported_product: int | None = P) -> FirmwareReported:
    return FirmwareReported(ID, product_id, reported_product, version, "", "", "a", 1, 1)


class Counting(Streams):
    """Counts how often a stream is loaded."""

    loads = 0

    def load(self, *args: Any) -> Any:
        self.loads += 1
        return super().load(*args)


class World:
    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.contracts = contracts_with_keys()
        self.streams = Counting(store, self.contracts)

    def upload(self, version: int) -> None:
        uploaded = VersionUploaded(P, version, f"v{version}", "", "x.bin", 1, "0" * 64, "anna@example.com", "a" * 24)
        new = self.contracts.encode(uploaded, 0, Context.new("system:tests", "tests"))
        self.store.append(f"firmware-{P}", ANY, [new])

    def prove(self, proofs: Proofs, event: FirmwareReported) -> int:
        """How often the stream was loaded for it."""
        before = self.streams.loads
        proofs.prove(WorkerStreams(self.streams, Context.new("system:firmware", "tests"), self.contracts), event)
        return self.streams.loads - before

    def runs(self) -> list[int]:
        events = [self.contracts.decode(event) for event in self.store.read(f"firmware-{P}")]
        return [event.version for event in events if isinstance(event, VersionFirstRan)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    store = open_store(f"sqlite://{tmp_path}/events.db?durability=normal")
    yield World(store)
    store.close()


@pytest.mark.parametrize(
    "event",
    [
        reported(None),
        reported(65_535),
        reported(3, product_id=None),
        reported(3, reported_product=6),
    ],
)
def test_a_report_that_proves_nothing_costs_nothing(world: World, event: FirmwareReported):
    world.upload(3)
    assert world.prove(Proofs(), event) == 0
    assert world.runs() == []


@pytest.mark.parametrize("reported_product", [P, None])
def test_a_version_that_was_proven_is_not_asked_for_again(world: World, reported_product: int | None):  # FW-5
    world.upload(3)
    proofs = Proofs()
    assert world.prove(proofs, reported(3, reported_product=reported_product)) == 1
    assert world.prove(proofs, reported(3)) == 0
    assert world.prove(Proofs(), reported(3)) == 1
    assert world.runs() == [3]


def test_a_version_that_is_uploaded_later_is_proven_by_a_later_report(world: World):
    world.upload(1)
    proofs = Proofs()
    world.prove(proofs, reported(3))
    world.upload(3)
    world.prove(proofs, reported(3))
    assert world.runs() == [3]


def test_what_is_remembered_is_bounded(world: World):
    proofs = Proofs(most=2)
    for version in (1, 2, 3):
        world.upload(version)
        world.prove(proofs, reported(version))
    assert [world.prove(proofs, reported(version)) for version in (3, 2, 1)] == [0, 0, 1]
