from __future__ import annotations

from typing import Any

import pytest

from services.gateway.http.rollout_report import Predicted, joined, outcome

GOES = Predicted("b" * 24, "update", 1, "offline")
STAYS = Predicted("a" * 24, "stay", None, "locked")


@pytest.mark.parametrize(
    ("predicted", "fact", "begun", "word"),
    [
        (GOES, "succeeded", 1, "as_predicted"),
        (GOES, "failed", 1, "worse"),
        (GOES, "dark", None, "worse"),
        (GOES, "asked", 1, "under_way"),
        (GOES, "in_turn", 1, "under_way"),
        (GOES, "left", None, "under_way"),
        (GOES, None, 0, "not_yet"),
        (GOES, None, 1, "never_came"),
        (GOES, None, None, "never_came"),
        (STAYS, None, 1, "stayed"),
        (STAYS, "succeeded", 1, "better"),
        (STAYS, "failed", 1, "worse"),
        (None, "succeeded", 1, "late"),
        (None, "failed", 1, "late"),
    ],
)
def test_prediction_and_fact_are_one_word(  # FW-6
    predicted: Predicted | None, fact: str | None, begun: int | None, word: str
):
    assert outcome(predicted, fact, begun) == word


def test_a_report_has_every_device_in_order_with_both():
    late: dict[str, Any] = {"state": "dark", "stage": 0, "turns": 2}
    done: dict[str, Any] = {"state": "succeeded", "stage": 1, "turns": 1}
    lines = list(joined([STAYS, GOES], {"b" * 24: done, "ab" * 12: late}, 1))
    assert [(line["id"], line["outcome"], line["fact"], line["turns"]) for line in lines] == [
        ("a" * 24, "stayed", None, 0),
        ("ab" * 12, "late", "dark", 2),
        ("b" * 24, "as_predicted", "succeeded", 1),
    ]
    assert (lines[0]["reason"], lines[0]["predicted"], lines[2]["predicted_stage"]) == ("locked", "stay", 1)
