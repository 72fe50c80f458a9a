"""What the ``firmware`` service is made of."""

from __future__ import annotations

from services.firmware.releases import Proofs
from services.firmware.rollouts.coordinator import Coordinator
from services.firmware.rollouts.rollout_views import DEVICES_VIEW, ROLLOUTS_VIEW
from services.firmware.rollouts.watch_view import WATCH_VIEW
from services.firmware.rollouts.watching import Watch
from services.firmware.service import FirmwareService
from services.firmware.views import RUNS_VIEW, SIGNING_KEYS_VIEW, SIGNING_VIEW, UPLOADERS_VIEW, VERSIONS_VIEW
from shared.blobs import open_blobs
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.events.contracts import CONTRACTS
from shared.people.open import PeopleKeys
from shared.projections.database import Database
from shared.projections.history import open_history
from shared.projections.past import Past
from shared.projections.projector import Projector
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.port import EventStore
from shared.streams import Streams

VIEWS = (
    VERSIONS_VIEW,
    UPLOADERS_VIEW,
    RUNS_VIEW,
    SIGNING_KEYS_VIEW,
    SIGNING_VIEW,
    ROLLOUTS_VIEW,
    DEVICES_VIEW,
    WATCH_VIEW,
)
PAST_VIEWS = (VERSIONS_VIEW, RUNS_VIEW)
"""What can be asked as of a past moment; who uploaded is personal, and asked of the present (EVT-5)."""


def build(settings: Settings, transport: Transport, store: EventStore, *, clock: Clock = system_clock) -> Runtime:
    """The service, ready to start; the caller owns transport and store."""
    keys = PeopleKeys(settings.keys, store)
    contracts = CONTRACTS.with_keys(keys)
    database = Database(settings.db, "firmware")
    history = open_history(settings.mirror, store)
    projector = Projector("firmware", store, database, VIEWS, contracts, clock=clock, history=history)
    past = Past(
        "firmware",
        store,
        database,
        PAST_VIEWS,
        contracts,
        blank=(UPLOADERS_VIEW,),
        history=history,
        keep=settings.past_copies,
        clock=clock,
    )
    blobs = open_blobs(settings.blobs)
    host = ServiceHost(
        FirmwareService,
        transport,
        workers=settings.workers,
        provide={
            "streams": EventStreams(Streams(store, contracts)),
            "views": Views(database, projector),
            "past": Given(past),
            "clock": ClockProvider(clock),
            "blobs": Given(blobs),
            "proofs": Given(Proofs()),
            "coordinator": Given(Coordinator(store, CONTRACTS, Watch(database, projector), blobs, clock)),
        },
    )
    types = CONTRACTS.of_service("firmware")
    relay = Relay("firmware", store, transport, database.checkpoints(), types, contracts=CONTRACTS)
    owners = [Owner("keys of people", keys.close), Owner("firmware database", database.close)]
    owners.append(Owner("mirror of the events", history.close))
    return Runtime("firmware", [*owners, projector, past, host, relay])
