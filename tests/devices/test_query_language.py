from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devices.query_language import MAX_CHARS, parse_query, with_owners
from services.devices.query_terms import FIELDS, AllOf, AnyOf, Expression, Not, Term
from shared.errors import Refused

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ONLINE = Term("online", "=", (True,))
LOCKED = Not(Term("locked", "=", (None,)))
OLD = Term("version", "<", (7,))
BETA = Term("group", "=", ("beta",))


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ('online and version < 7 and group = "beta"', AllOf((ONLINE, OLD, BETA))),
        ("online or version < 7 and group = beta", AnyOf((ONLINE, AllOf((OLD, BETA))))),
        ("(online or version < 7) and group = beta", AllOf((AnyOf((ONLINE, OLD)), BETA))),
        ("NOT online AND Locked", AllOf((Not(ONLINE), LOCKED))),
        ("not not online", Not(Not(ONLINE))),
        ("online = no", Term("online", "=", (False,))),
        ("online != true", Not(ONLINE)),
        ("failing", Term("failing", "=", (True,))),
        ("locked = none", Term("locked", "=", (None,))),
        ('name = "none"', Term("name", "=", ("none",))),
        ("version in (6,7 , 8)", Term("version", "=", (6, 7, 8))),
        ("version in (none, 7)", Term("version", "=", (None, 7))),
        ("version != 7", Not(Term("version", "=", (7,)))),
        ("product >= 1000", Term("product", ">=", (1000,))),
        ("name contains 'Ä \\' \"'", Term("name", "contains", ("ä ' \"",))),
        ('notes contains "ÄB"', Term("notes", "contains", ("Äb",))),
        ("id starts_with 53FF", Term("id", "starts_with", ("53ff",))),
        ('text contains "and"', Term("text", "contains", ("and",))),
        ("name = online", Term("name", "=", ("online",))),
        ("name = android", Term("name", "=", ("android",))),
        ("last_heard > 7d", Term("last_heard", "<", (NOW - timedelta(days=7),))),
        ("last_heard <= 90s", Term("last_heard", ">=", (NOW - timedelta(seconds=90),))),
        ("connected < 2026-01-31", Term("connected", "<", (datetime(2026, 1, 31, tzinfo=UTC),))),
        ("connected >= 2026-01-31T14:00:00+02:00", Term("connected", ">=", (datetime(2026, 1, 31, 12, tzinfo=UTC),))),
        ("last_heard = none", Term("last_heard", "=", (None,))),
        ("last_heard", Not(Term("last_heard", "=", (None,)))),
        ("(" * 300 + "online" + ")" * 300, ONLINE),
    ],
)
def test_a_query_is_read_as_it_is_meant(text: str, expression: Expression):  # DEV-6
    assert parse_query(text, NOW) == expression


