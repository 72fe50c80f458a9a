"""Threads for blobs alone: while a bucket does not answer, whoever wants a file waits, and nobody else does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

AT_ONCE = 16

P = ParamSpec("P")
T = TypeVar("T")

_threads = ThreadPoolExecutor(AT_ONCE, "blobs")  # none of them before the first call


async def in_blob_thread(call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """As ``asyncio.to_thread``, in one of these threads."""
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(call, *arguments, **named))
