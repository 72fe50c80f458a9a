"""A roll-out to many devices that are all online: the coordinator and the views that it lives from, over SQLite.

``python tests/benchmarks/bench_turns.py [DEVICES]``, 20,000 of them without. First they connect and leave while they
are in no roll-out, which must cost next to nothing; then all of them ask, and each has its turn and reports the
version. Seconds are CPU time of the whole process, store and projector among it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.firmware.bootstrap import VIEWS
from services.firmware.rollouts import control
from services.firmware.rollouts.coordinator import Coordinator, stream_of
from services.firmware.rollouts.watching import Watch
from services.firmware.versions import VERSIONS
from shared.blobs import open_blobs
from shared.context import Context
from shared.events import gateway as g
from shared.events.contracts import CONTRACTS
from shared.events.firmware import FirmwareReleased, VersionFirstRan
from shared.events.rollouts import RolloutTurnsGiven
from shared.predictions import page_of
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.rollout_plans import planned
from shared.rollouts import PLACES
from shared.store.open import open_store
from shared.store.port import ANY
from shared.streams import Streams
from tests.firmware.rollouts.test_control import uploaded
from tests.keys import contracts_with_keys

P, R, NEW = 1000, "a" * 24, 7
PAGE = 1_000
FACTS = "connection-gw.1-2030010712"


class Devices:
    """The devices service, without any devices to say something about."""

    def rollout_sizes(self, **_: Any) -> dict[str, Any]:
        return {"eligible": 0, "stages": [{"allowed": None, "share": PLACES}]}

    def predict_rollout(self, **_: Any) -> dict[str, Any]:
        return {**page_of([], [], []), "next": None}


class Bench:
    def __init__(self, folder: Path, devices: int) -> None:
        self.ids = [f"{number:024x}" for number in range(devices)]
        self.store = open_store(f"sqlite:///{folder}/events.db?durability=normal")
        self.database = Database(f"sqlite:///{folder}/views", "firmware")
        self.projector = Projector("firmware", self.store, self.database, VIEWS, CONTRACTS)
        self.projector.start()
        watch, blobs = Watch(self.database, self.projector), open_blobs(f"file://{folder}/blobs")
        self.coordinator = Coordinator(self.store, CONTRACTS, watch, blobs, lambda: datetime.now(UTC))

    def record(self, make: Callable[[str], object], ids: Sequence[str]) -> None:
        self.projector.stop()  # what it does with this is measured by ``seen``
        for first in range(0, len(ids), PAGE):
            context = Context.new("system:bench", "bench", uuid4())
            events = [CONTRACTS.encode(make(one), n, context) for n, one in enumerate(ids[first : first + PAGE])]
            self.store.append(FACTS, ANY, events)

    def seen(self) -> None:
        self.projector.start()
        assert self.projector.wait_for(self.store.head(), 600)

    def begin(self) -> None:
        streams = Streams(self.store, contracts_with_keys())
        context = Context.new("account:bench", "bench", uuid4())
        stream = f"firmware-{P}"
        before = [uploaded(NEW), VersionFirstRan(P, NEW, "f" * 24), FirmwareReleased(P, NEW - 2, None, False)]
        self.store.append(stream, ANY, [streams.contracts.encode(one, n, context) for n, one in enumerate(before)])
        plan = {"version": NEW, "stages": [{"percent": 100}], "at_once": 100_000}
        streams.handle(VERSIONS, stream, control.PlanRollout(planned(P, R, plan)), context.step("plan"))
        streams.handle(VERSIONS, stream, control.ApproveRollout(R), context.step("approve"))
        self.rounds(1)

    def rounds(self, most: int) -> int:
        """So many rounds, or as many as it takes until nothing happens any more."""
        for number in range(1, most + 1):
            head = self.store.head()
            self.seen()
            self.coordinator.round(Devices())
            if self.store.head() == head:
                return number
        return most

    def given(self) -> int:
        events = (CONTRACTS.decode(one) for one in self.store.read(stream_of(R)))
        return sum(len(event.devices) for event in events if isinstance(event, RolloutTurnsGiven))

    def close(self) -> None:
        self.projector.stop()
        self.database.close()
        self.store.close()


def connected(device_id: str) -> g.DeviceConnected:
    came = ("mqtt/3.1.1", "127.0.0.1", False, "x")
    return g.DeviceConnected(device_id, P, "gw", 1, 1, datetime.now(UTC), *came)


def left(device_id: str) -> g.DeviceDisconnected:
    return g.DeviceDisconnected(device_id, P, "gw", 1, 1, "disconnected", 1, 0, 0, 0, 0)


def reported(device_id: str) -> g.FirmwareReported:
    return g.FirmwareReported(device_id, P, P, NEW, "", "", "gw", 1, 1)


def timed(what: str, count: int, work: Callable[[], object]) -> None:
    began, cpu = time.monotonic(), time.process_time()
    work()
    cpu = time.process_time() - cpu
    print(f"{what:<60} {cpu:8.2f} CPU s {1e6 * cpu / count:8.1f} us each {time.monotonic() - began:8.2f} s")


def main(devices: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), devices)
        bench.record(connected, bench.ids)
        bench.record(left, bench.ids)
        timed("views: connections of devices in no roll-out", 2 * devices, bench.seen)
        bench.begin()
        bench.record(lambda one: g.RolloutTurnAsked(one, P, R, 0), bench.ids)
        timed("views: devices that ask", devices, bench.seen)
        timed("turns given (with the views)", devices, lambda: bench.rounds(1_000))
        assert bench.given() == min(devices, 100_000)
        bench.record(reported, bench.ids)
        timed("views: reports of the version", devices, bench.seen)
        timed("turns ended (with the views)", devices, lambda: bench.rounds(1_000))
        bench.coordinator = Coordinator(
            bench.store,
            CONTRACTS,
            Watch(bench.database, bench.projector),
            open_blobs(f"file://{folder}/blobs"),
            lambda: datetime.now(UTC),
        )
        timed("first round after a restart", devices, lambda: bench.rounds(1))
        timed("a round in which nothing happens", 1, lambda: bench.rounds(1))
        bench.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
