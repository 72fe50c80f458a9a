"""From a URL to an event store."""

from __future__ import annotations

from urllib.parse import parse_qsl

from shared.clock import Clock, system_clock
from shared.errors import Refused
from shared.store.port import EventStore

_DURABILITY = {"full": True, "normal": False}


def open_store(url: str, *, clock: Clock = system_clock) -> EventStore:
    """The event store at ``sqlite:///absolute/path`` (a fourth slash is forgiven), made if it is not there.

    ``?durability=normal`` gives up the last moments before a power failure, ``full`` (the default) nothing.
    Raises ``Refused`` (``bad_setting``) for any other URL.
    """
    address, _, query = url.partition("?")
    scheme, _, path = address.partition("://")
    if scheme != "sqlite" or not path.startswith("/") or not path.strip("/"):
        raise Refused("bad_setting", f"{url!r} is no event store: it must be sqlite:///absolute/path")
    options = dict(parse_qsl(query, keep_blank_values=True))
    durability = _DURABILITY.get(options.pop("durability", "full"))
    if durability is None or options:
        raise Refused("bad_setting", f"{url!r}: the only option is durability=normal or durability=full")
    from shared.store.sqlite import SqliteEventStore  # whoever needs the port alone does not pay for an adapter

    return SqliteEventStore("/" + path.lstrip("/"), clock=clock, durable=durability)
