"""Running parts in the foreground until somebody says stop."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import resource
import signal
import sys
import threading
from collections.abc import Callable

from shared.runtime import Runtime

PR_SET_PDEATHSIG = 1
GARBAGE = (50_000, 20, 20)
"""New objects that Python looks for garbage behind, and how many of these make one of the next generation, and of the
one after it."""


def until_told(runtime: Runtime, ready: Callable[[], None], stopped: Callable[[], None] = lambda: None) -> None:
    """Start the parts, call ``ready``, wait for SIGINT or SIGTERM, stop them in order."""
    allow_open_files()
    told = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: told.set())
    runtime.start()
    collect_seldom()
    try:
        ready()
        while not told.wait(1.0):
            """Woken every second, because Python delivers signals only to a main thread that runs."""
    finally:
        runtime.stop()
        stopped()


def allow_open_files() -> None:
    """Let the process have as many open files as it may: every device's connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError):  # macOS says that there is no limit and then refuses to have none
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def collect_seldom() -> None:
    """Have Python look for garbage in cycles less often than after every 700 new objects, and never again among what is
    there now: each device that connects leaves some thirty objects, and looking through all of them takes longer than a
    device should wait. What is in no cycle, which is nearly everything, is freed at once all the same."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


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
    logging.getLogger("stripe").setLevel(logging.WARNING)  # at lower levels it tells what is in requests and answers
    if level.lower() != "debug":
        for chatty in ("httpx", "httpcore", "uvicorn.error", "uvicorn.access", "amqp", "kombu"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # seven lines an attempt; our link says it in one
