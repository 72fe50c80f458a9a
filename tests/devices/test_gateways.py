"""View ``gateways``: what a rebuild makes of a life whose old beats are forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.devices.gateways import fold
from shared.events.gateway import GatewayBeat, GatewayLost, GatewayStarted, GatewayStopped
from shared.projections.view import Row
from shared.store.port import Position, Recorded

Life = GatewayStarted | GatewayBeat | GatewayStopped | GatewayLost
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def folded(events: Sequence[tuple[int, Life]]) -> Row | None:
    """The row after these events, each with its position, a second apart."""
    row: Row | None = None
    for position, event in events:
        at = NOON + timedelta(seconds=position)
        recorded = Recorded(UUID(int=position), type(event).__name__, "s", 0, Position(position), at, b"{}", b"{}")
        row = fold(row, event, recorded)
    return row


def forgotten(events: Sequence[tuple[int, Life]], kept: int) -> list[tuple[int, Life]]:
    """What the store still has when only the newest ``kept`` beats of each epoch stay."""
    left: list[tuple[int, Life]] = []
    counts: dict[int, int] = {}
    for position, event in reversed(events):
        if isinstance(event, GatewayBeat):
            counts[event.epoch] = counts.get(event.epoch, 0) + 1
            if counts[event.epoch] > kept:
                continue
        left.append((position, event))
    return left[::-1]


epochs = st.integers(1, 4)
lives = st.lists(
    st.one_of(
        epochs.map(lambda epoch: GatewayStarted("a", epoch, 15)),
        epochs.map(lambda epoch: GatewayBeat("a", epoch)),
        epochs.map(lambda epoch: GatewayBeat("a", epoch)),
        epochs.map(lambda epoch: GatewayStopped("a", epoch)),
        epochs.map(lambda epoch: GatewayLost("a", epoch)),
    ),
    max_size=60,
)


@given(lives, st.integers(1, 5))
def test_a_rebuild_from_what_is_kept_gives_the_same_row(events: list[Life], kept: int) -> None:  # EVT-2
    numbered = list(enumerate(events, 1))
    assert folded(forgotten(numbered, kept)) == folded(numbered)


def test_only_the_last_beat_of_an_epoch_is_in_its_row() -> None:
    beats: list[Life] = [GatewayBeat("a", 1)] * 50
    numbered = list(enumerate([GatewayStarted("a", 1, 15), *beats], 1))
    row = folded(numbered)
    assert row is not None
    assert row["last_beat_at"] == NOON + timedelta(seconds=51)
    assert folded([numbered[0], numbered[-1]]) == row
