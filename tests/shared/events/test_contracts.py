import dataclasses
import typing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import marshmallow as ma
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.context import Context
from shared.errors import Misuse
from shared.events.catalogue import catalogue
from shared.events.contracts import CONTRACTS, Contract, Registry, UnknownEvent
from shared.events.devices import DeviceImported, ImportAdvanced, ImportFinished, ImportProblem
from shared.events.fields import Event, Text
from shared.events.firmware import FirmwareReleased
from shared.events.metadata import metadata
from shared.events.orgs import TokenIssued
from shared.events.quick import quick_check
from shared.events.schemas import schema_of
from shared.people.personal import personal_fields
from shared.store.port import Position, Recorded
from tests.keys import contracts_with_keys

DEVICE = "0123456789abcdef01234567"
CONTEXT = Context.new("account:a", "test", UUID(int=7))


def recorded(event: object, context: Context = CONTEXT, contracts: Registry = CONTRACTS, **changes: Any) -> Recorded:
    new = contracts.encode(event, 0, context)
    values: dict[str, Any] = {
        "id": new.id,
        "type": new.type,
        "stream": "s",
        "version": 0,
        "position": Position(1),
        "at": datetime(2026, 1, 1, tzinfo=UTC),
        "data": new.data,
        "meta": new.meta,
    }
    return Recorded(**(values | changes))


def test_an_event_comes_back_as_it_went_in() -> None:
    problem = ImportProblem(3, "x\u00fc", "malformed", "not 24 hex digits")
    event = ImportAdvanced(DEVICE, 1000, 10, 3, 1, 1, 1, [problem], 1)
    assert CONTRACTS.decode(recorded(event)) == event


def test_times_keep_their_zone_and_microseconds() -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
    event = TokenIssued(DEVICE, DEVICE, "particle", "a" * 64, "b" * 64, "wxyz", None, moment)
    assert CONTRACTS.decode(recorded(event)) == event


def test_the_metadata_says_who_and_why() -> None:
    context = dataclasses.replace(CONTEXT, causation_id="cause", source="gateway:a")
    meta = metadata(recorded(DeviceImported(DEVICE, 1000, False), context))
    assert (meta.actor, meta.command, meta.causation, meta.source) == (
        "account:a",
        str(UUID(int=7)),
        "cause",
        "gateway:a",
    )


def test_what_is_seen_is_encoded_as_what_is_asked_for_but_its_own_id_stands_for_the_command() -> None:
    event, context = DeviceImported(DEVICE, 1000, False), Context.new("device:x", "gateway:a")
    seen = CONTRACTS.encode_seen(event, context.actor, context.source, context.command_id)
    asked_for = CONTRACTS.encode(event, 0, context)
    assert (seen.type, seen.data, seen.meta) == (asked_for.type, asked_for.data, asked_for.meta)
    assert seen.id == context.command_id
    with pytest.raises(Misuse):
        CONTRACTS.encode_seen(object(), context.actor, context.source, context.command_id)


@pytest.mark.parametrize(
    "event",
    [
        DeviceImported("not hex", 1000, False),
        DeviceImported(DEVICE.upper(), 1000, False),
        DeviceImported(DEVICE + "\n", 1000, False),
        DeviceImported(DEVICE, 999, False),
        DeviceImported(DEVICE, 65_535, False),
        DeviceImported(DEVICE, typing.cast(int, "1000"), False),
        DeviceImported(DEVICE, 1000, typing.cast(bool, 1)),
        DeviceImported(DEVICE, 1000, typing.cast(bool, None)),
        FirmwareReleased(1000, 65_535, None, False),
        ImportAdvanced(DEVICE, 1000, 1, 1, 0, 0, 1, [ImportProblem(1, "x" * 65, "malformed", "")], 0),
    ],
)
def test_an_event_that_breaks_its_contract_is_a_bug(event: object) -> None:
    with pytest.raises(Misuse, match="breaks its contract"):
        CONTRACTS.encode(event, 0, CONTEXT)


def test_a_class_that_is_no_event_is_a_bug() -> None:
    with pytest.raises(Misuse, match="no registered event"):
        CONTRACTS.encode(ImportProblem(1, "", "malformed", ""), 0, CONTEXT)


def test_event_ids_follow_from_the_command() -> None:
    event = DeviceImported(DEVICE, 1000, False)
    first = CONTRACTS.encode(event, 0, CONTEXT)
    assert CONTRACTS.encode(event, 0, CONTEXT).id == first.id
    assert CONTRACTS.encode(event, 1, CONTEXT).id != first.id
    assert CONTRACTS.encode(event, 0, Context.new("account:a", "test", uuid4())).id != first.id
    assert (
        CONTRACTS.encode(event, 0, CONTEXT, stream="device-b").id != CONTRACTS.encode(event, 0, CONTEXT, stream="d").id
    )


def test_a_type_or_version_from_a_newer_release_is_unknown() -> None:
    event = DeviceImported(DEVICE, 1000, False)
    with pytest.raises(UnknownEvent, match="in no contract"):
        CONTRACTS.decode(recorded(event, type="DeviceTeleported"))
    meta = msgspec.json.encode({"schema": 2, "actor": "a", "command": "c", "correlation": "c"})
    with pytest.raises(UnknownEvent, match="version 2, known up to 1"):
        CONTRACTS.decode(recorded(event, meta=meta))


class DeviceNamed(Event, frozen=True):
    """A third version: version 1 had ``title``, version 2 ``name``, version 3 says who."""

    name: typing.Annotated[str, Text(64)]
    by: typing.Annotated[str, Text(64)]


