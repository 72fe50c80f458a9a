from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

from deploy.generated import main
from deploy.targets_page import table_rows
from shared.targets import Membership, Rule, decide


def test_the_generated_documents_are_up_to_date() -> None:
    assert main(check=True) == 0


def test_the_table_of_what_a_device_should_run_has_the_rules_of_the_code_in_their_order() -> None:
    head, *rows = table_rows()
    assert head == ["first that fits", "then the device should run", "rules"]
    assert [row[0] for row in rows] == list(get_args(Rule))
    assert "had its turn" in next(row[1] for row in rows if row[0] == "released")


def test_each_row_of_the_table_stands_before_those_below() -> None:
    """Whoever all rows fit gets the first; without what makes that fit, the second, and so on."""
    member = Membership(None, False, True, True, True, 3, False)
    found: list[str] = []
    steps: tuple[dict[str, Any], ...] = (
        {"product_id": 1000},
        {"quarantined": False},
        {"denied": False},
        {"forced": True},
        {"development": False},
        {"locked_version": None},
    )
    for better in steps:
        found.append(decide(member, 2000, 5).rule)
        member = replace(member, **better)
    found += [decide(member, 2000, 5).rule, decide(member, 2000, None).rule]
    assert found == list(get_args(Rule))
