"""One webhook at work, with gateways and a receiver that behave as told, and its places on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.hooks.attempts import Place
from services.hooks.deliveries import KEPT_DELIVERIES, Deliveries
from services.hooks.delivering import Courier, End, Means
from services.hooks.feed import Stretch
from services.hooks.heard import Heard
from services.hooks.hook_request import HookRequest
from services.hooks.known_hooks import Hook
from services.hooks.posting import Answer
from services.hooks.schedule import DISABLED_AFTER
from services.hooks.webhooks import Owner
from services.hooks.writing import Outgoing, Published
from shared.errors import Unavailable
from shared.projections.database import Database

START = datetime(2026, 5, 1, tzinfo=UTC)
HOOK = Hook("a" * 24, Owner(product_id=1000), "e", None, HookRequest("https://h.example/"), START, 0, START)


@dataclass
class Gateways:
    """Logs by gateway; ``after`` counts from 1."""

    logs: dict[str, list[Heard]] = field(default_factory=lambda: {"a": []})
    away: set[str] = field(default_factory=set)
    reads: int = 0
    gap: bool = False
    published: list[str] = field(default_factory=list)

    async def read(self, hook: Hook, gateway: str, place: Place, most: int) -> Stretch:
        self.reads += 1
        if gateway in self.away:
            raise Unavailable("away")
        behind = [one for one in self.logs[gateway] if one.position > (place.position or 0)]
        page = behind[:most]
        looked = page[-1].position if len(page) < len(behind) else max(len(self.logs[gateway]), place.position or 0)
        return Stretch(page, looked, len(page) == len(behind), self.gap)

    async def publish(
        self, gateway: str, product_id: int | None, owner_id: str | None, events: Sequence[Published]
    ) -> None:
        self.published += [one.name for one in events]


@dataclass
class Receiver:
    """Answers with what ``says`` makes of an event's number."""

    says: Callable[[int], int | None] = lambda number: 200
    asked: list[int] = field(default_factory=list)
    wants: timedelta | None = None

    async def post(self, outgoing: Outgoing, key: bytes) -> Answer:
        number = int(outgoing.message_id)
        self.asked.append(number)
        await asyncio.sleep(0)
        status = self.says(number)
        return Answer(status, "" if status else "no connection", b"", self.wants, 1)

    def new(self) -> list[int]:
        """What was asked since this was asked last."""
        asked, self.asked = self.asked, []
        return asked


