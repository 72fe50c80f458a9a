"""Groups of a product as they are asked for, and devices that follow what became of them (contract 10).

A device says which groups it is in, the stream of groups which there are. Where the two meet at the same time they are
made to agree: a group that a device was just put into is made, and a device that was put into what was just deleted or
renamed leaves it with the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.devices.changes import group_names
from services.devices.device import DEVICE, ChangeMember, RegroupDevice
from services.devices.device import stream_of as stream_of_device
from services.devices.fleet import FLEET, groups_scope
from services.devices.group_view import GROUPS_VIEW, group_object
from services.devices.groups import (
    GROUPS,
    NO_GROUP,
    ChangeGroup,
    CreateGroup,
    DeleteGroup,
    EnsureGroups,
    FreeName,
    stream_of,
)
from services.devices.members import ensure_groups, must_be_members
from services.devices.products import PRODUCTS
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.errors import NotFound, Refused
from shared.events.devices import DeviceGrouped
from shared.events.groups import GroupDeleted, GroupRenamed
from shared.ids import DeviceId
from shared.projections.view import Row

MAX_DESCRIPTION = 1_000
MAX_COLOR = 32
MAX_DEVICES = 1_000
"""Devices that one call regroups."""
CHUNK = 500
"""Devices that leave a group by one append."""


def list_groups(views: WorkerViews, product_id: int, part: str | None = None) -> dict[str, Any]:
    """All groups of a product, or those whose name has this part, by name."""
    groups = views.table(GROUPS_VIEW)
    query = sa.select(groups).where(groups.c.product_id == product_id).order_by(groups.c.name)
    if part:
        query = query.where(groups.c.name.contains(part, autoescape=True))
    with views.read() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
        sizes, releases = _sizes(views, connection, product_id), _releases(views, connection, product_id)
    return {"groups": [group_object(row, sizes.get(row["name"], 0), releases.get(row["name"])) for row in rows]}


def get_group(views: WorkerViews, product_id: int, name: str) -> dict[str, Any]:
    """One group. Raises ``NotFound``."""
    groups = views.table(GROUPS_VIEW)
    with views.read() as connection:
        query = sa.select(groups).where(groups.c.product_id == product_id, groups.c.name == name)
        row = connection.execute(query).mappings().one_or_none()
        sizes, releases = _sizes(views, connection, product_id), _releases(views, connection, product_id)
    if row is None:
        raise NotFound(NO_GROUP)
    return {"group": group_object(dict(row), sizes.get(name, 0), releases.get(name))}


def _sizes(views: WorkerViews, connection: sa.Connection, product_id: int) -> Mapping[str, int]:
    counts = views.counts(FLEET)
    query = sa.select(counts.c.item, counts.c.n).where(counts.c.scope == groups_scope(product_id))
    return {row.item: row.n for row in connection.execute(query)}


def _releases(views: WorkerViews, connection: sa.Connection, product_id: int) -> Mapping[str, int]:
    products = views.table(PRODUCTS)
    query = sa.select(products.c.group_releases).where(products.c.product_id == product_id)
    releases: Mapping[str, int] | None = connection.execute(query).scalar()
    return releases or {}


def create_group(
    streams: WorkerStreams, product_id: int, name: object, description: object, color: object
) -> dict[str, Any]:
    """A group without devices. Raises ``Refused``: ``name_taken``, ``group_leaving``, ``too_many_groups``."""
    (text,) = group_names([name])
    described = (_text("description", description, MAX_DESCRIPTION), _text("color", color, MAX_COLOR))
    handled = streams.handle(GROUPS, stream_of(product_id), CreateGroup(product_id, text, *described))
    return {"group": _shown(text, described, 0, None), "position": handled.position}


def change_group(
    streams: WorkerStreams, views: WorkerViews, product_id: int, name: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """What is not named stays as it is. Raises ``NotFound``, and ``Refused`` as ``create_group``."""
    renamed = changes.get("name")
    command = ChangeGroup(
        product_id,
        name,
        None if renamed is None else next(iter(group_names([renamed]))),
        *(
            None if changes.get(field) is None else _text(field, changes[field], most)
            for field, most in (("description", MAX_DESCRIPTION), ("color", MAX_COLOR))
        ),
    )
    handled = streams.handle(GROUPS, stream_of(product_id), command)
    now = command.renamed or name
    if now not in handled.state.present:  # the command is repeated, and something else became of the group since
        raise NotFound(NO_GROUP)
    with views.read() as connection:
        # what follows a new name is told as if it had arrived; some of it may have, by now
        sizes, releases = _sizes(views, connection, product_id), _releases(views, connection, product_id)
    size = sum(sizes.get(one, 0) for one in {name, now})
    shown = _shown(now, handled.state.present[now], size, releases.get(now, releases.get(name)))
    return {"group": shown, "position": handled.position}


def _shown(name: str, described: tuple[str, str], device_count: int, released: int | None) -> dict[str, Any]:
    row: Row = {"name": name, "description": described[0], "color": described[1]}
    return group_object(row, device_count, released)


def _text(field: str, value: object, most: int) -> str:
    text = "" if value is None else value
    if not isinstance(text, str) or len(text.strip()) > most:
        raise Refused("invalid_request", f"{field}: Text of at most {most} characters.")
    return text.strip()


def delete_group(streams: WorkerStreams, product_id: int, name: str) -> dict[str, Any]:
    """Its devices leave it behind this. Raises ``NotFound``."""
    return {"position": streams.handle(GROUPS, stream_of(product_id), DeleteGroup(product_id, name)).position}


def regroup(
    streams: WorkerStreams, product_id: int, texts: Sequence[object], add: Sequence[Any], remove: Sequence[Any]
) -> dict[str, Any]:
    """Put many devices into groups and take them out of others. If one of them is no member, nothing happens."""
    if len(texts) > MAX_DEVICES:
        raise Refused("invalid_request", f"At most {MAX_DEVICES} devices at a time.")
    step = RegroupDevice(group_names(add), group_names(remove))
    if step.add & step.remove:
        raise Refused("invalid_request", f"To be added and removed at once: {min(step.add & step.remove)}.")
    found = must_be_members(streams, product_id, texts)
    ensure_groups(streams, product_id, step.add)
    commands = [(stream_of_device(one), ChangeMember(one, product_id, (step,))) for one in found]
    position: int | None = None
    for outcome in streams.handle_many(DEVICE, commands):
        if isinstance(outcome, Exception):
            raise outcome
        position = max(position or 0, outcome.position or 0)
    return {"position": position}


def empty(streams: WorkerStreams, views: WorkerViews, event: GroupDeleted | GroupRenamed) -> None:
    """Let all devices leave what was deleted or renamed, then free its name. ``views`` know of the event. A redelivery
    goes on with those that are left."""
    product_id, name = event.product_id, event.name
    into = event.renamed if isinstance(event, GroupRenamed) else None
    last: str | None = ""
    while last is not None:
        last = _leave(streams, product_id, name, into, _members(views, product_id, name, last))
    streams.handle(GROUPS, stream_of(product_id), FreeName(product_id, name))


def agree(streams: WorkerStreams, views: WorkerViews, event: DeviceGrouped) -> None:
    """A device is in groups that exist: an unknown one is made, one that was given up while the device was put into it
    is left. ``views`` know of the event. What the device has left since is none of its groups any more: an event that
    is heard late would make a group anew that was renamed or deleted meanwhile."""
    unknown = frozenset(event.groups) & _unknown(views, event.product_id, event.device_id)
    if not unknown:
        return
    state = streams.handle(
        GROUPS, stream_of(event.product_id), EnsureGroups(event.product_id, unknown, leaving=True)
    ).state
    steps = tuple(_leaving(name, state.left[name]) for name in sorted(unknown & state.left.keys()))
    if steps:
        _move(streams, [(stream_of_device(event.device_id), ChangeMember(event.device_id, event.product_id, steps))])


def _unknown(views: WorkerViews, product_id: int, device_id: str) -> frozenset[str]:
    """The groups that a device of this product is in, and that are not there."""
    groups, fleet = views.table(GROUPS_VIEW), views.table(FLEET)
    is_here = sa.and_(fleet.c.device_id == device_id, fleet.c.product_id == product_id)
    with views.read() as connection:
        own = frozenset(connection.execute(sa.select(fleet.c.groups).where(is_here)).scalar() or ())
        wanted = sa.and_(groups.c.product_id == product_id, groups.c.name.in_(sorted(own)))
        return own.difference(connection.execute(sa.select(groups.c.name).where(wanted)).scalars())


def _leave(
    streams: WorkerStreams, product_id: int, name: str, into: str | None, found: Sequence[DeviceId]
) -> DeviceId | None:
    """Take these out; the last of them, None when there were none."""
    step = _leaving(name, into)
    _move(streams, [(stream_of_device(one), ChangeMember(one, product_id, (step,))) for one in found])
    return found[-1] if found else None


def _leaving(name: str, into: str | None) -> RegroupDevice:
    add = frozenset() if into is None else frozenset({into})
    return RegroupDevice(add, frozenset({name}), only_from=name)


def _move(streams: WorkerStreams, commands: Sequence[tuple[str, ChangeMember]]) -> None:
    for outcome in streams.handle_many(DEVICE, commands):
        if isinstance(outcome, Exception) and not isinstance(outcome, NotFound):  # not of this product any more
            raise outcome


def _members(views: WorkerViews, product_id: int, name: str, behind: str) -> list[DeviceId]:
    members = views.members(FLEET).c
    query = sa.select(members.device_id).where(
        members.scope == groups_scope(product_id), members.item == name, members.device_id > behind
    )
    with views.read() as connection:
        return [DeviceId(one) for one in connection.execute(query.order_by(members.device_id).limit(CHUNK)).scalars()]
