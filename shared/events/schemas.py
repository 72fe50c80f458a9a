"""The marshmallow schema of an event class, derived from its annotations."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, get_args, get_origin

import marshmallow as ma

from shared.errors import Misuse
from shared.events.fields import Event, Items, Text, Whole


def schema_of(event: type[Event]) -> ma.Schema:
    """The marshmallow schema of an event class; every field needs a limit from ``shared.events.fields``."""
    hints = typing.get_type_hints(event, include_extras=True)
    fields = {name: _field(hints[name], f"{event.__name__}.{name}") for name in event.__struct_fields__}
    return ma.Schema.from_dict(fields, name=event.__name__)(unknown=ma.RAISE)


def _field(hint: Any, where: str, *, nullable: bool = False) -> ma.fields.Field[Any]:
    options: dict[str, Any] = {"required": True, "allow_none": nullable}
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) != 1:
            raise Misuse(f"{where}: a union other than with None")
        return _field(inner[0], where, nullable=True)
    if origin is Literal:
        return ma.fields.String(validate=ma.validate.OneOf(arguments), **options)
    if origin is Annotated:
        return _limited_field(arguments[0], arguments[1:], options, where)
    if hint is bool:
        return _TrueOrFalse(**options)
    if hint is datetime:
        return ma.fields.AwareDateTime(format="iso", **options)
    if isinstance(hint, type) and issubclass(hint, Event):
        return ma.fields.Nested(schema_of(hint), **options)
    raise Misuse(f"{where}: {hint!r} has no limit")


def _limited_field(base: Any, limits: Sequence[object], options: dict[str, Any], where: str) -> ma.fields.Field[Any]:
    match limits[0]:
        case Text(longest, shortest, pattern):
            checks: list[Any] = [ma.validate.Length(shortest, longest)]
            if pattern:
                checks.append(ma.validate.Regexp(f"(?:{pattern})\\Z"))
            return ma.fields.String(validate=checks, **options)
        case Whole(least, most):
            return ma.fields.Integer(strict=True, validate=ma.validate.Range(least, most), **options)
        case Items(most):
            inner = _field(get_args(base)[0], f"{where}[]")
            return ma.fields.List(inner, validate=ma.validate.Length(max=most), **options)
    raise Misuse(f"{where}: {limits[0]!r} is no limit")


class _TrueOrFalse(ma.fields.Boolean):
    """JSON's two booleans; marshmallow's own field also takes 1, 0 and words."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if value is not True and value is not False:
            raise self.make_error("invalid", input=value)
        return bool(value)