@dataclass
class World:
    deliveries: Deliveries
    now: datetime = START
    gateways: Gateways = field(default_factory=Gateways)
    receiver: Receiver = field(default_factory=Receiver)

    def publish(self, *devices: str, gateway: str = "a") -> None:
        log = self.gateways.logs.setdefault(gateway, [])
        for device in devices:
            number = len(log) + 1
            log.append(Heard(str(number), number, "e", "x", "", "", device, 1000, None, False))

    def courier(self, hook: Hook = HOOK) -> Courier:
        """As after a start: what is known is what was saved."""
        means = Means(self.gateways, self.receiver, self.deliveries, lambda _: b"key", lambda: self.now, lambda: 0.5)  # type: ignore[arg-type]
        courier = Courier(hook, means)
        asyncio.run(courier.load())
        return courier

    def rounds(self, courier: Courier) -> End | None:
        """Until there is nothing more to do now."""
        while True:
            more = asyncio.run(courier.round(sorted(self.gateways.logs)))
            if isinstance(more, End):
                return more
            if not more:
                return None

    def later(self, courier: Courier) -> End | None:
        """When it is due again."""
        assert courier.due_at is not None
        self.now = max(self.now, courier.due_at)
        return self.rounds(courier)

    def outcomes(self) -> list[tuple[str, str, int]]:
        found = self.deliveries.listed(HOOK.hook_id, None, 100)
        return [(one.event_id, one.outcome, one.tries) for one in reversed(found)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database(f"sqlite:///{tmp_path}", "hooks")
    database.prepare([])
    deliveries = Deliveries(database)
    deliveries.start()
    yield World(deliveries)
    database.close()


def test_everything_is_delivered_once_over_pages_and_restarts(world: World) -> None:
    world.publish(*("abc" * 40))
    world.rounds(world.courier())
    assert sorted(world.receiver.new()) == list(range(1, 121))
    world.publish("a")
    world.rounds(world.courier())
    assert world.receiver.new() == [121]
    assert world.gateways.published.count("hook-sent/e") == 121


def test_while_nothing_gets_through_one_event_is_tried_at_growing_intervals(world: World) -> None:
    world.publish(*"aaabbb")
    world.receiver.says = lambda number: 503
    courier = world.courier()
    world.rounds(courier)
    assert world.receiver.new() == [1, 4]
    waits = []
    for _ in range(4):
        before = world.now
        world.later(courier)
        waits.append((world.now - before).total_seconds())
        assert len(world.receiver.new()) <= 2
    assert waits == [1, 2, 4, 8]
    assert world.gateways.published == ["hook-error/e/0"] * 2
    world.receiver.says = lambda number: 200
    world.later(courier)
    assert sorted(world.receiver.new()) == [1, 2, 3, 4, 5, 6]
    assert courier.due_at is None


def test_a_restart_does_not_forget_how_long_it_has_been_failing(world: World) -> None:
    world.publish("a")
    world.receiver.says = lambda number: None
    end = None
    for _ in range(200):
        courier = world.courier()
        if courier.due_at is not None:
            world.now = max(world.now, courier.due_at)
        end = world.rounds(courier)
        if end is not None:
            break
    assert end == End("failing", "no connection")
    assert DISABLED_AFTER <= world.now - START < DISABLED_AFTER + timedelta(hours=2)


def test_whoever_changes_a_webhook_has_it_tried_at_once_and_the_three_days_begin_anew(world: World) -> None:
    world.publish("a")
    world.receiver.says = lambda number: 500
    courier = world.courier()
    world.rounds(courier)
    assert world.courier().is_waiting
    changed = world.courier(replace(HOOK, changed_at=START + timedelta(seconds=1)))
    assert not changed.is_waiting
    world.rounds(changed)
    assert world.receiver.new() == [1, 1]


def test_an_event_that_alone_does_not_get_through_is_given_up_and_keeps_nobody_else_waiting(world: World) -> None:
    world.publish(*"abababcc")
    world.receiver.says = lambda number: 500 if number == 1 else 200
    courier = world.courier()
    world.rounds(courier)
    assert sorted(world.receiver.new()) == [1, 2, 4, 6, 7, 8]
    world.publish("d")
    world.rounds(courier)
    assert world.receiver.new() == [9]
    for _ in range(20):
        if courier.due_at is None:
            break
        world.later(courier)
        assert not courier.is_waiting
        world.publish("e")
        world.rounds(courier)
    assert [number for number in world.receiver.new() if number < 9 and number != 1] == [3, 5]
    assert ("1", "given_up", 10) in world.outcomes()
    assert world.rounds(world.courier()) is None
    assert world.receiver.new() == []


def test_what_is_refused_is_said_and_left(world: World) -> None:
    world.publish(*"aaa")
    world.receiver.says = lambda number: {1: 404, 2: 302}.get(number, 200)
    world.rounds(world.courier())
    assert world.outcomes() == [("1", "refused", 1), ("2", "refused", 1), ("3", "delivered", 1)]
    assert world.gateways.published == ["hook-error/e/0", "hook-error/e/0", "hook-sent/e"]


def test_who_is_gone_is_not_asked_again(world: World) -> None:
    world.publish(*"aab")
    world.receiver.says = lambda number: 410
    assert world.rounds(world.courier()) == End("gone", "HTTP status 410")
    assert 2 not in world.receiver.new()


def test_a_receiver_that_asks_for_time_gets_it(world: World) -> None:
    world.publish("a")
    world.receiver.says, world.receiver.wants = (lambda number: 429), timedelta(minutes=7)
    courier = world.courier()
    world.rounds(courier)
    assert courier.due_at == START + timedelta(minutes=7)
    world.now += timedelta(minutes=6)
    world.rounds(courier)
    assert world.receiver.new() == [1]


def test_a_gateway_that_is_away_keeps_no_other_waiting_and_is_asked_again(world: World) -> None:
    world.publish("a")
    world.publish("a", "a", gateway="b")
    world.gateways.away = {"a"}
    courier = world.courier()
    world.rounds(courier)
    assert world.receiver.new() == [1, 2]
    assert courier.due_at is not None
    world.gateways.away = set()
    world.later(courier)
    assert world.receiver.new() == [1]
    assert courier.due_at is None


def test_a_rewinding_delivers_again_and_is_heard_of_once(world: World) -> None:
    world.publish(*"aab")
    world.rounds(world.courier())
    rewound = replace(HOOK, since=START - timedelta(days=1), rewinds=1)
    world.rounds(world.courier(rewound))
    world.rounds(world.courier(rewound))
    assert sorted(world.receiver.new()) == [1, 1, 2, 2, 3, 3]


def test_what_was_forgotten_before_it_could_be_delivered_is_said_once(world: World) -> None:
    world.gateways.gap = True
    courier = world.courier()
    world.rounds(courier)
    world.rounds(courier)
    assert [outcome for _, outcome, _ in world.outcomes()] == ["gap"]


def test_events_that_cannot_become_a_request_are_refused_unsent(world: World) -> None:
    world.publish("a")
    hook = replace(HOOK, request=HookRequest("https://h.example/" + "{{PARTICLE_EVENT_NAME}}" * 9_000))
    world.rounds(world.courier(hook))
    assert world.receiver.new() == []
    assert [outcome for _, outcome, _ in world.outcomes()] == ["refused"]


def test_what_is_for_one_person_is_told_to_no_team(world: World) -> None:
    told: list[tuple[int | None, str | None]] = []

    async def publish(gateway: str, product_id: int | None, owner_id: str | None, events: object) -> None:
        told.append((product_id, owner_id))

    world.gateways.publish = publish  # type: ignore[method-assign]
    world.publish("a")
    world.rounds(world.courier())
    world.rounds(world.courier(replace(HOOK, hook_id="b" * 24, owner=Owner(account_id="c" * 24))))
    assert told == [(1000, None), (None, "c" * 24)]


def test_of_the_attempts_the_newest_are_kept_and_of_deleted_webhooks_none(world: World) -> None:
    world.publish(*("abcd" * 400))
    world.rounds(world.courier())
    kept = len(world.deliveries.listed(HOOK.hook_id, None, 100))
    assert kept == 100
    oldest = world.deliveries.find(HOOK.hook_id, "1")
    newest = world.deliveries.find(HOOK.hook_id, "1600")
    assert oldest is None
    assert newest is not None
    assert newest.id > KEPT_DELIVERIES
    world.deliveries.tidy([], world.now)
    assert world.deliveries.listed(HOOK.hook_id, None, 100) == []
    assert world.deliveries.places(HOOK.hook_id) == {}
