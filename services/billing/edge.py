"""What all calls of the ``billing`` service share: its dependencies, a subscription as it stands, and the answers of a
provider that does not answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from services.billing.charger import Charger
from services.billing.clock import BillingClock
from services.billing.following import Following
from services.billing.payments import Payments
from services.billing.provider import CardRefused, CardSetup, Provider, ProviderUnavailable
from services.billing.standing import Subscription
from services.billing.subscriptions import Command, Policy, stream_of, subscriptions
from services.billing.summary_object import card_setup_object, summary_object
from shared.bus.given import Given
from shared.bus.providers import EventStreams, Views, WorkerStreams, WorkerViews
from shared.errors import NotFound, Refused
from shared.streams import Handled, Loaded, Streams

LONGEST_REF = 255
CHARGE_S = 20.0
"""So long a call waits for a charge; whoever asked learns of it later then."""
_RECORD_ID = re.compile(r"[0-9a-f]{24}")


class Edge:
    """The only things of the service that have a connection. ``charger`` is None where nobody is billed."""

    streams: WorkerStreams = EventStreams()
    views: WorkerViews = Views()
    payments: Payments = Given()
    charger: Charger | None = Given()
    billing_clock: BillingClock = Given()
    policy: Policy = Given()

    def _loaded(self, org_id: str) -> Loaded[Subscription]:
        """As its team stands, too. Raises ``NotFound``."""
        loaded = self._following().catch_up(org_id) if is_record_id(org_id) else None
        if loaded is None or loaded.state.standing == "none":
            raise NotFound("Subscription not found.")
        return loaded

    def _following(self) -> Following:
        return Following(Streams(self.streams.store, self.streams.contracts), self.policy, self.billing_clock)

    def _wish(self, org_id: str, command: Command, step: str | None = None) -> Handled[Subscription]:
        """Raises what deciding raises."""
        return self.streams.handle(subscriptions(self.policy), stream_of(org_id), command, step)

    def _settled(self, org_id: str) -> Subscription:
        """The charge that was asked for goes on at once, and the worker's turn need not be waited for; nor the end of
        it for ever."""
        assert self.charger is not None, "whoever asks for a charge has a provider"
        return self.charger.settle_within(org_id, CHARGE_S)

    def _answer(self, org_id: str) -> dict[str, Any]:
        """The summary as the stream has it now, and how far that goes."""
        loaded = self.streams.load(subscriptions(self.policy), stream_of(org_id))
        return {"summary": self._summary(loaded.state), "position": loaded.position}

    def _summary(self, state: Subscription) -> dict[str, Any]:
        return summary_object(self.policy, state, is_sandbox=self.payments.is_sandbox)

    def _provider(self) -> Provider:
        provider: Provider | None = self.payments.provider
        if provider is None:
            raise Refused("payments_off", "Nobody is billed in this installation, and it keeps no cards.")
        return provider

    def _setup(self, setup: CardSetup) -> dict[str, Any]:
        return card_setup_object(setup, self.payments.browser)


def is_record_id(value: object) -> bool:
    """Whether it may name an organization, an account or a draft."""
    return isinstance(value, str) and _RECORD_ID.fullmatch(value) is not None


def well_formed(setup_id: object) -> str:
    """A set-up's id as the provider may be asked for it. Raises ``CardRefused``."""
    if not isinstance(setup_id, str) or not 0 < len(setup_id) <= LONGEST_REF:
        raise CardRefused("card_required")
    return setup_id


@contextmanager
def asking() -> Iterator[None]:
    """What the provider says, as refusals: ``provider_unavailable``, ``card_required``."""
    try:
        yield
    except ProviderUnavailable:
        reason = "The payment provider cannot be reached; nothing was changed. Try again in a few minutes."
        raise Refused("provider_unavailable", reason) from None
    except CardRefused as refused:
        if refused.code == "card_required":
            reason = "The card set-up is unknown, not finished, or made for another organization."
        else:
            reason = f"The bank refused the card ({refused.code}); try another one."
        raise Refused("card_required", reason) from None
