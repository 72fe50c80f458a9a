"""What the library of Stripe raises, as errors of the port.

They are told by their codes only: since version 16 ``repr`` of them holds the response body.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import stripe

from services.billing.provider import CardRefused, ProviderUnavailable

MISSING = 404


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Errors of the library as those of the port (GW-2); ``what`` is for the log."""
    try:
        yield
    except stripe.RateLimitError as problem:
        raise ProviderUnavailable("throttled", f"{what}: {told(problem)}") from None
    except (
        stripe.AuthenticationError,
        stripe.PermissionError,
        stripe.InvalidRequestError,
        stripe.IdempotencyError,
    ) as problem:
        missing = problem.http_status == MISSING
        raise ProviderUnavailable("misconfigured", f"{what}: {told(problem)}", missing=missing) from None
    except stripe.CardError as problem:
        raise CardRefused(problem.code or "card_declined") from None
    except stripe.StripeError as problem:
        raise ProviderUnavailable("unreachable", f"{what}: {told(problem)}") from None


def told(problem: stripe.StripeError) -> str:
    """What may be logged of an error."""
    parts = (type(problem).__name__, problem.code, problem.http_status, problem.request_id)
    return " ".join(str(part) for part in parts if part)
