"""What the ``orgs`` service is made of."""

from __future__ import annotations

from services.orgs.mail.mailing import BULK, Mailing
from services.orgs.service import OrgsService
from services.orgs.views import VIEWS
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.events.contracts import CONTRACTS
from shared.mail.delivery import open_delivery
from shared.mail.letters import Letters
from shared.mail.pace import Pace
from shared.mail.postman import Postman
from shared.mail.queue import MailQueue
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
    streams = Streams(store, contracts)
    letters = Letters("services.orgs.mail", "letters", settings.mail_from)
    postman = Postman(
        MailQueue(database, clock, bulk=BULK),
        store,
        letters,
        open_delivery(settings.smtp, settings.mail, letters.domain),
        Mailing(streams, settings.url).compose,
        pace=Pace(settings.mail_per_minute),
    )
    host = ServiceHost(
        OrgsService,
        transport,
        workers=settings.workers,
        provide={
            "streams": EventStreams(streams),
            "postman": Given(postman),
            "views": Views(database, projector),
            "clock": ClockProvider(clock),
            "public_clients": Given(frozenset(settings.public_clients.split(","))),
        },
    )
    types = CONTRACTS.of_service("orgs")
    relay = Relay("orgs", store, transport, database.checkpoints(), types, contracts=CONTRACTS)
    owners = [Owner("keys of people", keys.close), Owner("orgs database", database.close)]
    owners.append(Owner("mirror of the events", history.close))
    return Runtime("orgs", [*owners, projector, relay, postman, host])
