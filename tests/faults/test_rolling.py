"""What is held against the streams of roll-outs can fail, too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from shared.context import Context
from shared.events import rollouts as r
from shared.events.contracts import CONTRACTS
from shared.events.firmware import FirmwareReleased
from shared.events.gateway import FirmwareReported, UpdateStarted, UpdateSucceeded
from shared.store.port import Position, Recorded
from tests.faults.rolling import BAD, NEW, OLD, Rolling, judged

AT = datetime(2026, 1, 1, tzinfo=UTC)
P = 1000


def rolling() -> Rolling:
    made = Rolling(None, [])  # type: ignore[arg-type]  # nobody is asked
    made.product, made.to_all, made.to_lab, made.cancelled = P, "a" * 24, "b" * 24, True
    return made


def recorded(*events: object) -> list[Recorded]:
    found = []
    for number, event in enumerate(events):
        new = CONTRACTS.encode(event, number, Context.new("system:tests", "tests"))
        found.append(Recorded(new.id, new.type, "x", number, Position(number + 1), AT, new.data, new.meta))
    return found


def good(one: Rolling) -> list[Any]:
    """Both roll-outs as they have to go."""
    told: list[Any] = [
        FirmwareReleased(P, OLD, None, False),
        r.RolloutStageBegan(P, one.to_all, NEW, 0, 5, 2),
        r.RolloutStageBegan(P, one.to_lab, BAD, 0, 5, None),
        r.RolloutTurnsGiven(P, one.to_lab, BAD, 0, one.lab, []),
        r.RolloutTurnsEnded(P, one.to_lab, [], one.lab, [], []),
        r.RolloutPaused(P, one.to_lab, "failed", "3 of 3"),
        *(FirmwareReported(device, P, P, OLD, "", "", "a", 1, 1) for device in one.lab),
    ]
    for first in range(0, len(one.plain), 2):
        two = one.plain[first : first + 2]
        told += [r.RolloutTurnsGiven(P, one.to_all, NEW, 0, two, [])]
        for device in two:
            told += [UpdateStarted(device, P, NEW, 1, "rollout", 5), UpdateSucceeded(device, P, NEW, 1, "rollout")]
            told += [FirmwareReported(device, P, P, NEW, "", "", "a", 1, 1)]
        told += [r.RolloutTurnsEnded(P, one.to_all, two, [], [], [])]
        if not first:
            told += [r.RolloutStageBegan(P, one.to_all, NEW, 1, 9, None)]
    return [*told, r.RolloutCompleted(P, one.to_all), FirmwareReleased(P, NEW, OLD, True)]


def test_what_went_as_it_has_to_is_not_complained_about() -> None:
    one = rolling()
    assert judged(one, recorded(*good(one)), None) == []


def test_each_kind_of_wrong_is_seen() -> None:
    one = rolling()
    story = good(one)
    given = next(event for event in story if isinstance(event, r.RolloutTurnsGiven) and event.rollout_id == one.to_all)
    more = msgspec.structs.replace(given, devices=one.plain[:3])
    assert "3 turns at once, not 2; 3 devices had a turn, not 2" in "; ".join(
        judged(one, recorded(*(more if event is given else event for event in story)), None)
    )
    twice = [event for event in story for _ in range(2 if event is given else 1)]
    assert "a second turn at a time" in "; ".join(judged(one, recorded(*twice), None))
    for left_out, complaint in (
        (r.RolloutPaused, "did not close"),
        (r.RolloutCompleted, "completed 0 times"),
        (FirmwareReleased, "were released to all"),
    ):
        rest = [event for event in story if not isinstance(event, left_out)]
        assert complaint in "; ".join(judged(one, recorded(*rest), None))
    touched = UpdateStarted(one.lab[0], P, BAD, 2, "rollout", 5)
    assert judged(one, recorded(*story, touched), None) == []
    assert "touched after" in "; ".join(judged(one, recorded(*story, touched), len(story)))
