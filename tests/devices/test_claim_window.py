from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.devices.claim_window import (
    LONGEST_S,
    MAX_REFUSED,
    REFUSED_S,
    Event,
    OpenWindow,
    StateSecret,
    Window,
    decide,
    evolve,
)
from shared.errors import Refused
from shared.events.devices import ClaimSecretRefused, ClaimWindowClosed, ClaimWindowOpened

P, OTHER = 1000, 2000
DEVICE, ADA, SECRET, WRONG = "d" * 24, "a" * 24, "5" * 64, "6" * 64
NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OPENED = ClaimWindowOpened(DEVICE, P, SECRET, NOW + HOUR)


def after(*events: Event) -> Window:
    state = Window()
    for event in events:
        state = evolve(state, event)
    return state


def stated(
    secret: str | None = SECRET, *, product_id: int = P, open_to_all: bool = False, now: datetime = NOW
) -> StateSecret:
    return StateSecret(DEVICE, product_id, ADA, secret, open_to_all, now)


def refused(seconds: int) -> ClaimSecretRefused:
    return ClaimSecretRefused(DEVICE, P, ADA, NOW + timedelta(seconds=seconds))


def code(state: Window, command: StateSecret) -> str:
    with pytest.raises(Refused) as refusal:
        decide(state, command)
    return refusal.value.code


def test_a_window_is_open_as_long_as_the_device_asks_and_a_day_at_most() -> None:  # MQU-7
    assert decide(Window(), OpenWindow(DEVICE, P, SECRET, NOW + HOUR, NOW)) == [OPENED]
    assert decide(Window(), OpenWindow(DEVICE, P, None, NOW + 48 * HOUR, NOW)) == [
        ClaimWindowOpened(DEVICE, P, None, NOW + timedelta(seconds=LONGEST_S))
    ]
    assert decide(Window(), OpenWindow(DEVICE, P, SECRET, NOW, NOW)) == []


def test_asking_again_for_the_same_changes_nothing_and_for_another_secret_does() -> None:
    assert decide(after(OPENED), OpenWindow(DEVICE, P, SECRET, NOW + HOUR, NOW)) == []
    assert len(decide(after(OPENED), OpenWindow(DEVICE, P, WRONG, NOW + HOUR, NOW))) == 1


def test_the_right_secret_closes_the_window_behind_it() -> None:
    (closed,) = decide(after(OPENED), stated())
    assert closed == ClaimWindowClosed(DEVICE, P, "claimed")
    assert code(evolve(after(OPENED), closed), stated()) == "not_open_to_claims"


@pytest.mark.parametrize(
    ("state", "command"),
    [
        (Window(), stated()),
        (after(OPENED), stated(now=NOW + HOUR)),
        (after(OPENED), stated(product_id=OTHER)),
    ],
)
def test_outside_its_window_no_secret_is_right(state: Window, command: StateSecret) -> None:
    assert code(state, command) == "not_open_to_claims"


@pytest.mark.parametrize("secret", [SECRET, None])
def test_without_a_secret_the_device_id_is_enough_only_if_the_product_says_so(secret: str | None) -> None:  # MQU-7
    state = after(ClaimWindowOpened(DEVICE, P, None, NOW + HOUR))
    assert code(state, stated(secret)) == "secret_needed"
    assert decide(state, stated(secret, open_to_all=True)) == [ClaimWindowClosed(DEVICE, P, "claimed")]


def test_no_secret_is_a_wrong_secret_where_one_was_given() -> None:
    assert decide(after(OPENED), stated(None, open_to_all=True)) == [refused(0)]


def test_ten_wrong_secrets_an_hour_close_the_window() -> None:  # MQU-7
    assert (MAX_REFUSED, REFUSED_S) == (10, 3_600)
    state = after(OPENED)
    for second in range(MAX_REFUSED - 1):
        (wrong,) = decide(state, stated(WRONG, now=NOW + timedelta(seconds=second)))
        state = evolve(state, wrong)
    assert decide(state, stated()) == [ClaimWindowClosed(DEVICE, P, "claimed")]
    last = decide(state, stated(WRONG, now=NOW + timedelta(seconds=60)))
    assert last == [refused(60), ClaimWindowClosed(DEVICE, P, "wrong_secrets")]
    for event in last:
        state = evolve(state, event)
    assert code(state, stated(now=NOW + timedelta(seconds=61))) == "not_open_to_claims"


def test_opening_it_again_does_not_forget_wrong_secrets_and_an_hour_does() -> None:
    wrong = [refused(second) for second in range(MAX_REFUSED)]
    again = ClaimWindowOpened(DEVICE, P, SECRET, NOW + 5 * HOUR)
    state = after(OPENED, *wrong, ClaimWindowClosed(DEVICE, P, "wrong_secrets"), again)
    assert len(decide(state, stated(WRONG, now=NOW + timedelta(seconds=11)))) == 2
    assert len(decide(state, stated(WRONG, now=NOW + HOUR + timedelta(seconds=11)))) == 1
    assert decide(state, stated(now=NOW + timedelta(seconds=11))) == [ClaimWindowClosed(DEVICE, P, "claimed")]
