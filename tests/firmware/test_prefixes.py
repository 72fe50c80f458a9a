"""Versions whose text begins with that of another (MQF-10)."""

from __future__ import annotations

import pytest

from services.firmware.prefixes import prefix_warnings


@pytest.mark.parametrize(
    ("version", "in_use", "width", "warned_of"),
    [
        (10, [1], 0, [1]),
        (100, [1, 10, 2, 100], 0, [1, 10]),
        (2, [1], 0, []),
        (1, [10], 0, []),
        (7, [7], 0, []),
        (10, [1], 5, []),
        (123_45, [1], 2, []),
        (100, [10], 2, [10]),
    ],
)
def test_the_versions_in_use_that_the_new_one_begins_with_are_named(
    version: int, in_use: list[int], width: int, warned_of: list[int]
) -> None:
    warnings = prefix_warnings(version, in_use, width)
    assert [int(warning.split("version ")[1].split(",")[0]) for warning in warnings] == warned_of
