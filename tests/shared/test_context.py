from __future__ import annotations

from dataclasses import replace

import pytest

from shared.context import MAX_PLACE, MAX_TEXT, Context, about
from shared.store.port import Position

CONTEXT = replace(
    Context.new("account:ada", "gateway:a"),
    causation_id="5b1c",
    causation_place="connection-a.1-2030010100@17",
    after=Position(12),
    token="c" * 24,
    address="sealed:1:00000000:AAAA",
    about="b" * 24 + "/1000",
)


def test_a_context_comes_out_of_its_headers_as_it_went_in() -> None:
    assert Context.from_headers(CONTEXT.headers(), call_id="c", source="s") == CONTEXT
    plain = Context.new("account:ada", "gateway:a")
    assert Context.from_headers(plain.headers(), call_id="c", source="s") == plain
    assert "causation_place" not in plain.headers()


def test_a_place_that_no_stream_of_ours_has_is_cut() -> None:
    sent = {**CONTEXT.headers(), "causation_place": "x" * 10_000}
    assert Context.from_headers(sent, call_id="c", source="s").causation_place == "x" * MAX_PLACE


@pytest.mark.parametrize("name", ["token", "address", "about"])
def test_what_stands_in_events_of_whoever_asks_is_cut(name: str) -> None:
    sent = {**CONTEXT.headers(), name: "x" * 10_000}
    assert getattr(Context.from_headers(sent, call_id="c", source="s"), name) == "x" * MAX_TEXT


def test_a_step_of_a_command_is_of_the_same_caller() -> None:
    step = CONTEXT.step("second")
    assert (step.token, step.address, step.about) == (CONTEXT.token, CONTEXT.address, CONTEXT.about)


def test_a_command_is_about_an_organization_and_perhaps_a_product_of_it() -> None:
    assert [about(None, None), about(None, 1000), about("b", None), about("b", 1000)] == [None, None, "b", "b/1000"]
