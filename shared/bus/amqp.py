"""The bus over RabbitMQ: one connection and one I/O thread a process, nameko's wire protocol on it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from shared.bus import wire
from shared.bus.consumer import AmqpConsumer, EventConsumer, RpcConsumer
from shared.bus.link import PATIENCE_S, START_TIMEOUT_S, AmqpLink
from shared.bus.transport import Consumption, Deliver, EventQueue, Lock
from shared.bus.wire import Message
from shared.errors import Misuse, Unavailable

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class _LoopThread:
    """An asyncio loop on a thread; work is handed over with one wake-up for many."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._work: deque[Callable[[], None]] = deque()
        self._woken = False
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"{name}-io", daemon=True)
        self._thread.start()

    def post(self, work: Callable[[], None]) -> bool:
        """Run it on the loop soon; False when the loop has ended."""
        with self._lock:
            if self._closed:
                return False
            self._work.append(work)
            if not self._woken:
                self._woken = True
                self._loop.call_soon_threadsafe(self._drain)
        return True

    def ask(self, question: Coroutine[Any, Any, Answer], timeout_s: float) -> Answer:
        """Run a coroutine and wait for it. Raises ``Unavailable`` when time is over."""
        future = self.begin(question)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise Unavailable("the broker gave no answer in time") from None

    def begin(self, question: Coroutine[Any, Any, Answer]) -> Future[Answer]:
        """Run a coroutine until it is done or cancelled."""
        return asyncio.run_coroutine_threadsafe(question, self._loop)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)

    def _run(self) -> None:
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self._loop.run_until_complete(asyncio.wait(tasks))
        self._drain()
        self._loop.close()

    def _drain(self) -> None:
        with self._lock:
            work, self._work = self._work, deque()
            self._woken = False
        for do in work:
            try:
                do()
            except Exception:
                log.exception("%s: something failed on the I/O thread", self._thread.name)


class _AmqpConsumption:
    def __init__(self, transport: AmqpTransport, consumer: AmqpConsumer) -> None:
        self._transport = transport
        self._consumer = consumer

    def pause(self) -> None:
        self._transport.post(self._consumer.cancel)

    def close(self) -> None:
        self._transport.forget(self._consumer)


class _AmqpLock:
    def __init__(self, task: Future[None]) -> None:
        self._task = task

    def release(self) -> None:
        self._task.cancel()


class AmqpTransport:
    """See the module. The connection is made at ``start`` and made again whenever it is lost."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self._queues: list[EventQueue] = []
        self._thread: _LoopThread | None = None
        self._link: AmqpLink | None = None

    def start(self) -> None:
        """Raises ``Unavailable`` if there is no broker."""
        thread = _LoopThread(self.name)
        try:
            self._link = thread.ask(self._open(), START_TIMEOUT_S + 5.0)
        except BaseException:
            thread.close()
            raise
        self._thread = thread

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        link, self._link = self._link, None
        if thread is not None and link is not None:
            try:
                thread.ask(link.stop(), 10.0)
            finally:
                thread.close()

    def post(self, work: Callable[[], None]) -> None:
        """Run something on the I/O thread; nothing is left to do on one that has ended."""
        if self._thread is not None:
            self._thread.post(work)

    def request(
        self,
        service: str,
        method: str,
        body: bytes,
        headers: Mapping[str, Any],
        timeout_s: float,
        on_done: Callable[[Message | Exception], None],
        *,
        nested: bool = False,
    ) -> None:
        link, thread = self._link, self._thread
        if link is None or thread is None:
            on_done(Unavailable("the bus is not started"))
            return
        if not thread.post(lambda: link.request(service, method, body, headers, timeout_s, on_done)):
            on_done(Unavailable("the bus stops"))

    def publish(
        self, source: str, event_type: str, body: bytes, headers: Mapping[str, Any], *, handled: bool = False
    ) -> Future[None]:
        patience_s = 0.0 if handled else PATIENCE_S
        exchange = wire.event_exchange(source)
        return self._confirmed(
            lambda link, done: link.publish(exchange, event_type, body, headers, done, patience_s=patience_s)
        )

    def park(self, delivery: Any, handler: str, error: str) -> Future[None]:
        return self._confirmed(lambda link, done: link.park(delivery, handler, error, done))

    def send(self, queue: str, body: bytes, headers: Mapping[str, Any]) -> Future[None]:
        return self._confirmed(lambda link, done: link.publish("", queue, body, headers, done, mandatory=True))

    def depth(self, queue: str) -> Future[int]:
        link, thread = self._started()
        return thread.begin(link.depth(queue))

    def wants(self, source: str, event_type: str) -> bool:
        return True

    def serve(self, service: str, deliver: Deliver, *, prefetch: int) -> Consumption:
        return self._consume(RpcConsumer(service, deliver, prefetch, self.post))

    def declare(self, queue: EventQueue) -> None:
        self._queues.append(queue)
        if self._link is not None and self._thread is not None:
            self._thread.ask(self._link.declare(queue), PATIENCE_S + 10.0)

    def consume(self, queue: EventQueue, deliver: Deliver, *, prefetch: int) -> Consumption:
        return self._consume(EventConsumer(queue, deliver, prefetch, self.post))

    def forget(self, consumer: AmqpConsumer) -> None:
        """Leave a queue for good."""
        link = self._link
        if link is not None:
            self.post(lambda: link.forget(consumer))

    def lock(self, name: str, changed: Callable[[bool], None]) -> Lock:
        link, thread = self._started()
        return _AmqpLock(thread.begin(link.hold_lock(name, changed)))

    def status(self) -> dict[str, Any]:
        """As ``AmqpLink.status``."""
        link = self._link
        return {"connected": False, "problem": "not started"} if link is None else link.status()

    def _consume(self, consumer: AmqpConsumer) -> Consumption:
        link, thread = self._started()
        thread.ask(link.consume(consumer), PATIENCE_S + 10.0)
        return _AmqpConsumption(self, consumer)

    def _confirmed(self, send: Callable[[AmqpLink, Callable[[Exception | None], None]], None]) -> Future[None]:
        done: Future[None] = Future()

        def confirmed(problem: Exception | None) -> None:
            if problem is None:
                done.set_result(None)
            else:
                done.set_exception(problem)

        link, thread = self._link, self._thread
        if link is None or thread is None or not thread.post(lambda: send(link, confirmed)):
            confirmed(Unavailable("the bus is not started"))
        return done

    def _started(self) -> tuple[AmqpLink, _LoopThread]:
        if self._link is None or self._thread is None:
            raise Misuse(f"{self.name} is not started")
        return self._link, self._thread

    async def _open(self) -> AmqpLink:
        link = AmqpLink(self.url, self.name, self._queues)
        await link.start()
        return link
