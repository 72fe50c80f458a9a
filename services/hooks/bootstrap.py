"""What the ``hooks`` service is made of."""

from __future__ import annotations

import random
from functools import partial

from services.hooks.addresses import networks
from services.hooks.commanding import disable
from services.hooks.deliveries import Deliveries
from services.hooks.delivering import End, Means
from services.hooks.engine import Engine
from services.hooks.engine_part import EnginePart
from services.hooks.feed import ACTOR, SOURCE, Feed
from services.hooks.hook_views import VIEWS
from services.hooks.known_hooks import Hook, KnownHooks, Requests
from services.hooks.posting import Poster
from services.hooks.service import HooksService
from services.hooks.signing import signing_key
from services.hooks.webhooks import DisableWebhook
from shared.bus.given import Given
from shared.bus.host import ServiceHost
from shared.bus.open import open_bus
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.bus.relay import Relay
from shared.bus.transport import Transport
from shared.clock import Clock, system_clock
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.people.open import PeopleKeys
from shared.projections.database import Database
from shared.projections.history import open_history
from shared.projections.projector import Projector
from shared.runtime import Owner as OpenThing
from shared.runtime import Runtime
from shared.settings import Settings
from shared.store.port import EventStore
from shared.streams import Streams

SIGNING = "signatures of webhooks"
"""The name of the secret that requests are signed with."""


def build(settings: Settings, transport: Transport, store: EventStore, *, clock: Clock = system_clock) -> Runtime:
    """The service, ready to start; the caller owns transport and store."""
    allowed = networks(settings.hooks_allow)
    keys = PeopleKeys(settings.keys, store)
    signing, requests = keys.secret(SIGNING), Requests(keys)
    database = Database(settings.db, "hooks")
    history = open_history(settings.mirror, store)
    projector = Projector("hooks", store, database, VIEWS, CONTRACTS, clock=clock, history=history)
    streams = Streams(store, CONTRACTS)
    deliveries = Deliveries(database)

    def end(hook: Hook, why: End) -> None:
        context = Context.new(ACTOR, SOURCE)
        disable(streams, context, hook.owner, DisableWebhook(hook.hook_id, why.reason, why.detail))

    def means(feed: Feed, poster: Poster) -> Means:
        return Means(feed, poster, deliveries, partial(signing_key, signing), clock, random.random)

    engine = EnginePart(
        Engine(
            transport,
            lambda: open_bus(transport, name="hooks"),
            KnownHooks(database, requests),
            lambda: Poster(allowed, clock=clock),
            means,
            end,
        )
    )
    host = ServiceHost(
        HooksService,
        transport,
        workers=settings.workers,
        provide={
            "streams": EventStreams(streams),
            "views": Views(database, projector),
            "clock": ClockProvider(clock),
            "requests": Given(requests),
            "deliveries": Given(deliveries),
            "engine": Given(engine),
            "signing_secret": Given(signing),
            "base_url": Given(settings.url),
        },
    )
    relay = Relay("hooks", store, transport, database.checkpoints(), CONTRACTS.of_service("hooks"), contracts=CONTRACTS)
    owners = [
        OpenThing("keys of people", keys.close),
        OpenThing("hooks database", database.close),
        OpenThing("mirror of the events", history.close),
    ]
    return Runtime("hooks", [*owners, projector, deliveries, relay, engine, host])
