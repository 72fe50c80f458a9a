"""Forgetting events, by the server's means: metadata of a stream (``$tb``: truncated before), deletion, tombstones."""

from __future__ import annotations

from esdbclient.client import EventStoreDBClient
from esdbclient.exceptions import NotFound, StreamIsDeleted, WrongCurrentVersion
from esdbclient.streams import StreamState

from shared.errors import Unavailable
from shared.store.esdb.connection import Connection
from shared.store.esdb.failures import FAILURES, explained
from shared.store.port import StreamTombstoned

ATTEMPTS = 8
"""How often a truncation begins anew because somebody else changed the stream or its metadata."""
TRUNCATE_BEFORE = "$tb"


def truncate(connection: Connection, stream: str, before: int) -> None:
    """As ``EventStore.truncate``. Whoever truncates all there is deletes the stream, so that it can begin anew."""
    client = connection.client()
    try:
        for _ in range(ATTEMPTS):
            try:
                _truncate(client, stream, before, client.deadline_s)
            except WrongCurrentVersion:
                continue
            except NotFound:
                return
            return
    except FAILURES as failure:
        raise explained(failure, f"truncate {stream}") from failure
    raise Unavailable(f"truncate {stream}: others change it all the time")


def _truncate(client: EventStoreDBClient, stream: str, before: int, timeout_s: float) -> None:
    last = client.get_stream(stream, backwards=True, limit=1, timeout=timeout_s)[0].stream_position
    if before > last:
        client.delete_stream(stream, current_version=last, timeout=timeout_s)
        return
    metadata, version = client.get_stream_metadata(stream, timeout=timeout_s)
    if before > metadata.get(TRUNCATE_BEFORE, 0):
        metadata[TRUNCATE_BEFORE] = before
        client.set_stream_metadata(stream, metadata=metadata, current_version=version, timeout=timeout_s)


def truncate_unseen(client: EventStoreDBClient, stream: str, before: int) -> None:
    """Let nobody read the events below ``before``, which need not be there yet. Raises what the client raises."""
    for _ in range(ATTEMPTS):
        metadata, version = client.get_stream_metadata(stream)
        if metadata.get(TRUNCATE_BEFORE, 0) >= before:
            return
        metadata[TRUNCATE_BEFORE] = before
        try:
            client.set_stream_metadata(stream, metadata=metadata, current_version=version)
        except WrongCurrentVersion:
            continue
        return
    raise Unavailable(f"truncate {stream}: others change it all the time")


def delete(connection: Connection, stream: str, forever: bool) -> None:
    """As ``EventStore.delete``."""
    client = connection.client()
    try:
        if forever:
            client.tombstone_stream(stream, current_version=StreamState.ANY, timeout=client.deadline_s)
        else:
            client.delete_stream(stream, current_version=StreamState.ANY, timeout=client.deadline_s)
    except NotFound:
        return
    except StreamIsDeleted:
        if not forever:
            raise StreamTombstoned(stream) from None
    except FAILURES as failure:
        raise explained(failure, f"delete {stream}") from failure
