"""No search for cyclic garbage while many events are folded: they make none, and it would look at every object."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_pausing = threading.Lock()


@contextmanager
def no_search() -> Iterator[None]:
    """Pause the collector of the process. Of several threads one at a time does, so that it has its turn whenever
    that one is done; the others' work is not kept waiting."""
    if not _pausing.acquire(blocking=False):
        yield
        return
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
        _pausing.release()
