"""Every numbered rule of the device API is named by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[3]
COUNTS = {"MQC": 7, "MQS": 6, "MQP": 7, "MQD": 6, "MQU": 9, "MQF": 11, "MQX": 5, "MQL": 5, "MQE": 10}
RULES = [f"{group}-{number}" for group, count in COUNTS.items() for number in range(1, count + 1)]
_CITED = re.compile(r"(MQ[A-Z])-(\d+(?:(?:, | to )\d+)*)")


def cited(text: str) -> set[str]:
    """The rules that a source names: ``MQE-4``, ``MQE-4, 5, 6`` and ``MQE-4 to 7``."""
    found = set()
    for group, numbers in _CITED.findall(text):
        for part in numbers.split(", "):
            first, _, last = part.partition(" to ")
            found |= {f"{group}-{number}" for number in range(int(first), int(last or first) + 1)}
    return found


@pytest.fixture(scope="module")
def named() -> set[str]:
    here = Path(__file__)
    return {rule for path in TESTS.rglob("test_*.py") if path != here for rule in cited(path.read_text("utf-8"))}


@pytest.mark.parametrize("rule", RULES)
def test_a_test_names_the_rule(rule: str, named: set[str]) -> None:
    assert rule in named


def test_rules_are_read_one_by_one_in_lists_and_in_ranges() -> None:
    assert cited("MQE-4, 5, 9  MQX-1, MQD-2 and MQC-2 to 4") == {
        *("MQE-4", "MQE-5", "MQE-9"),
        *("MQX-1", "MQD-2"),
        *("MQC-2", "MQC-3", "MQC-4"),
    }
