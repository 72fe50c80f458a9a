"""Event store in one SQLite file, for any number of threads and processes of one host.

One writer at a time, so positions become visible in their order and without holes; what is acknowledged is on disk
(``durable``), or at least survives the death of the process (not ``durable``).
"""

from shared.store.sqlite.store import SqliteEventStore

__all__ = ["SqliteEventStore"]
