"""Reserving a name against the store: looks whether its present holder really carries it, then decides."""

from __future__ import annotations

from datetime import datetime

from services.orgs.accounts import ACCOUNTS
from services.orgs.names import NAMES, Kind, Reserve, comparable, product_name, stream_of
from services.orgs.products import PRODUCTS
from shared.context import Context
from shared.errors import Conflict, Refused
from shared.ids import event_id
from shared.streams import Streams

ATTEMPTS = 32
"""How often a name is looked at again when somebody else reserved it meanwhile."""


def reserve(
    streams: Streams,
    context: Context,
    now: datetime,
    kind: Kind,
    name: str,
    holder_stream: str,
    *,
    moved_from: str | None = None,
    secret: bytes = b"",
) -> bool:
    """Whether the name is this holder's now. Raises ``Conflict`` when others keep coming in between."""
    stream = stream_of(kind, name, secret)
    for attempt in range(1, ATTEMPTS + 1):
        loaded = streams.load(NAMES, stream)
        present = loaded.state.holder_stream
        seen = loaded.state.count
        command = Reserve(
            kind=kind,
            name=name,
            holder_stream=holder_stream,
            seen=seen,
            carried=present is not None and carries(streams, kind, name, present),
            age=now - (loaded.recorded[-1].at if loaded.recorded else now),
            moved_from=moved_from,
            freed=kind == "email" and present is not None and streams.load(ACCOUNTS, present).state.forgotten,
        )
        try:
            streams.handle(NAMES, stream, command, _step(context, stream, seen, holder_stream))
        except Conflict:
            if attempt == ATTEMPTS:
                raise
            continue
        except Refused:
            return False
        return True
    raise AssertionError("unreachable")


def carries(streams: Streams, kind: Kind, name: str, holder_stream: str) -> bool:
    """Whether this holder's own stream says that it has the name."""
    match kind:
        case "email":
            carried = streams.load(ACCOUNTS, holder_stream).state.email
        case "org_slug":
            founded = streams.load(ACCOUNTS, holder_stream).state.founded
            carried = founded.slug if founded else ""
        case "product_slug":
            created = streams.load(PRODUCTS, holder_stream).state.created
            carried = created.slug if created else ""
        case "product_name":
            created = streams.load(PRODUCTS, holder_stream).state.created
            carried = product_name(created.org_id, created.name) if created else ""
    return comparable(carried) == comparable(name)


def reserved_by(streams: Streams, context: Context, kind: Kind, name: str) -> str | None:
    """The present holder if this very command, perhaps an earlier run of it, reserved the name for it."""
    stream = stream_of(kind, name)
    loaded = streams.load(NAMES, stream)
    holder = loaded.state.holder_stream
    if holder is None:
        return None
    step = _step(context, stream, loaded.state.count - 1, holder)
    return holder if loaded.recorded[-1].id == event_id(step.command_id, 0, stream) else None


def _step(context: Context, stream: str, seen: int, holder_stream: str) -> Context:
    return context.step(f"{stream} {seen} {holder_stream}")
