"""Heavy pages of the projections of one process take turns.

Threads that each make many small SQLite calls do not run side by side in Python: every call lets go of the interpreter
lock and must win it back. Taking turns by the page makes an import beside three projectors a little faster; the
measurements, and how little they prove, are in docs/decisions/08.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

HEAVY_ITEMS = 100
"""A stretch over fewer items than this does not wait for a turn: a view that is up to date stays so."""
PATIENCE_S = 1.0
"""After so long it goes on without its turn; it is a matter of speed, never of correctness."""

_turn = threading.Lock()


@contextmanager
def turn(items: int) -> Iterator[None]:
    """Hold the process's turn while working on so many items; for stretches of some ten milliseconds."""
    if items < HEAVY_ITEMS or not _turn.acquire(timeout=PATIENCE_S):
        yield
        return
    try:
        yield
    finally:
        _turn.release()
