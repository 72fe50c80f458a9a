"""What the ``billing`` service is made of."""

from __future__ import annotations

from services.billing.engine import engine
from services.billing.mail.mailroom import open_postman
from services.billing.payments import Payments, open_payments
from services.billing.service import BillingService
from services.billing.subscriptions import Policy
from services.billing.views import VIEWS
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.providers import EventStreams, Views
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.events.contracts import CONTRACTS
from shared.mail.queue import MailQueue
from shared.projections.database import Database
from shared.projections.history import open_history
from shared.projections.projector import Projector
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.port import EventStore
from shared.streams import Streams


def build(
    settings: Settings,
    transport: Transport,
    store: EventStore,
    *,
    clock: Clock = system_clock,
    payments: Payments | None = None,
) -> Runtime:
    """The service, ready to start; the caller owns transport and store. ``payments``: in place of those that the
    settings name. Raises ``Refused`` for payments that cannot be made as the settings say."""
    payments = payments or open_payments(settings)
    policy = Policy(is_billed=payments.provider is not None)
    database = Database(settings.db, "billing")
    database.prepare([])
    history = open_history(settings.mirror, store)
    projector = Projector("billing", store, database, VIEWS, CONTRACTS, clock=clock, history=history)
    streams = Streams(store, CONTRACTS)
    made = engine(payments, transport, streams, database, policy, clock)
    mails = MailQueue(database, clock)
    postman = open_postman(settings, transport, mails, streams, policy)
    provide = {
        "streams": EventStreams(streams),
        "views": Views(database, projector),
        "inbox": Given(made.inbox),
        "billing_clock": Given(made.clock),
        "charger": Given(made.charger),
        "payments": Given(payments),
        "policy": Given(policy),
        "mails": Given(mails),
        "postman": Given(postman),
    }
    host = ServiceHost(BillingService, transport, workers=settings.workers, provide=provide)
    types = CONTRACTS.of_service("billing")
    relay = Relay("billing", store, transport, database.checkpoints(), types, contracts=CONTRACTS)
    owners = [Owner("billing database", database.close), Owner("mirror of the events", history.close)]
    return Runtime("billing", [*owners, projector, relay, postman, host, *made.parts])
