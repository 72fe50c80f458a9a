"""What the ``billing`` service is made of."""

from __future__ import annotations

from services.billing.engine import engine
from services.billing.payments import open_payments
from services.billing.service import BillingService
from services.billing.subscriptions import Policy
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.providers import EventStreams
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.port import EventStore
from shared.streams import Streams


def build(settings: Settings, transport: Transport, store: EventStore, *, clock: Clock = system_clock) -> Runtime:
    """The service, ready to start; the caller owns transport and store. Raises ``Refused`` for payments that cannot be
    made as the settings say."""
    payments = open_payments(settings)
    database = Database(settings.db, "billing")
    database.prepare([])
    streams = Streams(store, CONTRACTS)
    made = engine(payments, transport, streams, database, Policy(), clock)
    provide = {
        "streams": EventStreams(streams),
        "inbox": Given(made.inbox),
        "billing_clock": Given(made.clock),
    }
    host = ServiceHost(BillingService, transport, workers=settings.workers, provide=provide)
    types = CONTRACTS.of_service("billing")
    relay = Relay("billing", store, transport, database.checkpoints(), types, contracts=CONTRACTS)
    return Runtime("billing", [Owner("billing database", database.close), relay, host, *made.parts])
