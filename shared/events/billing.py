"""Events of subscriptions (service ``billing``). Stream ``subscription-<org id>``."""

from __future__ import annotations

from dataclasses import dataclass

from shared.events.fields import Hex24, Moment
from shared.events.orgs import Plan


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """The organization exists and pays nothing until ``ends_at`` (BIL-1)."""

    org_id: Hex24
    plan: Plan
    ends_at: Moment
