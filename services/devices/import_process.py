"""A long import in a process of its own, so that neither devices nor other calls wait for it.

It is told on its standard input what to do, as one line of JSON, and leaves off behind the chunk in hand when that
ends: it does not outlive whoever started it for long. Two of them at the same import do no harm (``import_run``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from tempfile import TemporaryFile
from typing import IO

import msgspec

from services.devices.fleet import FLEET
from services.devices.import_pace import Pace
from services.devices.import_run import ImportRun
from services.devices.platforms import Platforms
from shared.blobs import open_blobs
from shared.errors import FlotillaError, Unavailable
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.store.open import open_store

NICER = 5
"""By so much it gives way to the processes that serve."""
POLL_S = 0.1
FAILED = 3
"""Its exit code for an error that was to be expected, which is told on its standard error."""
MAX_ERROR = 500


class Order(msgspec.Struct, frozen=True):
    """What to import, and where everything is."""

    store: str
    blobs: str
    views: str
    import_id: str


def run_apart(order: Order, is_over: Callable[[], bool]) -> None:
    """Carry out an import in a process of its own; blocks until its end, or shortly behind that of ``is_over``. Raises
    ``Unavailable`` for whatever keeps it from its end."""
    command = [sys.executable, "-m", __name__]
    with TemporaryFile() as said:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, bufsize=0)  # noqa: S603 - our own
        line = msgspec.json.encode(order) + b"\n"  # not an argument, which everybody on the machine sees
        try:
            _tell(child, lambda stdin: stdin.write(line))
            while child.poll() is None and not is_over():
                with suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_S)
        finally:
            _tell(child, lambda stdin: stdin.close())
            code = child.wait()
        if code:
            said.seek(max(0, said.seek(0, os.SEEK_END) - MAX_ERROR))
            text = said.read().decode(errors="replace").strip()
            raise Unavailable(text if code == FAILED else f"its process ended with {code}: {text}")


def _tell(child: subprocess.Popen[bytes], how: Callable[[IO[bytes]], object]) -> None:
    """Its exit code says why, if it is not there any more."""
    if child.stdin is not None:
        with suppress(BrokenPipeError):
            how(child.stdin)


def main() -> None:
    """The process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which means whoever started it
    os.nice(NICER)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    over = threading.Event()
    threading.Thread(target=_until_told, args=(over,), daemon=True).start()
    try:
        with closing(open_store(order.store)) as store, closing(Database(order.views, "devices")) as database:
            of_another = Platforms(database).of_another
            checkpoints, fleet = database.checkpoints(), database.tables(FLEET).checkpoint
            pace = Pace(lambda: checkpoints.load(fleet))
            run = ImportRun(store, CONTRACTS, open_blobs(order.blobs), of_another, over.is_set, pace=pace)
            run.carry_out(order.import_id)
    except FlotillaError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(FAILED) from None


def _until_told(over: threading.Event) -> None:
    while os.read(0, 1):  # not through Python's buffer, whose lock would be held when the process ends
        pass
    over.set()


if __name__ == "__main__":
    main()
