"""The groups of one product (contract 10). Pure.

Stream ``groups-<product id>``. A name that was deleted, or given up for another one, is taken until no device is in it
any more; devices leave it in steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.groups import GroupCreated, GroupDeleted, GroupDescribed, GroupEmptied, GroupRenamed

MOST_GROUPS = 1_000
"""Of one product."""
NO_GROUP = "Group not found."

Event = GroupCreated | GroupDescribed | GroupRenamed | GroupDeleted | GroupEmptied


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """Make a group that does not exist yet."""

    product_id: int
    name: str
    description: str
    color: str


@dataclass(frozen=True, slots=True)
class EnsureGroups:
    """Devices are put into these; those that do not exist are made. ``leaving``: names that devices are leaving still
    are passed over, instead of refused."""

    product_id: int
    names: frozenset[str]
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """None leaves as it is."""

    product_id: int
    name: str
    renamed: str | None = None
    description: str | None = None
    color: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Let its devices leave it."""

    product_id: int
    name: str


@dataclass(frozen=True, slots=True)
class FreeName:
    """No device is in what was called so."""

    product_id: int
    name: str


Command = CreateGroup | EnsureGroups | ChangeGroup | DeleteGroup | FreeName


@dataclass(frozen=True, slots=True)
class Groups:
    """What ``decide`` asks for: description and color of each, and names that devices are leaving, for another group or
    for none."""

    present: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    left: Mapping[str, str | None] = field(default_factory=dict)


def decide(state: Groups, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case CreateGroup(product_id, name, description, color):
            _must_be_free(state, name)
            _must_have_room(state, 1)
            return [GroupCreated(product_id, name, description, color)]
        case EnsureGroups():
            return _ensure(state, command)
        case ChangeGroup():
            return _change(state, command)
        case DeleteGroup(product_id, name):
            _must_exist(state, name)
            return [GroupDeleted(product_id, name)]
        case FreeName(product_id, name):
            return [GroupEmptied(product_id, name)] if name in state.left else []
        case _:
            assert_never(command)


def _ensure(state: Groups, command: EnsureGroups) -> list[Event]:
    missing = sorted(command.names - state.present.keys())
    if not command.leaving:
        for name in missing:
            _must_not_be_left(state, name)
    made = [name for name in missing if name not in state.left]
    _must_have_room(state, len(made))
    return [GroupCreated(command.product_id, name, "", "") for name in made]


def _change(state: Groups, command: ChangeGroup) -> list[Event]:
    product_id, name = command.product_id, command.name
    before = _must_exist(state, name)
    described = (
        before[0] if command.description is None else command.description,
        before[1] if command.color is None else command.color,
    )
    if command.renamed is None or command.renamed == name:
        return [] if described == before else [GroupDescribed(product_id, name, *described)]
    _must_be_free(state, command.renamed)
    return [GroupCreated(product_id, command.renamed, *described), GroupRenamed(product_id, name, command.renamed)]


def _must_exist(state: Groups, name: str) -> tuple[str, str]:
    if name not in state.present:
        raise NotFound(NO_GROUP)
    return state.present[name]


def _must_be_free(state: Groups, name: str) -> None:
    if name in state.present:
        raise Refused("name_taken", f"The product has a group called {name} already.")
    _must_not_be_left(state, name)


def _must_not_be_left(state: Groups, name: str) -> None:
    if name in state.left:
        raise Refused("group_leaving", f"Devices are leaving what was called {name}; try again in a moment.")


def _must_have_room(state: Groups, more: int) -> None:
    if more and len(state.present) + more > MOST_GROUPS:
        raise Refused("too_many_groups", f"A product has at most {MOST_GROUPS} groups; delete one first.")


def evolve(state: Groups, event: Event) -> Groups:
    """What the event makes true."""
    match event:
        case GroupCreated(_, name, description, color) | GroupDescribed(_, name, description, color):
            return replace(state, present={**state.present, name: (description, color)})
        case GroupRenamed(_, name, renamed):
            return _without(state, name, into=renamed)
        case GroupDeleted(_, name):
            return _without(state, name, into=None)
        case GroupEmptied(_, name):
            return replace(state, left={one: into for one, into in state.left.items() if one != name})
        case _:
            assert_never(event)


def _without(state: Groups, name: str, into: str | None) -> Groups:
    present = {one: described for one, described in state.present.items() if one != name}
    return Groups(present, {**state.left, name: into})


GROUPS: Aggregate[Groups, Command] = Aggregate(Groups(), decide, evolve)


def stream_of(product_id: int) -> str:
    """The stream of a product's groups."""
    return f"groups-{product_id}"
