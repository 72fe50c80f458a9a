"""The life of a gateway: stream ``gateway-<name>`` with the start and the end of each epoch, and its beats in
``beat-<name>.<epoch>`` (DEV-7).

An epoch is one run of serving devices. It begins with ``GatewayStarted`` at the exact version that was read, so two
processes of one name never share an epoch. While beats cannot be appended the gateway goes on with the sessions that
it has, takes no new ones and keeps trying. Behind each beat it looks at its life: when that shows that the epoch is
over (a newer one has begun, or the devices service has given this one up), beating ends and ``over`` is done.

Beats have a stream of their own so that they can be forgotten: of this epoch the newest ``KEPT_BEATS`` stay, of the
one before it the last. A rebuilt view is the same as before, because only the last beat of an epoch is in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from shared.context import Context
from shared.errors import Conflict, Unavailable
from shared.events.contracts import CONTRACTS, Registry
from shared.events.gateway import GatewayBeat, GatewayLost, GatewayStarted, GatewayStopped
from shared.ids import derived_uuid
from shared.store.port import NO_STREAM, EventStore, Expected, New, StreamNotFound

log = logging.getLogger(__name__)

Over = Literal["lost", "superseded"]
Result = TypeVar("Result")

_TAIL = 100
"""Events of the stream that are looked at for the newest epoch; every one of them names its epoch."""
_ATTEMPTS = 20
KEPT_BEATS = 720
"""An hour of beats with the default lease; a relay that is further behind does not publish what it missed."""


@dataclass(frozen=True, slots=True)
class _Tail:
    expected: int | Expected
    events: Sequence[Any]

    @property
    def epoch(self) -> int:
        return max((event.epoch for event in self.events), default=0)


class Life:
    """One epoch, to be started once. ``lease_s``: without a beat for so long the devices service ends its sessions."""

    def __init__(
        self,
        store: EventStore,
        gateway: str,
        lease_s: int,
        *,
        contracts: Registry = CONTRACTS,
        monotonic: Callable[[], float] = time.monotonic,
        kept_beats: int = KEPT_BEATS,
    ) -> None:
        self.gateway = gateway
        self.epoch = 0
        self.stream = f"gateway-{gateway}"
        self._store = store
        self._lease_s = lease_s
        self._contracts = contracts
        self._monotonic = monotonic
        self._expected: int | Expected = NO_STREAM
        self._expected_beat: int | Expected = NO_STREAM
        self._kept_beats = kept_beats
        self._first_beat = 0
        self._last_beat_s = -float(lease_s)
        self._beats = 0
        # Its own thread: a beat must not queue behind whatever else the process does in threads.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"life-{gateway}")
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self.over: asyncio.Future[Over] | None = None

    @property
    def beats(self) -> str:
        """The stream of this epoch's beats."""
        return self._beats_of(self.epoch)

    @property
    def alive(self) -> bool:
        """Whether a beat was stored within the lease and the epoch is not over."""
        return self._monotonic() - self._last_beat_s < self._lease_s and not (self.over and self.over.done())

    async def start(self) -> int:
        """Begin an epoch and return its number. Raises ``Unavailable``, and ``Conflict`` if others of the same name
        keep starting."""
        self.over = asyncio.get_running_loop().create_future()
        await self._in_thread(self._begin)
        self._task = asyncio.create_task(self._beat_for_ever(), name=f"life-{self.gateway}")
        return self.epoch

    async def stop(self) -> None:
        """End the epoch in order; all its sessions must be over and their facts stored. Raises ``Unavailable`` if the
        store does not take the end; the lease then ends it."""
        try:
            if self._task is None:
                return
            self._stopping.set()  # not cancelled: a beat in its thread must not race with the end
            await self._task
            self._task = None
            if self.over and not self.over.done():
                await self._in_thread(self._append_end)
        finally:
            self._thread.shutdown(wait=False)

    async def _in_thread(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _begin(self) -> None:
        for _ in range(_ATTEMPTS):
            tail = self._read_tail()
            self.epoch = tail.epoch + 1
            self._expected = tail.expected
            begun_s = self._monotonic()
            try:
                # A random command: two processes that start at once must not take each other's start for their own.
                self._write(GatewayStarted(self.gateway, self.epoch, self._lease_s), Context.new(self._actor, ""))
            except Conflict:
                continue
            self._last_beat_s = begun_s
            self._forget(self._beats_of(tail.epoch), 1)
            return
        raise Conflict(self.stream, str(self._expected))

    async def _beat_for_ever(self) -> None:
        pause_s = self._lease_s / 3
        while not await self._stopped_within(pause_s):
            pause_s = self._lease_s / 3
            try:
                over = await self._in_thread(self._beat)
            except Exception as error:
                pause_s = min(1.0, self._lease_s / 6)
                log.error("%s: no beat was stored", self.stream, exc_info=not isinstance(error, Unavailable))
                continue
            if over and self.over and not self.over.done():
                log.error("%s: epoch %d is over: %s", self.stream, self.epoch, over)
                self.over.set_result(over)
                return

    async def _stopped_within(self, pause_s: float) -> bool:
        try:
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    def _beat(self) -> Over | None:
        begun_s = self._monotonic()
        self._append_beat()
        over = self._judge(self._read_tail())
        if over is None:
            self._beats += 1
            self._last_beat_s = begun_s
            self._forget_some()
        return over

    def _append_beat(self) -> None:
        """Nobody else writes this stream. A repeat of the same beat has the same id."""
        new = self._contracts.encode(GatewayBeat(self.gateway, self.epoch), 0, self._context(f"beat-{self._beats}"))
        try:
            self._expected_beat = self._store.append(self.beats, self._expected_beat, [new]).version
        except Conflict:  # somebody wrote there by hand: the next attempt goes behind it
            self._expected_beat = self._last_version(self.beats)
            raise

    def _append_end(self) -> None:
        """Append the end of the epoch, unless it is over already."""
        end = self._contracts.encode(GatewayStopped(self.gateway, self.epoch), 0, self._context("stopped"))
        for _ in range(_ATTEMPTS):
            try:
                self._expected = self._store.append(self.stream, self._expected, [end]).version
            except Conflict:
                tail = self._read_tail()
                self._expected = tail.expected
                if self._judge(tail) is not None:
                    return
            else:
                return
        raise Unavailable(f"{self.stream} is written to by too many")

    def _judge(self, tail: _Tail) -> Over | None:
        if tail.epoch > self.epoch:
            return "superseded"
        lost = any(isinstance(seen, GatewayLost) and seen.epoch == self.epoch for seen in tail.events)
        return "lost" if lost else None

    def _forget_some(self) -> None:
        """Forget old beats, an eighth of what is kept at once."""
        last = self._expected_beat
        if isinstance(last, int) and last - self._first_beat >= self._kept_beats + self._kept_beats // 8:
            self._forget(self.beats, self._kept_beats)
            self._first_beat = last - self._kept_beats + 1

    def _forget(self, stream: str, kept: int) -> None:
        """Keep only the newest beats of an epoch; what goes wrong is made good by the next one."""
        try:
            last = self._last_version(stream)
            if isinstance(last, int) and last >= kept:
                self._store.truncate(stream, last - kept + 1)
        except Unavailable as error:
            log.warning("%s: old beats were not forgotten: %s", stream, error)

    def _last_version(self, stream: str) -> int | Expected:
        try:
            recorded = self._store.read(stream, -1, limit=1, backwards=True)
        except StreamNotFound:
            return NO_STREAM
        return recorded[0].version if recorded else NO_STREAM

    def _beats_of(self, epoch: int) -> str:
        return f"beat-{self.gateway}.{epoch}"

    def _context(self, what: str) -> Context:
        return Context.new(self._actor, "", derived_uuid(self.stream, str(self.epoch), what))

    @property
    def _actor(self) -> str:
        return "system:gateway"

    def _write(self, event: object, context: Context) -> None:
        new: New = self._contracts.encode(event, 0, context)
        self._expected = self._store.append(self.stream, self._expected, [new]).version

    def _read_tail(self) -> _Tail:
        try:
            recorded = self._store.read(self.stream, -1, limit=_TAIL, backwards=True)
        except StreamNotFound:
            return _Tail(NO_STREAM, [])
        expected = recorded[0].version if recorded else NO_STREAM
        return _Tail(expected, [self._contracts.decode(event) for event in recorded])
