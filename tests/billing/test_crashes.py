"""The service dies with ``kill -9`` at every instant of charging: before and after each call of the provider, and
before and after each append. Another process goes on, and money has moved once for each invoice that is paid."""

from __future__ import annotations

from typing import Any, cast

import pytest

from services.billing.subscriptions import Policy
from shared.events import billing as b
from shared.store.port import EventStore
from tests.billing.kept import Kept, day
from tests.billing.played_provider import PlayedProvider

ORG = "b" * 24
CALLS = frozenset({"prepare", "execute", "inspect", "abandon"})


class Killed(BaseException):
    """No handler of ours catches it."""


class Deadly:
    """Hands on what is asked of ``inner``, and dies at the instant of this number: two for each call, before and after
    it took effect."""

    def __init__(self, inner: Any, deadly: frozenset[str], instants: list[int]) -> None:
        self._inner, self._deadly, self._left = inner, deadly, instants

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._deadly:
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._pass()
            answer = found(*args, **kwargs)
            self._pass()
            return answer

        return call

    def _pass(self) -> None:
        self._left[0] -= 1
        if self._left[0] == 0:
            raise Killed


def died(kept: Kept, org_id: str, instant: int) -> bool:
    """Whether a process that dies at this instant got there."""
    left = [instant]
    store = cast(EventStore, Deadly(kept.store, frozenset({"append"}), left))
    made = kept.process(store, Deadly(kept.provider, CALLS, left))
    try:
        kept.lives(made, day(45), org_id)
    except Killed:
        return True
    return False


@pytest.mark.parametrize(("kind", "ends"), [("ok", ("active", [4_900])), ("declines", ("inactive", []))])
def test_whenever_the_service_is_killed_money_moves_once(kept: Kept, kind: str, ends: tuple[str, list[int]]) -> None:
    instant = 0
    while True:
        instant += 1
        org_id = f"{instant:024x}"
        kept.real, kept.provider, kept.policy = day(0), PlayedProvider(), Policy(failed_attempts_before_lock=2)
        kept.start(org_id, kind)
        had_died = died(kept, org_id, instant)
        kept.lives(kept.process(), day(45), org_id)
        state, paid = kept.state(org_id), kept.events(org_id, b.PaymentSucceeded)
        assert (state.standing, [event.amount_cents for event in paid]) == ends, instant
        assert kept.provider.moved() == [(event.number, event.amount_cents) for event in paid]
        failed = [event.code for event in kept.events(org_id, b.PaymentFailed)]
        assert failed == ([] if kind == "ok" else ["card_declined"] * 2), instant
        if not had_died:
            break
    assert instant > 10
