"""Every example of the billing specification, from the file itself. It lies beside the project; without it these tests
cannot run, and say so."""

from __future__ import annotations

import json
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from services.billing.cycle import boundary
from services.billing.money import MONTHS, STANDARD, Configuration, Period, cost, price, proration, to_cents
from services.billing.subscriptions import Policy
from shared.events.billing import Prices
from tests.billing.timelines import Timeline, instants

FILE = Path(__file__).resolve().parents[3] / "shared" / "spec" / "billing-examples.json"
EXAMPLES: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
VECTORS = EXAMPLES.get("vectors", [])

pytestmark = pytest.mark.skipif(not EXAMPLES, reason=f"the specification's examples are not there: {FILE.name}")


def test_the_file_is_the_one_that_is_meant() -> None:
    assert (len(VECTORS), len(EXAMPLES["proration"]), len(EXAMPLES["calendar"])) == (44, 96, 10)
    policy, standard = Policy(), EXAMPLES["policy"]
    assert standard == {
        "trial_days": policy.trial_days,
        "retry_every_days": policy.retry_every_days,
        "failed_attempts_before_lock": policy.failed_attempts_before_lock,
        "minimum_charge_cents": policy.minimum_charge_cents,
        "provider_retry_minutes": list(policy.provider_retry_minutes),
    }
    assert EXAMPLES["plans"] == {
        name: {"months": months, "price_cents": price(STANDARD, name)} for name, months in MONTHS.items()
    }


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_a_timeline_comes_out_as_the_example_says(vector: dict[str, Any]) -> None:
    timeline = Timeline(policy_of(vector))
    for step in vector["timeline"]:
        timeline.do(step)
    timeline.until(datetime.fromisoformat(vector["until"]))
    assert timeline.told() == instants(vector["expect"])


def policy_of(vector: dict[str, Any]) -> Policy:
    cents = {name: price(STANDARD, name) for name in MONTHS}
    cents |= {name: plan["price_cents"] for name, plan in vector.get("plans", {}).items()}
    return Policy(prices=Prices(**cents), **vector.get("policy", {}))


@pytest.mark.parametrize("example", EXAMPLES.get("rounding", []), ids=lambda example: example["exact"])
def test_halves_are_rounded_away_from_zero(example: dict[str, Any]) -> None:  # MON-2
    assert to_cents(Fraction(example["exact"])) == example["cents"]


@pytest.mark.parametrize("example", EXAMPLES.get("calendar", []), ids=lambda example: example["anchor"])
def test_boundaries_are_counted_from_the_anchor(example: dict[str, Any]) -> None:  # CAL-2
    anchor, months = instants(example["anchor"]), example["months"]
    expected = instants(example["boundaries"])
    assert [boundary(anchor, n * months) for n in range(len(expected))] == expected


@pytest.mark.parametrize("number", range(len(EXAMPLES.get("proration", []))))
def test_a_change_inside_a_period_comes_to_what_the_example_says(number: int) -> None:  # BIL-2
    example = instants(EXAMPLES["proration"][number])
    first, last = example["period"]
    period = Period(first, last, example["period_months"], STANDARD)
    before, after = Configuration(**example["before"]), Configuration(**example["after"])
    assert cost(period, before) * Fraction(example["remaining_s"], example["length_s"]) == -Fraction(
        example["exact_unused"]
    )
    lines = {line.kind: line.cents for line in proration(period, example["at"], before, after)}
    if cost(period, before) == cost(period, after):
        assert lines == {}
        assert example["net_cents"] == 0
    else:
        assert lines == {"unused": example["unused_cents"], "remaining": example["remaining_cents"]}
