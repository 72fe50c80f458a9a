"""``python -m tests.standins.eventstoredb --port 2113 --folder data``: the stand-in as a process of its own."""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from tests.standins.eventstoredb.node import Node


def main() -> None:
    parser = argparse.ArgumentParser(description="Speaks EventStoreDB's protocol on the loopback; for tests only.")
    parser.add_argument("--port", type=int, default=2113, help="0 for any free one")
    parser.add_argument("--folder", type=Path, help="keeps the log there (default: in memory)")
    given = parser.parse_args()
    if given.folder is not None:
        given.folder.mkdir(parents=True, exist_ok=True)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    node = Node(given.port, given.folder)
    print(node.url, flush=True)
    stopped.wait()
    node.stop()


if __name__ == "__main__":
    main()
