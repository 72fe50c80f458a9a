"""The personal fields of one class of events: which they are, sealing them, opening them (EVT-5)."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import msgspec

from shared.errors import Misuse
from shared.events.fields import FORGOTTEN, UNOPENED, Event, Forgets, Personal
from shared.people.keys import Gone, Keys
from shared.people.sealing import NotSealed, OtherKey, seal, unseal


def personal_fields(event: type[Event]) -> dict[str, Personal]:
    """The fields of this class that are marked as personal, in order. Raises ``Misuse`` for a mark of no use."""
    found = dict(_marked(event, Personal))
    for name, rule in found.items():
        if rule.who not in event.__struct_fields__:
            raise Misuse(f"{event.__name__}.{name}: there is no field {rule.who}")
    return found


def forgets(event: type[Event]) -> str | None:
    """The field with the account id of whoever this class of events forgets."""
    return next((name for name, _ in _marked(event, Forgets)), None)


@cache
def _marked(event: type[Event], kind: type) -> tuple[tuple[str, Any], ...]:
    return tuple(_marks(event, kind))


def _marks(event: type[Event], kind: type) -> Iterator[tuple[str, Any]]:
    for name, hint in typing.get_type_hints(event, include_extras=True).items():
        marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        for mark in marks:
            if isinstance(mark, kind):
                yield name, mark


class Sealer:
    """Seals and opens the personal fields of one class of events. ``keys`` None: of a process that has none."""

    def __init__(self, event: type[Event], keys: Keys | None) -> None:
        self._type = event.__name__
        self._fields = personal_fields(event)
        self._keys = keys

    def sealed(self, event: Any) -> Any:
        """The event as it is stored. Raises ``Misuse`` without keys, and ``Unavailable`` if the person's is lost."""
        return self._changed(event, self._sealed)

    def opened(self, event: Any) -> Any:
        """The event as it was, or with ``FORGOTTEN`` for what nobody can open any more. Raises
        ``msgspec.ValidationError`` for what was altered."""
        return self._changed(event, self._opened)

    def _changed(self, event: Any, change: Callable[[str, str, str], str]) -> Any:
        changes = {
            name: change(name, getattr(event, name), self._person(event, name, rule))
            for name, rule in self._fields.items()
            if rule.only is None or getattr(event, rule.only[0]) == rule.only[1]
        }
        return msgspec.structs.replace(event, **changes) if changes else event

    def _person(self, event: Any, name: str, rule: Personal) -> str:
        who: str | None = getattr(event, rule.who)
        if who is None or not who.startswith(rule.prefix):
            raise Misuse(f"{self._type}.{name} is personal, and {rule.who} says no account")
        return who.removeprefix(rule.prefix)

    def _sealed(self, name: str, text: str, person: str) -> str:
        if self._keys is None:
            raise Misuse(f"{self._type}.{name} is personal, and this process has no keys: use CONTRACTS.with_keys")
        key = self._keys.key_for(person)
        return FORGOTTEN if isinstance(key, Gone) else seal(key, text, self._where(name, person))

    def _opened(self, name: str, text: str, person: str) -> str:
        if text == FORGOTTEN:
            return text
        if self._keys is None:
            return UNOPENED
        key = self._keys.find(person)
        if key is None or isinstance(key, Gone):
            return FORGOTTEN
        try:
            return unseal(key, text, self._where(name, person))
        except OtherKey:
            return FORGOTTEN
        except NotSealed as problem:
            raise msgspec.ValidationError(f"{self._type}.{name} cannot be opened: {problem}") from None

    def _where(self, name: str, person: str) -> str:
        return f"{self._type}/{name}/{person}"
