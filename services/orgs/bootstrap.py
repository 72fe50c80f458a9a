"""What the ``orgs`` service is made of."""

from __future__ import annotations

from services.orgs.service import OrgsService
from services.orgs.views import VIEWS
from shared.bus.host import ServiceHost
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.events.contracts import CONTRACTS
from shared.people.open import PeopleKeys
from shared.projections.database import Database
from shared.projections.history import open_history
from shared.projections.projector import Projector
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.port import EventStore
from shared.streams import Streams


def build(settings: Settings, transport: Transport, store: EventStore, *, clock: Clock = system_clock) -> Runtime:
    """The service, ready to start; the caller owns transport and store."""
    keys = PeopleKeys(settings.keys, store)
    contracts = CONTRACTS.with_keys(keys)
    database = Database(settings.db, "orgs")
    history = open_history(settings.mirror, store)
    projector = Projector("orgs", store, database, VIEWS, contracts, clock=clock, history=history)
    host = ServiceHost(
        OrgsService,
        transport,
        workers=settings.workers,
        provide={
            "streams": EventStreams(Streams(store, contracts)),
            "views": Views(database, projector),
            "clock": ClockProvider(clock),
        },
    )
    types = CONTRACTS.of_service("orgs")
    relay = Relay("orgs", store, transport, database.checkpoints(), types, contracts=CONTRACTS)
    owners = [Owner("keys of people", keys.close), Owner("orgs database", database.close)]
    owners.append(Owner("mirror of the events", history.close))
    return Runtime("orgs", [*owners, projector, relay, host])
