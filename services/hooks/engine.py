"""All webhooks at work: in one loop, on a thread of its own, of one of all replicas: the one with the lock.

A task a webhook; those that wait for something to come, or for their next attempt, take next to nothing. What the bus
tells wakes them; it is a hint, and what is delivered is read from the gateways' logs (decision 29).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import timedelta
from time import monotonic
from typing import Any

from services.hooks.attempts import Delivery, Place
from services.hooks.delivering import Courier, End, Means
from services.hooks.feed import ACTOR, Feed
from services.hooks.heard import Heard
from services.hooks.known_hooks import Hook, KnownHooks
from services.hooks.posting import Poster
from shared.bus.client import AsyncBus
from shared.bus.transport import Lock, Transport
from shared.errors import Unavailable
from shared.events.gateway import DevicePublished, ServerPublished

log = logging.getLogger(__name__)

LOCK = "hooks-deliveries"
ROUNDS_AT_ONCE = 256
LOOK_S = 60.0
"""How often a webhook looks for events though nothing was told of."""
KNOWN_S = 2.0
"""How often it is looked whether there are other webhooks, if nobody tells."""
PAUSE_S = 0.05
"""Between two rounds of a webhook of a product; what is told of meanwhile is read at once."""
WIDE_PAUSE_S = 1.0
"""The same of one of an organization or account, which is woken by what other products' devices publish."""
FAULT_S = 30.0
"""After an error of ours."""
TIDY_S = 600.0
END_S = 5.0
"""So long requests that are in hand may take when we are to end."""

Disable = Callable[[Hook, End], None]


class _Serving:
    """A webhook, its task, and what wakes it."""

    def __init__(self, hook: Hook, means: Means) -> None:
        self.hook = hook
        self.courier = Courier(hook, means)
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def end(self) -> None:
        self.courier.stopping = True
        self.wake.set()