def test_old_versions_are_upcast_one_version_at_a_time() -> None:
    registry = Registry(
        [
            Contract(
                "devices",
                DeviceNamed,
                3,
                {1: lambda data: {"name": data["title"]}, 2: lambda data: {**data, "by": "unknown"}},
            )
        ]
    )
    for schema, data in ((1, {"title": "kettle"}), (2, {"name": "kettle"}), (3, {"name": "kettle", "by": "unknown"})):
        meta = msgspec.json.encode({"schema": schema, "actor": "a", "command": "c", "correlation": "c"})
        old = recorded(
            DeviceImported(DEVICE, 1000, False), type="DeviceNamed", data=msgspec.json.encode(data), meta=meta
        )
        assert registry.decode(old) == DeviceNamed("kettle", "unknown")


def test_an_import_of_a_time_before_keys_set_none() -> None:
    meta = msgspec.json.encode({"schema": 1, "actor": "a", "command": "c", "correlation": "c"})
    for now in (ImportAdvanced(DEVICE, 1000, 10, 3, 1, 1, 1, [], 0), ImportFinished(DEVICE, 1000, 3, 1, 1, 1, 0)):
        before = msgspec.to_builtins(now)
        del before["keys_set"]
        assert CONTRACTS.decode(recorded(now, data=msgspec.json.encode(before), meta=meta)) == now


def test_a_gap_in_the_upcasters_is_found_at_start() -> None:
    with pytest.raises(Misuse, match=r"versions \[1\]"):
        Registry([Contract("devices", DeviceNamed, 3, {2: lambda data: data})])


def test_a_field_without_a_limit_is_no_contract() -> None:
    class Unlimited(Event, frozen=True):
        text: str

    with pytest.raises(Misuse, match=r"Unlimited.text: .* has no limit"):
        schema_of(Unlimited)


def test_no_unknown_field_passes_the_schema() -> None:
    good = {"device_id": DEVICE, "product_id": 1000, "forced": False}
    assert CONTRACTS.schema("DeviceImported").validate(good) == {}
    assert "colour" in CONTRACTS.schema("DeviceImported").validate({**good, "colour": "red"})


@given(st.data())
def test_every_contract_takes_what_its_schema_describes(data: st.DataObject) -> None:
    """A value made from the schema's own limits passes them and comes back from the bytes as itself."""
    contract, contracts = data.draw(st.sampled_from(list(CONTRACTS))), contracts_with_keys()
    values = {name: data.draw(_values(field)) for name, field in CONTRACTS.schema(contract.name).fields.items()}
    people = {rule.who: rule.prefix + DEVICE for rule in personal_fields(contract.event).values()}
    event = contract.event(**values | people)
    try:
        stored = recorded(event, contracts=contracts)
    except Misuse as problem:
        raise AssertionError(f"{event}: {problem}") from None
    assert contracts.decode(stored) == event
    assert contracts.decode_all([stored]) == [event]


def _values(field: ma.fields.Field[Any]) -> st.SearchStrategy[Any]:
    inner = _not_null(field)
    return st.none() | inner if field.allow_none else inner


def _not_null(field: ma.fields.Field[Any]) -> st.SearchStrategy[Any]:
    if isinstance(field, ma.fields.Nested):
        return _nested_in(field)
    if isinstance(field, ma.fields.List):
        return st.lists(_values(field.inner), max_size=3)
    if isinstance(field, ma.fields.Boolean):
        return st.booleans()
    if isinstance(field, ma.fields.AwareDateTime):
        return st.datetimes(timezones=st.just(UTC))
    limits = {type(check): check for check in field.validators}
    if isinstance(field, ma.fields.Integer):
        return st.integers(limits[ma.validate.Range].min, limits[ma.validate.Range].max)
    if ma.validate.OneOf in limits:
        return st.sampled_from(list(limits[ma.validate.OneOf].choices))
    if ma.validate.Regexp in limits:
        length = limits[ma.validate.Length]
        return st.from_regex(limits[ma.validate.Regexp].regex, fullmatch=True).filter(
            lambda text: length.min <= len(text) <= length.max
        )
    length = limits[ma.validate.Length]
    return st.text(st.characters(codec="utf-8"), min_size=length.min, max_size=min(length.max, 40))


def _nested_in(field: ma.fields.Nested) -> st.SearchStrategy[Event]:
    fields = field.schema.fields
    kind = next(one for one in Event.__subclasses__() if set(one.__struct_fields__) == set(fields))
    return st.builds(kind, **{name: _values(inner) for name, inner in fields.items()})


def test_the_catalogue_names_every_event_and_field() -> None:
    page = catalogue(CONTRACTS)
    for contract in CONTRACTS:
        assert f"### {contract.name} (version {contract.version})" in page
        for name in contract.event.__struct_fields__:
            assert f"| `{name}` |" in page


@given(st.data())
def test_the_quick_yes_is_never_wrong(data: st.DataObject) -> None:
    """Values around and beyond the limits: whatever the quick check takes, the schema takes; and it takes good ones."""
    contract = data.draw(st.sampled_from(list(CONTRACTS)))
    fields = CONTRACTS.schema(contract.name).fields
    good = {name: data.draw(_values(field)) for name, field in fields.items()}
    assert quick_check(contract.event)(contract.event(**good))
    odd = data.draw(st.sampled_from([None, "", "x" * 70_000, -1, 2**64, 1.5, True, [], [None], "é", b"x", 65_535, 999]))
    event = contract.event(**{**good, data.draw(st.sampled_from(sorted(fields))): odd})
    if quick_check(contract.event)(event):
        assert CONTRACTS.schema(contract.name).validate(msgspec.to_builtins(event)) == {}
