"""When a delivery is tried again, and when a webhook is given up (LOG-3). Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(hours=1)
LONGEST_ASKED = timedelta(hours=24)
"""Of what a receiver asks for in ``Retry-After``."""
SPREAD = 0.2
"""A pause is longer or shorter by this part of it at most, so that what failed together is not tried together."""
DISABLED_AFTER = timedelta(days=3)
"""Without one success."""
LEAST_FAILURES = 10
"""Nothing is given up, and no webhook disabled, after fewer."""
GIVEN_UP_AFTER = timedelta(days=1)

Verdict = Literal["delivered", "again", "refused", "gone"]
_AGAIN = frozenset({408, 425, 429})


def verdict(status: int | None) -> Verdict:
    """What this status of an answer means; None: there was no answer."""
    if status is None or status >= 500 or status in _AGAIN:
        return "again"
    if status == 410:
        return "gone"
    return "delivered" if 200 <= status < 300 else "refused"


def pause(failures: int, chance: float, asked: timedelta | None = None) -> timedelta:
    """After so many failures in a row; ``chance`` is drawn from 0 to 1, ``asked`` what the receiver asked for."""
    doubled = min(FIRST_PAUSE * 2 ** min(max(failures - 1, 0), 20), LONGEST_PAUSE)
    spread: timedelta = doubled * (1 + SPREAD * (2 * chance - 1))
    return spread if asked is None else max(spread, min(asked, LONGEST_ASKED))


def is_lost(tries: int, first_at: datetime, now: datetime, other_success_at: datetime | None) -> bool:
    """Whether an event is given up that was tried so often since ``first_at``."""
    return tries >= LEAST_FAILURES and (now - first_at >= GIVEN_UP_AFTER or is_alone(first_at, other_success_at))


def is_alone(first_at: datetime, other_success_at: datetime | None) -> bool:
    """Whether others got through since this event failed first, so that it says nothing of the receiver."""
    return other_success_at is not None and other_success_at >= first_at


def is_failing(failures: int, since: datetime | None, now: datetime) -> bool:
    """Whether the webhook is disabled after so many failures in a row since then."""
    return since is not None and failures >= LEAST_FAILURES and now - since >= DISABLED_AFTER
