"""What the ``devices`` service is made of."""

from __future__ import annotations

from collections.abc import Sequence

from services.devices.attempts import ATTEMPTS
from services.devices.attribute_view import ATTRIBUTES
from services.devices.details import DETAILS
from services.devices.errors import DEVICE_ERRORS, ERRORS
from services.devices.fates import FATES
from services.devices.fleet import FLEET
from services.devices.gateways import GATEWAYS
from services.devices.group_view import GROUPS_VIEW
from services.devices.happened import HAPPENED
from services.devices.import_job import ImportJob
from services.devices.import_views import IMPORT_PROBLEMS, IMPORTS
from services.devices.misbehaviours import MISBEHAVIOURS
from services.devices.platforms import Platforms
from services.devices.presence import Presence
from services.devices.products import PRODUCTS
from services.devices.quarantine import KnownProducts
from services.devices.service import DevicesService
from services.devices.usage import OWNERS, USAGE
from shared.blobs import open_blobs
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.projections.history import open_history
from shared.projections.past import Past
from shared.projections.projector import Projector
from shared.projections.view import Key, View
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.port import EventStore
from shared.streams import Streams

VIEWS = (
    FLEET,
    DETAILS,
    ATTRIBUTES,
    MISBEHAVIOURS,
    PRODUCTS,
    GATEWAYS,
    ATTEMPTS,
    GROUPS_VIEW,
    IMPORTS,
    IMPORT_PROBLEMS,
    ERRORS,
    DEVICE_ERRORS,
    USAGE,
    OWNERS,
    HAPPENED,
    FATES,
)
PAST_VIEWS = (FLEET, DETAILS, PRODUCTS)
"""What can be asked as of a past moment."""


def build(settings: Settings, transport: Transport, store: EventStore, *, clock: Clock = system_clock) -> Runtime:
    """The service, ready to start; the caller owns transport and store. It also relays what gateways record, because
    they share no checkpoints among themselves."""
    database = Database(settings.db, "devices")
    history = open_history(settings.mirror, store)
    blobs = open_blobs(settings.blobs)
    job = ImportJob(store, CONTRACTS, database, blobs, (settings.store, settings.blobs, settings.db))

    def on_applied(view: View, keys: Sequence[Key]) -> None:
        if view is IMPORTS:
            job.wake()

    projector = Projector(
        "devices", store, database, VIEWS, CONTRACTS, clock=clock, on_applied=on_applied, history=history
    )
    past = Past(
        "devices", store, database, PAST_VIEWS, CONTRACTS, history=history, keep=settings.past_copies, clock=clock
    )
    host = ServiceHost(
        DevicesService,
        transport,
        workers=settings.workers,
        provide={
            "streams": EventStreams(Streams(store, CONTRACTS)),
            "views": Views(database, projector),
            "past": Given(past),
            "clock": ClockProvider(clock),
            "blobs": Given(blobs),
            "platforms": Given(Platforms(database)),
            "presence": Given(Presence(store, CONTRACTS, database, projector, clock)),
            "known_products": Given(KnownProducts()),
        },
    )
    checkpoints = database.checkpoints()
    relays = [
        Relay(
            "devices",
            store,
            transport,
            checkpoints,
            CONTRACTS.of_service(source),
            source=source,
            contracts=CONTRACTS,
        )
        for source in ("devices", "gateway")
    ]
    owners = [Owner("devices database", database.close), Owner("mirror of the events", history.close)]
    return Runtime("devices", [*owners, projector, past, host, job, *relays])
