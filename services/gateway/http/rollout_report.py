"""What was predicted of the devices of a roll-out, held against what became of them (FW-6). Pure.

================  ==================================================================================================
``as_predicted``  it was to update, and did
``stayed``        it was to stay, and had no turn
``better``        it was to stay, and updated
``worse``         its update failed, or it was not heard of afterwards
``under_way``     it waits for a turn, has one, or left before anything was applied
``not_yet``       it was to update at a stage that has not begun
``never_came``    it was to update, and never asked for its turn: most likely it was not online
``late``          nothing was predicted of it: it joined later
================  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

OUTCOMES = ("as_predicted", "stayed", "better", "worse", "under_way", "not_yet", "never_came", "late")


class Predicted(msgspec.Struct):
    """A line of a prediction."""

    id: str
    would: str
    stage: int | None
    reason: str


def joined(
    predicted: Iterable[Predicted], facts: Mapping[str, Mapping[str, Any]], begun: int | None
) -> Iterator[dict[str, Any]]:
    """A line of the report for each of these devices, in order of their IDs. ``facts``: what became of those that had a
    part in the roll-out; ``begun``: the last stage that did, None when it matters no more, for the roll-out is over."""
    expected = {one.id: one for one in predicted}
    for device_id in sorted({*expected, *facts}):
        yield _line(device_id, expected.get(device_id), facts.get(device_id), begun)


def _line(
    device_id: str, predicted: Predicted | None, fact: Mapping[str, Any] | None, begun: int | None
) -> dict[str, Any]:
    return {
        "id": device_id,
        "outcome": outcome(predicted, None if fact is None else fact["state"], begun),
        "predicted": None if predicted is None else predicted.would,
        "reason": None if predicted is None else predicted.reason,
        "predicted_stage": None if predicted is None else predicted.stage,
        "fact": None if fact is None else fact["state"],
        "stage": None if fact is None else fact["stage"],
        "turns": 0 if fact is None else fact["turns"],
    }


def outcome(predicted: Predicted | None, fact: str | None, begun: int | None) -> str:
    """The word of the table above."""
    if predicted is None:
        return "late"
    if fact is None:
        if predicted.would == "stay":
            return "stayed"
        is_later = begun is not None and predicted.stage is not None and predicted.stage > begun
        return "not_yet" if is_later else "never_came"
    if fact in ("failed", "dark"):
        return "worse"
    if fact == "succeeded":
        return "as_predicted" if predicted.would == "update" else "better"
    return "under_way"
