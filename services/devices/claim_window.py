"""The time in which a device can be claimed by whoever states its device ID and the secret that it gave (MQU-7). Pure.

Stream ``claiming-<device id>``. Ten wrong secrets an hour close the window; those are counted whether or not the
device opens it again in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.devices import ClaimSecretRefused, ClaimWindowClosed, ClaimWindowOpened

LONGEST_S = 24 * 3_600
MAX_REFUSED = 10
"""Wrong secrets in ``REFUSED_S`` that close the window."""
REFUSED_S = 3_600

Event = ClaimWindowOpened | ClaimSecretRefused | ClaimWindowClosed


@dataclass(frozen=True, slots=True)
class OpenWindow:
    """The device asks to be claimed; without a secret by whoever knows its ID."""

    device_id: str
    product_id: int
    secret_digest: str | None
    until: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class StateSecret:
    """Somebody asks for the device, which is a member of this product now. ``secret_digest`` is None for an empty
    secret; ``open_to_all``: the product lets its devices be claimed without one."""

    device_id: str
    product_id: int
    account_id: str
    secret_digest: str | None
    open_to_all: bool
    now: datetime


Command = OpenWindow | StateSecret


@dataclass(frozen=True, slots=True)
class Window:
    """What ``decide`` asks for; ``until`` is None while it is closed."""

    product_id: int | None = None
    secret_digest: str | None = None
    until: datetime | None = None
    refused_at: tuple[datetime, ...] = ()


def decide(state: Window, command: Command) -> list[Event]:
    """What the command means now. A wrong secret is no refusal but an event: whoever runs the command looks for it."""
    match command:
        case OpenWindow(device_id, product_id, secret_digest, until, now):
            until = min(until, now + timedelta(seconds=LONGEST_S))
            asked = (product_id, secret_digest, until)
            if until <= now or asked == (state.product_id, state.secret_digest, state.until):
                return []
            return [ClaimWindowOpened(device_id, product_id, secret_digest, until)]
        case StateSecret():
            return _state(state, command)
        case _:
            assert_never(command)


def _state(state: Window, command: StateSecret) -> list[Event]:
    device_id, product_id = command.device_id, command.product_id
    if product_id != state.product_id or state.until is None or command.now >= state.until:
        raise Refused("not_open_to_claims", "the device has not asked to be claimed; let it ask, and try again")
    if state.secret_digest is None and not command.open_to_all:
        raise Refused("secret_needed", "devices of this product are claimed with a secret only")
    if state.secret_digest in (None, command.secret_digest):
        return [ClaimWindowClosed(device_id, product_id, "claimed")]
    refused = ClaimSecretRefused(device_id, product_id, command.account_id, command.now)
    if len(_recent(state, command.now)) + 1 < MAX_REFUSED:
        return [refused]
    return [refused, ClaimWindowClosed(device_id, product_id, "wrong_secrets")]


def _recent(state: Window, now: datetime) -> tuple[datetime, ...]:
    return tuple(at for at in state.refused_at if at > now - timedelta(seconds=REFUSED_S))


def evolve(state: Window, event: Event) -> Window:
    """What the event makes true."""
    match event:
        case ClaimWindowOpened(_, product_id, secret_digest, until):
            return replace(state, product_id=product_id, secret_digest=secret_digest, until=until)
        case ClaimSecretRefused(_, _, _, refused_at):
            return replace(state, refused_at=(*state.refused_at, refused_at)[-MAX_REFUSED:])
        case ClaimWindowClosed():
            return replace(state, secret_digest=None, until=None)
        case _:
            assert_never(event)


WINDOW: Aggregate[Window, Command] = Aggregate(Window(), decide, evolve)


def stream_of(device_id: str) -> str:
    """The stream of a device's claim windows."""
    return f"claiming-{device_id}"
