"""Handlers that act on the world (mail, charges, webhooks, flashing): marked, so that no replay does it again.

::

    @reaction("mail")
    @event_handler("billing", "PaymentFailed")
    def tell_the_owner(self, message): ...

The mark is an attribute of the function: nameko's declarations, its runtime and its ``worker_factory`` see no
difference, and the order of the two decorators does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from shared.errors import Misuse

Handler = TypeVar("Handler", bound=Callable[..., Any])

_MARK = "flotilla_reaction"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


def reaction(name: str) -> Callable[[Handler], Handler]:
    """Mark a handler as one that acts on the world by ``name``: lower-case, what an operator names to replay it."""
    if not _NAME.fullmatch(name):
        raise Misuse(f"{name!r} names no reaction: lower-case letters, digits and _, 32 at most")

    def mark(handler: Handler) -> Handler:
        setattr(handler, _MARK, name)
        return handler

    return mark


def reaction_of(service_class: type, method: str) -> str | None:
    """What this method of a service acts by; None for a handler that only issues commands."""
    name: str | None = getattr(getattr(service_class, method), _MARK, None)
    return name
