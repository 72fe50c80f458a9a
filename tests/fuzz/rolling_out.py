"""What a directory knows of a device while version 2 is being rolled out, made of bytes."""

from __future__ import annotations

from typing import Any, get_args

from shared.rollouts import PLACES, Releases, Rollout, State

ROLLOUT = "a" * 24
STATES: tuple[State, ...] = get_args(State)


def rolled_out(data: bytes) -> dict[str, Any]:
    """Changes of a ``DeviceEntry``; at least two bytes."""
    state, turn = STATES[data[0] % len(STATES)], data[1]
    rollout = Rollout(ROLLOUT, 2, state=state, share=PLACES, stage=data[0] // 16, intelligent=turn > 127)
    released = 1 if data[0] > 127 else None
    return {
        "released_version": released,
        "releases": Releases(released, {}, (rollout,)),
        "turn": ROLLOUT if turn % 2 else None,
        "turns_ended": turn // 2,
    }