class Engine:
    """See the module. ``means`` is made in the loop, of the bus and the poster; ``disable`` blocks."""

    def __init__(
        self,
        transport: Transport,
        open_bus: Callable[[], AsyncBus],
        known: KnownHooks,
        make_poster: Callable[[], Poster],
        make_means: Callable[[Feed, Poster], Means],
        disable: Disable,
    ) -> None:
        self._transport = transport
        self._open_bus = open_bus
        self._known = known
        self._make_poster = make_poster
        self._make_means = make_means
        self._disable = disable
        self._running = contextlib.AsyncExitStack()
        self._serving: dict[str, _Serving] = {}
        self._by_product: dict[int, list[_Serving]] = {}
        self._wide: list[_Serving] = []
        self._gateways: list[str] = []
        self._rounds = asyncio.Semaphore(ROUNDS_AT_ONCE)
        self._changed = asyncio.Event()
        self._has_lock = False
        self._means: Means | None = None

    async def start(self) -> None:
        """Stand in line for the lock. Raises ``Unavailable`` if there is no broker."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End what is in hand and give up the lock; safe to repeat."""
        await self._running.aclose()

    def look(self) -> None:
        """There may be other webhooks; in the loop."""
        self._changed.set()

    async def try_once(self, hook: Hook, gateway: str, heard: Heard) -> Delivery:
        """One attempt that somebody asked for, whatever else this webhook does. Raises ``Unavailable``."""
        if self._means is None:
            raise Unavailable("webhooks are not delivered here yet")
        record, _, _, _ = await Courier(hook, self._means).attempt(gateway, heard)
        return record

    async def read_one(self, hook: Hook, delivery: Delivery) -> Heard | None:
        """The event of an earlier attempt, as it can be had now. Raises ``Unavailable``."""
        if self._means is None or delivery.position is None:
            return None
        place = Place(delivery.position - 1, delivery.at, 0)
        stretch = await self._means.feed.read(hook, delivery.gateway, place, 1)
        return next((event for event in stretch.events if event.id == delivery.event_id), None)

    async def _start(self) -> None:
        loop = asyncio.get_running_loop()
        bus = self._open_bus()
        self._running.push_async_callback(bus.stop)
        await bus.start()
        poster = self._make_poster()
        self._running.push_async_callback(poster.close)
        self._means = self._make_means(Feed(bus), poster)
        await bus.listen(
            "telemetry",
            self._hear,
            types=[DevicePublished.__name__, ServerPublished.__name__],
            wanted=lambda: bool(self._serving),
        )

        def changed(has_lock: bool) -> None:
            loop.call_soon_threadsafe(self._on_lock, has_lock)

        lock: Lock = self._transport.lock(LOCK, changed)
        self._running.callback(lock.release)
        self._running.push_async_callback(self._end_all)
        managing = asyncio.create_task(self._manage(), name="webhooks")
        self._running.push_async_callback(_cancelled, managing)

    def _on_lock(self, has_lock: bool) -> None:
        self._has_lock = has_lock
        self._changed.set()

    def _hear(self, message: dict[str, Any]) -> None:
        if message["meta"].get("actor") == ACTOR:
            return
        said = message["data"]
        name = str(said.get("name", ""))
        for serving in (*self._by_product.get(said.get("product_id"), ()), *self._wide):
            if name.startswith(serving.hook.prefix):
                serving.wake.set()

    async def _manage(self) -> None:
        tidy_at = 0.0
        while True:
            self._changed.clear()
            try:
                if self._has_lock:
                    hooks, self._gateways = await asyncio.to_thread(self._known.read)
                    await self._settle(hooks)
                    if monotonic() >= tidy_at:
                        tidy_at = monotonic() + TIDY_S
                        await asyncio.to_thread(self._tidy)
                else:
                    await self._settle({})
            except Unavailable as error:
                log.warning("webhooks wait: %s", error)
            except Exception:
                log.exception("webhooks wait for an error of ours")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KNOWN_S):
                    await self._changed.wait()

    def _tidy(self) -> None:
        if self._means is not None:
            self._means.deliveries.tidy(self._known.everyone(), self._means.clock())

    async def _settle(self, hooks: dict[str, Hook]) -> None:
        """Have these at work, and no others."""
        over = [serving for hook_id, serving in self._serving.items() if hooks.get(hook_id) != serving.hook]
        await self._end(over)
        for hook_id, hook in hooks.items():
            if hook_id not in self._serving and self._means is not None:
                serving = self._serving[hook_id] = _Serving(hook, self._means)
                serving.task = asyncio.create_task(self._serve(serving), name=f"webhook {hook_id}")
        self._by_product, self._wide = {}, []
        for serving in self._serving.values():
            product_id = serving.hook.owner.product_id
            (self._wide if product_id is None else self._by_product.setdefault(product_id, [])).append(serving)

    async def _end_all(self) -> None:
        await self._end(list(self._serving.values()))

    async def _end(self, over: list[_Serving]) -> None:
        tasks = []
        for serving in over:
            serving.end()
            self._serving.pop(serving.hook.hook_id, None)
            if serving.task is not None:
                tasks.append(serving.task)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=END_S)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _serve(self, serving: _Serving) -> None:
        courier, is_loaded = serving.courier, False
        while not courier.stopping:
            serving.wake.clear()
            pause_s: float | None = FAULT_S
            try:
                if not is_loaded:
                    await courier.load()
                    is_loaded = True
                pause_s = await self._round(serving)
            except Unavailable as error:
                log.warning("webhook %s waits: %s", serving.hook.hook_id, error)
            except Exception:
                log.exception("webhook %s waits for an error of ours", serving.hook.hook_id)
            if pause_s:
                await _wait(serving.wake, pause_s)

    async def _round(self, serving: _Serving) -> float:
        """One round; how long to wait for something to come."""
        courier = serving.courier
        if courier.is_waiting:
            return await self._rest(serving)
        async with self._rounds:
            outcome = await courier.round(self._gateways)
        if isinstance(outcome, End):
            await asyncio.to_thread(self._disable, serving.hook, outcome)
            courier.stopping = True
            self._changed.set()
            return 0.0
        await asyncio.sleep(PAUSE_S if serving.hook.owner.product_id is not None else WIDE_PAUSE_S)
        return 0.0 if outcome else self._until_due_s(courier)

    async def _rest(self, serving: _Serving) -> float:
        """Until it may try again, whatever comes, unless it is to end."""
        while serving.courier.is_waiting and not serving.courier.stopping:
            await _wait(serving.wake, min(self._until_due_s(serving.courier), 1.0))
            if serving.wake.is_set():
                serving.wake.clear()
                await asyncio.sleep(PAUSE_S)
        return 0.0

    def _until_due_s(self, courier: Courier) -> float:
        due_at, means = courier.due_at, self._means
        if due_at is None or means is None:
            return LOOK_S
        return min(max((due_at - means.clock()) / timedelta(seconds=1), 0.001), LOOK_S)


async def _wait(wake: asyncio.Event, at_most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await wake.wait()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
