"""Events of subscriptions (service ``billing``). Stream ``subscription-<org id>``."""

from __future__ import annotations

from shared.events.fields import Event, Hex24, Moment
from shared.events.orgs import Plan


class TrialStarted(Event, frozen=True):
    """The organization exists and pays nothing until ``ends_at`` (BIL-1)."""

    org_id: Hex24
    plan: Plan
    ends_at: Moment
