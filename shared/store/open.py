"""From a URL to an event store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl

from shared.clock import Clock, system_clock
from shared.errors import Refused
from shared.store.port import EventStore

_DURABILITY = {"full": True, "normal": False}
_OF_A_CLUSTER = ("esdb://", "esdb+discover://")
_OF_THE_EXTRA = ("esdbclient", "grpc", "google")


def open_store(url: str, *, clock: Clock = system_clock, alone: bool = False) -> EventStore:
    """The event store at ``sqlite:///absolute/path`` (a fourth slash is forgiven), made if it is not there, or in an
    EventStoreDB cluster, ``esdb://user:password@host:port,host:port?Tls=…`` or ``esdb+discover://…``.

    SQLite: ``?durability=normal`` gives up the last moments before a power failure, ``full`` (the default) nothing.
    ``alone``: no other thread of this process will be busy; reading is then faster.
    A cluster is connected at the first call, and its times are the server's, not those of ``clock``.
    Raises ``Refused``: ``bad_setting`` for any other URL, ``missing_extra`` when the cluster's client is not installed.
    """
    if url.startswith(_OF_A_CLUSTER):
        return _open_cluster(url)
    path = sqlite_path(url)
    if path is None:
        shown = url.rpartition("@")[2]  # what is before it may be a password
        raise Refused(
            "bad_setting", f"{shown!r} is no event store: it must be sqlite:///absolute/path or esdb://host:port"
        )
    options = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
    durability = _DURABILITY.get(options.pop("durability", "full"))
    if durability is None or options:
        raise Refused("bad_setting", f"{url!r}: the only option is durability=normal or durability=full")
    from shared.store.sqlite import SqliteEventStore  # whoever needs the port alone does not pay for an adapter

    return SqliteEventStore(path, clock=clock, durable=durability, alone=alone)


def open_existing(url: str) -> EventStore:
    """As ``open_store``, for commands, which look at what is there and have one busy thread. Raises
    ``Refused("no_store")`` too, for an SQLite file that is not there, and leaves nothing in its place."""
    path = sqlite_path(url)
    if path is not None and not path.is_file():
        raise Refused("no_store", f"there is no event store {path}; --data names the folder of a platform that has run")
    return open_store(url, alone=True)


def sqlite_path(url: str) -> Path | None:
    """The file of a store at ``sqlite:///absolute/path``; None for a store of another kind."""
    scheme, _, path = url.partition("?")[0].partition("://")
    return Path("/" + path.lstrip("/")) if scheme == "sqlite" and path.startswith("/") and path.strip("/") else None


def _open_cluster(url: str) -> EventStore:
    try:
        from shared.store.esdb import EsdbEventStore
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _OF_THE_EXTRA:
            raise
        reason = "an EventStoreDB cluster needs its client: pip install 'flotilla[esdb]'"
        raise Refused("missing_extra", reason) from missing
    return EsdbEventStore(url)
