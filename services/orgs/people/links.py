"""A link that was mailed and works once, for a while (ACC-1). Pure; its secret is of ``mail_links``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

VERIFY_LIFE = timedelta(days=7)
RESET_LIFE = timedelta(hours=1)
MAILED_AGAIN_AFTER = timedelta(minutes=1)
"""So long after a link was mailed nobody makes us mail another."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link that is open; a newer one takes its place."""

    nonce: str
    expires_at: datetime

    def opens(self, nonce: str, now: datetime) -> bool:
        """Whether this is its nonce, in time."""
        return nonce == self.nonce and now < self.expires_at

    def is_fresh(self, life: timedelta, now: datetime) -> bool:
        """Whether it was mailed a moment ago."""
        return now < self.expires_at - life + MAILED_AGAIN_AFTER
