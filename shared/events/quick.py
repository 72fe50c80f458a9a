"""A quick yes: whether an event is certainly within its limits.

Built from the same annotations as the marshmallow schema, for the path on which a hundred thousand events pass: it
takes a tenth of the schema's time. It only ever says yes; whatever it does not say yes to is for the schema to judge.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Literal, get_args, get_origin

from shared.events.fields import Event, Items, Text, Whole

Check = Callable[[Any], bool]


def quick_check(event: type[Event]) -> Check:
    """For events of this class."""
    hints = typing.get_type_hints(event, include_extras=True)
    fields = [(attrgetter(name), _check(hints[name])) for name in event.__struct_fields__]

    def is_within(value: Any) -> bool:
        for get, check in fields:  # noqa: SIM110 - a loop costs half of what all() and a generator do
            if not check(get(value)):
                return False
        return True

    return is_within


def _check(hint: Any) -> Check:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = _check(next(argument for argument in arguments if argument is not type(None)))
        return lambda value: value is None or inner(value)
    if origin is Literal:
        words = frozenset(arguments)
        return lambda value: type(value) is str and value in words
    if origin is Annotated:
        return _limited(arguments[0], arguments[1])
    if hint is bool:
        return lambda value: value is True or value is False
    if hint is datetime:
        return lambda value: type(value) is datetime and value.tzinfo is not None
    nested = quick_check(hint)
    return lambda value: type(value) is hint and nested(value)


def _limited(base: Any, limit: object) -> Check:
    match limit:
        case Text(longest, shortest, None):
            return lambda value: type(value) is str and shortest <= len(value) <= longest
        case Text(longest, shortest, str() as pattern):
            fits = re.compile(pattern).fullmatch
            return lambda value: type(value) is str and shortest <= len(value) <= longest and fits(value) is not None
        case Whole(least, most):
            return lambda value: type(value) is int and least <= value <= most
        case Items(most):
            inner = _check(get_args(base)[0])
            return lambda value: type(value) is list and len(value) <= most and all(map(inner, value))
    return lambda value: False
