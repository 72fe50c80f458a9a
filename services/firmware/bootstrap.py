"""What the ``firmware`` service is made of."""

from __future__ import annotations

from services.firmware.releases import Proofs
from services.firmware.service import FirmwareService
from services.firmware.views import RUNS_VIEW, VERSIONS_VIEW
from shared.blobs import open_blobs
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.port import EventStore
from shared.streams import Streams

VIEWS = (VERSIONS_VIEW, RUNS_VIEW)


def build(settings: Settings, transport: Transport, store: EventStore, *, clock: Clock = system_clock) -> Runtime:
    """The service, ready to start; the caller owns transport and store."""
    database = Database(settings.db, "firmware")
    projector = Projector("firmware", store, database, VIEWS, CONTRACTS, clock=clock)
    host = ServiceHost(
        FirmwareService,
        transport,
        workers=settings.workers,
        provide={
            "streams": EventStreams(Streams(store, CONTRACTS)),
            "views": Views(database, projector),
            "clock": ClockProvider(clock),
            "blobs": Given(open_blobs(settings.blobs)),
            "proofs": Given(Proofs()),
        },
    )
    types = CONTRACTS.of_service("firmware")
    relay = Relay("firmware", store, transport, database.checkpoints(), types, contracts=CONTRACTS)
    return Runtime("firmware", [Owner("firmware database", database.close), projector, host, relay])
