"""What an operator must know of charges that cannot be made, each told once in the log and shown by ``flotilla health``
(GW-2): keys that are refused and bugs at once, a provider that does not answer after an hour.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.billing.standing import Subscription
from services.billing.subscriptions import Record, RecordPostponed

log = logging.getLogger(__name__)

AFTER = timedelta(hours=1)
AT_ONCE = "misconfigured"
MOST_SHOWN = 10


@dataclass(slots=True)
class _Trouble:
    cause: str
    since: datetime
    told: bool = False


class Alarms:
    """Safe from any thread. It remembers nothing over a restart: what still cannot be made then is told again."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._troubles: dict[str, _Trouble] = {}

    def recorded(self, before: Subscription, record: Record) -> None:
        """What became of a try."""
        with self._guard:
            if not isinstance(record, RecordPostponed):
                self._troubles.pop(before.org_id, None)
                return
            since = record.at if before.charge is None else before.charge.postponed_at or record.at
            trouble = self._troubles.setdefault(before.org_id, _Trouble(record.cause, since))
            trouble.cause, trouble.since = record.cause, since
            if record.cause == AT_ONCE:
                self._tell(before.org_id, trouble)

    def look(self, now: datetime) -> None:
        """Tell of what has lasted too long. ``now``: billing's time."""
        with self._guard:
            for org_id, trouble in self._troubles.items():
                if now - trouble.since >= AFTER:
                    self._tell(org_id, trouble)

    def shown(self) -> str:
        """What has been told and lasts; nothing if all is well."""
        with self._guard:
            told = sorted((org_id, trouble) for org_id, trouble in self._troubles.items() if trouble.told)
            if not told:
                return ""
            first = ", ".join(f"{org_id} ({trouble.cause})" for org_id, trouble in told[:MOST_SHOWN])
            return f"{len(told)} charges cannot be made: {first}"

    def _tell(self, org_id: str, trouble: _Trouble) -> None:
        if not trouble.told:
            trouble.told = True
            log.error(
                "a charge of organization %s cannot be made since %s: the payment provider is %s; "
                "see `flotilla billing parked`",
                org_id,
                trouble.since.isoformat(),
                trouble.cause,
            )
