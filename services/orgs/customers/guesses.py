"""Activation codes that one customer guessed. Stream ``guesses-<owner id>``. PRD-4, contract 11.3. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.aggregates import Aggregate
from shared.errors import Refused
from shared.events.customers import ActivationCodeRefused

MOST = 10
WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Guess:
    """A code was stated. ``wrong``: it is not the customer's; else it is only asked whether guessing is allowed."""

    product_id: int
    customer_id: str
    wrong: bool
    now: datetime


def decide(state: tuple[datetime, ...], command: Guess) -> list[ActivationCodeRefused]:
    """Whether one may guess on: after ten wrong codes in an hour even the right one is not heard."""
    recent = [at for at in state if at > command.now - WINDOW]
    if len(recent) >= MOST:
        raise Refused("too_many_requests", "Too many wrong activation codes; try again in an hour.")
    return [ActivationCodeRefused(command.product_id, command.customer_id, command.now)] if command.wrong else []


def evolve(state: tuple[datetime, ...], event: ActivationCodeRefused) -> tuple[datetime, ...]:
    """When the last wrong ones were stated."""
    return (*state, event.refused_at)[-MOST:]


GUESSES: Aggregate[tuple[datetime, ...], Guess] = Aggregate((), decide, evolve)


def stream_of(owner_id: str) -> str:
    """The stream of this customer's guesses."""
    return f"guesses-{owner_id}"
