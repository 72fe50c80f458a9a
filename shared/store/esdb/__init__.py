"""Event store in an EventStoreDB or KurrentDB cluster (server 23.10 or newer), through the client ``esdbclient``."""

from shared.store.esdb.store import EsdbEventStore

__all__ = ["EsdbEventStore"]
