from __future__ import annotations

from dataclasses import replace

from shared.context import MAX_PLACE, Context
from shared.store.port import Position

CONTEXT = replace(
    Context.new("account:ada", "gateway:a"),
    causation_id="5b1c",
    causation_place="connection-a.1-2030010100@17",
    after=Position(12),
)


def test_a_context_comes_out_of_its_headers_as_it_went_in() -> None:
    assert Context.from_headers(CONTEXT.headers(), call_id="c", source="s") == CONTEXT
    plain = Context.new("account:ada", "gateway:a")
    assert Context.from_headers(plain.headers(), call_id="c", source="s") == plain
    assert "causation_place" not in plain.headers()


def test_a_place_that_no_stream_of_ours_has_is_cut() -> None:
    sent = {**CONTEXT.headers(), "causation_place": "x" * 10_000}
    assert Context.from_headers(sent, call_id="c", source="s").causation_place == "x" * MAX_PLACE
