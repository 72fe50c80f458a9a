"""Running parts in the foreground until somebody says stop."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
from collections.abc import Callable

from shared.runtime import Runtime

PR_SET_PDEATHSIG = 1


def until_told(runtime: Runtime, ready: Callable[[], None], stopped: Callable[[], None] = lambda: None) -> None:
    """Start the parts, call ``ready``, wait for SIGINT or SIGTERM, stop them in order."""
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    runtime.start()
    try:
        ready()
        while not told.wait(1.0):
            """Woken every second, because Python delivers signals only to a main thread that runs."""
    finally:
        runtime.stop()
        stopped()


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies, however that happens (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def log_to_stderr(level: str) -> None:
    """One line an entry, with time, level and where it comes from."""
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        stream=sys.stderr,
        force=True,
    )
    if level.lower() != "debug":
        for chatty in ("httpx", "httpcore", "uvicorn.error", "uvicorn.access", "amqp", "kombu"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # seven lines an attempt; our link says it in one