@pytest.mark.parametrize(
    ("text", "column", "found", "expected", "advice"),
    [
        ("online and", 11, "the end", "`(`, `not` or a field", "Complete it"),
        ("online and and", 12, "`and`", "`(`, `not` or a field", '"and" in quotes'),
        ("(online", 8, "the end", "`)`", "Complete it"),
        ("online)", 7, "`)`", "the end", "docs/queries.md"),
        ("online version", 8, "`version`", "an operator", "Join comparisons"),
        ("name = tea pot", 12, "`pot`", "`and`", "quotes"),
        ("version <", 10, "the end", "a value", "Complete it"),
        ("version < < 7", 11, "`<`", "a value", ""),
        ('name = "tea', 8, "a quote that is never closed", "the same quote", "Close it"),
        ("version ! 7", 9, "`!`", "operator", "in quotes"),
        ("online and verison < 7", 12, "`verison`", "a field (online, version,", "Did you mean version?"),
        ("xyzzy = 7", 1, "`xyzzy`", "a field", "Put text in quotes"),
        ("version contains 7", 9, "`contains`", "=, !=, <, <=, >, >= or in behind version", "version is"),
        ("online > 3", 8, "`>`", "= or != behind online", ""),
        ("online = maybe", 10, "`maybe`", "true or false", "online alone"),
        ("version = 65536", 11, "`65536`", "from 0 to 65535", "version is"),
        ("version = seven", 11, "`seven`", "a whole number", ""),
        ("version < none", 11, "none", "a value behind <", "version = none"),
        ("id = none", 6, "none", "an ID", ""),
        ('name = ""', 8, "empty text", "some text", "name = none"),
        ("last_heard = 7d", 14, "`7d`", "none behind =", "longer ago than 7 days"),
        ("last_heard > soon", 14, "`soon`", "an age, a date", "Examples: 90s"),
        ("last_heard > 9999999w", 14, "`9999999w`", "at most 36500d", "shorter"),
        ("connected < 2026-01-31T12:00:00", 13, "`2026-01-31T12:00:00`", "with its zone", "Add Z"),
        ("connected < 0001-01-01T00:00:00+10:00", 13, "`0001", "the years 1 and 9999", ""),
        ("last_heard < none", 14, "none", "a time or an age", "last_heard = none"),
        ("text", 5, "nothing", "contains", 'text contains "…"'),
        ("text = 7", 6, "`=`", "contains behind text", ""),
        ("", 1, "the end", "a field", ""),
        ("not " * 22 + "online", 85, "a further level", "at most 20", "flatter"),
        ("online or " * 50 + "online", 501, "a further comparison", "at most 50", "in (…)"),
        (f"version in ({','.join(['7'] * 101)})", 213, "a further value", "at most 100", "in parts"),
        ("x" * (MAX_CHARS + 1), MAX_CHARS + 1, "more", "at most 2000 characters", "shorter"),
        ("x\x1by = 3", 1, "`x?y`", "a field", ""),
        ("y" * 100 + " = 3", 1, "`" + "y" * 39 + "…`", "a field", ""),
    ],
)
def test_a_complaint_says_where_what_and_what_to_do(
    text: str, column: int, found: str, expected: str, advice: str
):  # DEV-6
    with pytest.raises(Refused) as refusal:
        parse_query(text, NOW)
    reason = refusal.value.reason
    assert refusal.value.code == "invalid_request"
    assert json.loads(refusal.value.detail) == {"field": "query", "column": column}
    assert reason.startswith(f"query, column {column}: found {found}")
    assert expected in reason.split("expected", 1)[1]
    assert advice in reason


words = st.sampled_from(["(", ")", "and", "or", "not", "in", ",", "=", "<", '"x', "'y'", "7", "7d", "none", *FIELDS])


@given(st.lists(words, max_size=12).map(" ".join) | st.text(max_size=60))
def test_any_text_is_an_expression_or_a_complaint(text: str):
    try:
        parse_query(text, NOW)
    except Refused as refusal:
        detail = json.loads(refusal.detail)
        assert detail["field"] == "query"
        assert 1 <= detail["column"] <= len(text) + 1


def test_owners_are_looked_up_by_their_addresses_once_each():
    asked: list[str] = []

    def named(address: str) -> list[str]:
        asked.append(address)
        return ["a", "b"]

    expression = parse_query("owner in (x@y.z, c) or not owner = x@y.z or owner != none", NOW)
    assert with_owners(expression, named) == AnyOf(
        (
            Term("owner", "=", ("a", "b", "c")),
            Not(Term("owner", "=", ("a", "b"))),
            Not(Term("owner", "=", (None,))),
        )
    )
    assert asked == ["x@y.z"]


def test_many_addresses_are_refused():
    addresses = ", ".join(f"x{number}@y.z" for number in range(11))

    def never(address: str) -> Any:
        raise AssertionError(address)

    with pytest.raises(Refused, match="11 addresses of owners"):
        with_owners(parse_query(f"owner in ({addresses})", NOW), never)
