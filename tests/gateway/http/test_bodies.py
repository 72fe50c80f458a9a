from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from threading import current_thread
from typing import Any
from urllib.parse import urlencode

import marshmallow as ma
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.http import bodies
from services.gateway.http.bodies import MAX_BODY_BYTES, MAX_FORM_FIELDS, SHORT_BYTES, form_fields, json_fields
from services.gateway.http.fields import Named
from services.gateway.http.ports import Limits
from services.gateway.http.routes import ROUTES
from shared.bounded_list import BoundedList
from shared.errors import Refused

PATH, OURS = "/v1/orgs", "/v1/orgs/ours"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def fields_or_code(read: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return read(body)
    except Refused as refusal:
        return refusal.code


@settings(deadline=None)
@given(st.binary(max_size=200) | st.from_regex(rb"([a-c]{1,2}(\[[0-9b]?\]){0,4}=[x0-9%]{0,3}&?){0,5}", fullmatch=True))
def test_any_bytes_are_fields_or_refused(body: bytes) -> None:
    for read in (json_fields, form_fields):
        assert isinstance(fields_or_code(read, body), dict) or fields_or_code(read, body) == "invalid_request"


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(exclude_characters="[]", codec="utf-8"), min_size=1), st.text()))
def test_a_flat_form_comes_back_as_it_was_sent(fields: dict[str, str]) -> None:
    assert form_fields(urlencode(fields).encode()) == fields


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("", {}),
        ("a=", {"a": ""}),
        ("a=1&a=2", {"a": "2"}),
        ("g[]=x&g[]=y", {"g": ["x", "y"]}),
        ("g[2]=z&g[0]=x&g[10]=last", {"g": ["x", "z", "last"]}),
        ("i[first_name]=A&i[last_name]=B", {"i": {"first_name": "A", "last_name": "B"}}),
        ("p[groups][]=x&p[name]=n", {"p": {"groups": ["x"], "name": "n"}}),
        ("a]b=1", {"a]b": "1"}),
        ("a+b=c+d%2B", {"a b": "c d+"}),
        ("u=%C3%BC", {"u": "ü"}),
    ],
)
def test_forms_have_lists_and_objects(form: str, fields: Any) -> None:
    assert form_fields(form.encode()) == fields


@pytest.mark.parametrize(
    "form", ["a=1&a[b]=2", "a[b]=1&a=2", "a[b][c][d][e]=1", "u=%ff", "&".join(["a=1"] * (MAX_FORM_FIELDS + 1))]
)
def test_an_impossible_form_is_refused(form: str) -> None:
    with pytest.raises(Refused) as refusal:
        form_fields(form.encode())
    assert refusal.value.code == "invalid_request"


@pytest.mark.parametrize(
    "body",
    [b"[]", b"1", b'"x"', b"null", b"{", b"{'a': 1}", b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b'{"a": NaN}'],
)
def test_what_is_no_json_object_is_refused(api: Any, world: Any, body: bytes) -> None:
    answer = api.put(OURS, content=body, headers={"Content-Type": "application/json"})
    assert world.error_of(answer)[:2] == (400, "invalid_request")


def test_the_problem_says_where_it_is(api: Any, world: Any) -> None:
    answer = api.post(
        "/v1/users", token=None, json={"username": "a", "password": "b", "account_info": {"first_name": 7}}
    )
    assert world.error_of(answer)[2] == "account_info.first_name: Not a valid string."


def test_json_needs_no_content_type_and_nul_is_not_text(api: Any, world: Any) -> None:
    answer = api.post(PATH, content=b'{"name": "a\\u0000b"}', headers={"Content-Type": ""})
    assert world.error_of(answer) == (400, "invalid_request", "name: Must not contain NUL.")


def test_text_may_be_in_any_script(api: Any, world: Any) -> None:
    api.bus.answers["orgs.create_organization"] = {"organization": world.ORGANIZATION}
    name = "Überwachung 数据 \U0001f600"
    assert api.post(PATH, json={"name": name}).status_code == 201
    assert api.post(PATH, data={"name": name}).status_code == 201
    asked = [call.arguments["name"] for call in api.bus.asked]
    assert asked == [name, name]


def test_a_body_of_a_mebibyte_is_read_and_one_more_byte_is_too_large(api: Any, world: Any) -> None:
    api.bus.answers["orgs.rename_organization"] = {"organization": world.ORGANIZATION}
    start = b'{"name": "x", "filler": "'
    full = start + b"x" * (MAX_BODY_BYTES - len(start) - 2) + b'"}'
    assert api.put(OURS, content=full).status_code == 200
    assert world.error_of(api.put(OURS, content=full + b" "))[:2] == (413, "too_large")
    assert world.error_of(api.put(OURS, content=b"a=" + b"x" * MAX_BODY_BYTES, headers=FORM))[:2] == (413, "too_large")


def inner_fields(schema: ma.Schema) -> Iterator[ma.fields.Field[Any]]:
    for one in schema.fields.values():
        yield one
        if isinstance(one, ma.fields.Nested):
            yield from inner_fields(one.schema)


COMING_IN = [schema for route in ROUTES for schema in (route.request, route.query) if schema is not None]
MANY = [
    one
    for one in (one for schema in COMING_IN for one in inner_fields(schema))
    if isinstance(one, ma.fields.List | ma.fields.Mapping)
]


def test_there_are_bounds_to_all_lists_and_objects_that_come_in() -> None:
    bounds = [[v.max for v in one.validators if isinstance(v, ma.validate.Length)] for one in MANY]
    assert len(MANY) > 5
    assert all(0 < most <= 10_000 for (most,) in bounds)
    assert {type(one) for one in MANY} == {BoundedList, Named}


@pytest.mark.parametrize("given", [["x"] * 10_001, [{}] * 10_001, {f"{n}": n for n in range(10_001)}])
def test_of_what_is_too_much_nothing_is_looked_at(given: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_at(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("this takes seconds, in which nobody else is served")

    monkeypatch.setattr(ma.fields.String, "deserialize", looked_at)
    for one in MANY:
        with pytest.raises(ma.ValidationError):
            one.deserialize(given)


def test_a_long_form_is_read_beside_the_loop(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(bodies, "form_fields", lambda body: seen.append((len(body), current_thread().name)) or {})
    for size in (SHORT_BYTES, SHORT_BYTES + 1):
        api.put("/v1/user", content=b"%" * size, headers=FORM)
    (short, at_once), (long, beside) = seen
    assert (short, long) == (SHORT_BYTES, SHORT_BYTES + 1)
    assert at_once != beside


def test_a_file_where_fields_are_wanted_is_refused(api: Any, world: Any) -> None:
    assert world.error_of(api.post(PATH, files={"file": b"x"}))[:2] == (400, "not_supported")


@pytest.mark.parametrize("limits", [Limits(body_s=0.01)])
def test_a_body_that_does_not_arrive_is_given_up(api: Any, world: Any) -> None:
    async def never() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    answer = api.post(PATH, content=never())
    assert world.error_of(answer)[:2] == (408, "timeout")
    assert answer.headers["connection"] == "close"
