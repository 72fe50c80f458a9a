from __future__ import annotations

import asyncio
import threading

from services.gateway.blob_threads import AT_ONCE, in_blob_thread


def test_who_waits_for_blobs_keeps_nobody_else_from_a_thread() -> None:
    async def body() -> None:
        go = threading.Event()
        waiting = [asyncio.create_task(in_blob_thread(go.wait, 20)) for _ in range(AT_ONCE + 1)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: "answered") == "answered"
        assert not any(task.done() for task in waiting)
        go.set()
        assert await asyncio.gather(*waiting) == [True] * (AT_ONCE + 1)

    asyncio.run(body())
