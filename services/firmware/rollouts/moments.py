"""When things happened to a roll-out: what its decisions do not say themselves, but their envelopes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from shared.events.rollouts import RolloutHeld, RolloutPaused, RolloutResumed, RolloutStageBegan
from shared.store.port import Position, Recorded


@dataclass(frozen=True, slots=True)
class Moments:
    """When things happened to a roll-out. ``stage_at``: its stage began; ``judged_from``: it was resumed last, there;
    ``judged_at``: then, or when its first stage began; ``stops``: how often it was paused or held."""

    stage_at: datetime | None = None
    judged_from: Position | None = None
    judged_at: datetime | None = None
    stops: int = 0


def moved(moments: Moments, event: Any, recorded: Recorded) -> Moments:
    """The moments after one of its events."""
    match event:
        case RolloutStageBegan():
            return replace(moments, stage_at=recorded.at, judged_at=moments.judged_at or recorded.at)
        case RolloutResumed():
            return replace(moments, judged_from=recorded.position, judged_at=recorded.at)
        case RolloutPaused() | RolloutHeld():
            return replace(moments, stops=moments.stops + 1)
        case _:
            return moments
