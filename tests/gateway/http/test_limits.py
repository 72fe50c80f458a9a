from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.entries import TokenEntry
from services.gateway.http import limits
from services.gateway.http.limits import Positions, Rate, Share, Slots, TooMany, UnknownTokens, network
from services.gateway.http.ports import Limits
from shared.errors import Refused
from shared.ids import digest
from shared.store.port import Position


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_rate_gives_its_burst_and_then_its_refill() -> None:
    clock = Clock()
    rate = Rate(2, 0.5, clock, what="things")
    rate.take("192.0.2.1")
    rate.take("192.0.2.1")
    with pytest.raises(Refused, match="Too many things"):
        rate.take("192.0.2.1")
    clock.now += timedelta(seconds=1.9)
    with pytest.raises(Refused):
        rate.take("192.0.2.1")
    clock.now += timedelta(seconds=0.2)
    rate.take("192.0.2.1")


def test_refused_attempts_do_not_postpone_the_refill() -> None:
    clock = Clock()
    rate = Rate(1, 1, clock, what="things")
    rate.take("a")
    for _ in range(9):
        clock.now += timedelta(seconds=0.1)
        with pytest.raises(Refused):
            rate.take("a")
    clock.now += timedelta(seconds=0.2)
    rate.take("a")


def test_what_is_given_back_never_exceeds_the_burst() -> None:
    rate = Rate(1, 0, Clock(), what="things")
    rate.give_back("a")
    rate.give_back("a")
    rate.take("a")
    with pytest.raises(Refused):
        rate.take("a")


def test_a_clock_that_is_set_back_gives_nothing_away() -> None:
    clock = Clock()
    rate = Rate(1, 1, clock, what="things")
    rate.take("a")
    clock.now -= timedelta(hours=1)
    with pytest.raises(Refused):
        rate.take("a")


def test_an_ipv6_subscriber_is_one_address_whatever_it_uses_of_its_network() -> None:
    assert network("2001:db8::1") == network("2001:db8::ffff:1") != network("2001:db8:0:1::1")
    assert network("192.0.2.1") != network("192.0.2.2")
    assert network("unix") == "unix"


def test_memories_are_bounded() -> None:
    most = limits.REMEMBERED
    rate, positions, unknown = Rate(1, 0, Clock(), what="x"), Positions(), UnknownTokens(Clock())
    for number in range(most + 1):
        rate.take(str(number))
        positions.remember(str(number), Position(number))
        unknown.add(str(number))
    rate.take("0")
    assert positions.of("0") is None
    assert positions.of("1") == 1
    assert "0" not in unknown
    assert str(most) in unknown


def test_positions_only_grow() -> None:
    positions = Positions()
    positions.remember("t", Position(5))
    positions.remember("t", Position(3))
    assert positions.of("t") == 5


def test_a_slot_that_is_released_is_free_again_and_released_once() -> None:
    slots = Slots()
    mine, ours = Share("mine", 1, "This login has"), Share("ours", 2, "Your team has")
    release = slots.acquire([mine, ours])
    slots.acquire([Share("other", 1, "This login has"), ours])
    with pytest.raises(Refused, match="This login has 1 event streams"):
        slots.acquire([mine])
    with pytest.raises(Refused, match="Your team has 2 event streams"):
        slots.acquire([Share("third", 1, "This login has"), ours])
    release()
    release()
    assert [slots.used(key) for key in ("mine", "ours", "other", "third")] == [0, 1, 1, 0]
    slots.acquire([mine, ours])


def test_whoever_asks_is_told_what_is_left(api: Any) -> None:
    first, second = (api.get("/v1/access_tokens/current").headers for _ in range(2))
    assert (first["ratelimit-limit"], first["ratelimit-remaining"]) == ("1000", "999")
    assert (second["ratelimit-remaining"], second["ratelimit-reset"]) == ("998", "1")


def test_a_noisy_login_is_held_back_and_costs_nobody_else_anything(api: Any, world: Any) -> None:
    statuses = [api.get("/v1/access_tokens/current").status_code for _ in range(1_001)]
    assert statuses == [200] * 1_000 + [429]
    noisy = api.get("/v1/access_tokens/current")
    assert world.error_of(noisy)[:2] == (429, "too_many_requests")
    told = [
        noisy.headers[name] for name in ("retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
    ]
    assert told == ["1", "1000", "0", "10"]
    assert api.get("/v1/access_tokens/current", token=world.STRANGER_TOKEN).status_code == 200
    api.clock.advance(1)
    assert api.get("/v1/access_tokens/current").status_code == 200


@pytest.mark.parametrize("limits", [Limits(calls_by_address_burst=3, calls_by_address_per_s=1)])
def test_an_address_is_held_back_whatever_it_shows(api: Any, world: Any) -> None:
    statuses = [api.get("/v1/user", token=f"{number:040x}").status_code for number in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    elsewhere = api.get("/v1/access_tokens/current", client=("198.51.100.1", 1))
    assert elsewhere.status_code == 200


@pytest.mark.parametrize("limits", [Limits(calls_by_org_burst=3, calls_by_org_per_s=1)])
def test_an_organization_is_held_back_as_a_whole(api: Any, world: Any) -> None:
    other = "99" * 20
    api.directory.add_token(other, "9" * 24, world.OUR_ORG)
    tokens = [world.MEMBER_TOKEN, other, world.MEMBER_TOKEN, other]
    statuses = [api.get("/v1/access_tokens/current", token=token).status_code for token in tokens]
    assert statuses == [200, 200, 200, 429]
    assert api.get("/v1/access_tokens/current", token=world.STRANGER_TOKEN).status_code == 200


def test_an_error_tells_what_is_left_too(api: Any, world: Any) -> None:
    missing = api.get("/v1/products/4711")
    assert (missing.status_code, missing.headers["ratelimit-remaining"]) == (404, "999")


def test_whoever_must_wait_is_told_how_long() -> None:
    clock = Clock()
    rate = Rate(2, 0.1, clock, what="things")
    rate.take("a")
    rate.take("a")
    clock.now += timedelta(seconds=4)
    with pytest.raises(TooMany, match="try again in 6 s") as refusal:
        rate.take("a")
    assert refusal.value.headers() == {
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "16",
        "Retry-After": "6",
    }
    clock.now += timedelta(seconds=refusal.value.retry_after_s)
    rate.take("a")


@pytest.mark.parametrize("limits", [Limits(calls_by_org_burst=3, calls_by_org_per_s=1)])
def test_customers_of_an_organization_do_not_keep_its_team_out(api: Any, world: Any) -> None:
    token = "cc" * 20
    entry = TokenEntry("c" * 24, "c" * 24, "jo@example.org", "lamp-1234", None, world.OUR_ORG, None, "customer")
    api.directory.tokens[digest(token)] = replace(entry, customer_id="c" * 24, product_id=1000)
    statuses = [api.get("/v1/access_tokens/current", token=token).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert api.get("/v1/access_tokens/current").status_code == 200
