"""The device side of one epoch of one gateway: what listeners of all protocols share, and the listeners themselves.

A protocol is a folder with a listener, which ``bootstrap`` hands to ``serve``; its connections join ``sessions`` and
record through ``store``, so that presence, attempts, questions and news from the directory are the same for all.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import ceil
from typing import Any, Protocol

from services.gateway.devices.admissions import Admissions
from services.gateway.devices.calls import DEFAULT_TIMEOUT_S, Question
from services.gateway.devices.effects import Answer, Now, Record, SessionName, Store
from services.gateway.devices.images import Images
from services.gateway.devices.newcomers import Newcomers
from services.gateway.devices.ports import Blobs, Directory, Facts, Latest, Log, Stored
from services.gateway.devices.questions import Questions
from services.gateway.devices.sessions import Sessions
from services.gateway.devices.subscriptions import EventSubscriptions, Reader
from services.gateway.devices.throttle import AdmissionLimits
from services.gateway.devices.transfers import TransferLimits, Transfers
from services.gateway.devices.usage import Usage
from services.gateway.epochs import Port
from shared.clock import Clock
from shared.context import Context
from shared.errors import Unavailable
from shared.events.gateway import DeviceConnected, DeviceDisconnected, SessionReplaced, UsageCounted

log = logging.getLogger(__name__)

IMAGE_CACHE_BYTES = 64 * 1024 * 1024
SWEEP_S = 10.0
DRAIN_STEP_S = 0.05
COMPLAIN_S = 60.0
"""The log hears of an unreadable directory this seldom."""


class ProtocolListener(Protocol):
    """A protocol's sockets."""

    async def start(self, host: str, port: Port) -> int:
        """Listen on one more port, and answer with its number. Raises ``OSError``."""
        ...

    def stop_accepting(self) -> None:
        """No new connections; those that are there go on."""
        ...

    async def stop(self) -> None:
        """End everything within two seconds or so; safe to call twice and before start."""
        ...

    def status(self) -> dict[str, Any]: ...


class DeviceServer:
    """Everything in the running loop's thread; made in a running loop. ``behind``: for how long what was seen of
    devices has waited to be stored."""

    def __init__(
        self,
        *,
        directory: Directory,
        facts: Facts,
        log: Log,
        blobs: Blobs,
        gateway: str,
        epoch: int,
        clock: Clock,
        latest: Latest | None = None,
        transfer_limits: TransferLimits | None = None,
        admission_limits: AdmissionLimits | None = None,
        behind: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.directory = directory
        self.latest = latest
        self.gateway = gateway
        self.epoch = epoch
        self.loop = asyncio.get_running_loop()
        self.counts: Counter[str] = Counter()
        self.draining = False
        self.admissions = Admissions(self.loop, self.counts, behind, admission_limits)
        self.images = Images(blobs, IMAGE_CACHE_BYTES)
        self._facts = facts
        self._log = log
        self._clock = clock
        self.usage = Usage(gateway, epoch, self.now())
        self.sessions = Sessions(self)
        self.subscriptions: EventSubscriptions[Reader] = EventSubscriptions(self.soon, self.counts)
        self.questions = Questions(self, self.sessions)
        self.transfers = Transfers(transfer_limits, self._granted)
        self.newcomers = Newcomers()
        self._listeners: dict[str, ProtocolListener] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._complain_at = 0.0
        self._untold_ends: list[DeviceDisconnected] = []

    # -- life -----------------------------------------------------------------------------------------------------

    def serve(self, kinds: Mapping[str, ProtocolListener]) -> None:
        """The listeners, by the kind of port that each serves; one may serve several kinds."""
        self._listeners.update(kinds)

    async def start(self, host: str, port: Port) -> int:
        """Listen on this port, and answer with its number (0 asks for any free one). Raises ``OSError``."""
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(SWEEP_S, self._sweep)
        return await self._listeners[port.kind].start(host, port)

    async def drain(self, seconds: float) -> None:
        """Accept nothing more and end all sessions, evenly over the time, so that the fleet does not come back as one
        herd (MQS-6)."""
        self.draining = True
        for listener in self._unique():
            listener.stop_accepting()
        self.admissions.close()
        waiting = list(self.sessions)
        share = ceil(len(waiting) / max(1, int(seconds / DRAIN_STEP_S)))
        while waiting:
            now, waiting = waiting[:share], waiting[share:]
            for device_id in now:
                connection = self.sessions.connection(device_id)
                if connection is not None:
                    connection.dismiss("draining", "the gateway is being stopped")
            if waiting:
                await asyncio.sleep(DRAIN_STEP_S)

    async def stop(self) -> None:
        """End everything within two seconds or so: sessions end as draining; safe to call twice and before start."""
        await self.drain(0.0)
        for listener in self._unique():
            await listener.stop()
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
            self._tell_usage(self.usage.rest(self.now(), self.directory.device))
        await self.images.close()

    def _unique(self) -> list[ProtocolListener]:
        return list(dict.fromkeys(self._listeners.values()))

    def status(self) -> dict[str, Any]:
        """Numbers for operators: sessions, what waits, and counts since the start by kind."""
        return {
            "sessions": len(self.sessions),
            "questions": len(self.questions),
            "subscribers": len(self.subscriptions),
            "draining": self.draining,
            "admissions": self.admissions.status(),
            "image_cache_bytes": self.images.held_bytes,
            "transfers": self.transfers.status(),
            "counts": dict(self.counts),
            **{kind: listener.status() for kind, listener in self._listeners.items()},
        }

    def _sweep(self) -> None:
        now = self.now()
        self.sessions.sweep(now)
        self.transfers.sweep(now.s)
        self._tell_ends()
        self._tell_usage(self.usage.due(now, self.directory.device))
        self._sweeping = self.loop.call_later(SWEEP_S, self._sweep)

    # -- for connections ------------------------------------------------------------------------------------------

    def now(self) -> Now:
        """The present moment."""
        return Now(self.loop.time(), self._clock())

    def soon(self, call: Callable[[], None]) -> None:
        """In the next turn of the loop."""
        self.loop.call_soon(call)

    def note(self, kind: str) -> None:
        """Count it."""
        self.counts[kind] += 1

    def store(self, device_id: str, effect: Record | Store) -> Stored:
        """Record a fact, or log a published event, of this device; done when it is durable."""
        if isinstance(effect, Store):
            self.usage.published(device_id)
            done = self._log.publish(effect.event)
        else:
            done = self._facts.record(effect.event, actor=f"device:{device_id}")
            if isinstance(effect.event, DeviceConnected | SessionReplaced):
                self.usage.began(device_id, self.loop.time())
            if isinstance(effect.event, DeviceDisconnected):
                done.add_done_callback(partial(self._end_stored, effect.event))
        done.add_done_callback(self._stored)
        return done

    def record(self, event: object, actor: str = "system:gateway", *, context: Context | None = None) -> None:
        """Record a fact that no acknowledgement waits for; with ``context``, of what somebody asked for."""
        self._facts.record(event, actor=actor, context=context).add_done_callback(self._stored)

    def _stored(self, done: Stored) -> None:
        if done.cancelled() or done.exception() is not None:
            self.counts["lost_events"] += 1

    def _end_stored(self, event: DeviceDisconnected, done: Stored) -> None:
        if done.cancelled() or done.exception() is not None:
            self._untold_ends.append(event)

    def _tell_ends(self) -> None:
        """Record again what was lost of the ends of sessions, for nobody else would ever say that these devices are
        offline. Late is harmless: the session's name tells an old end from a newer beginning."""
        untold, self._untold_ends = self._untold_ends, []
        for event in untold:
            self.store(event.device_id, Record(event))

    def _tell_usage(self, counted: Iterator[UsageCounted]) -> None:
        try:
            for fact in counted:
                self.record(fact)
        except Exception as error:  # sessions end in order, and sweeps go on, without it
            self.note("lost_usage")
            log.error("some usage is not counted: %r", error, exc_info=not isinstance(error, Unavailable))

    def cannot_admit(self, error: Unavailable, now: Now) -> None:
        """A device was refused because the directory cannot be read; told to the log once a minute, for a whole fleet
        may come."""
        self.note("unavailable_connects")
        if now.s >= self._complain_at:
            self._complain_at = now.s + COMPLAIN_S
            log.warning("devices are refused for now: %s", error)

    # -- questions ------------------------------------------------------------------------------------------------

    async def ask(
        self,
        device_id: str,
        question: Question,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        context: Context | None = None,
    ) -> Any:
        """As ``Questions.ask``, for a device that is in ``sessions``."""
        return await self.questions.ask(device_id, question, timeout_s, context=context)

    def answered(self, device_id: str, answer: Answer) -> None:
        """The device's session has an answer."""
        self.questions.answered(device_id, answer)

    def ended(self, device_id: str) -> None:
        """The device's session is over."""
        self.questions.ended(device_id)
        self.usage.ended(device_id, self.loop.time())
        self.transfers.leave(device_id, self.now().s)

    def _granted(self, device_id: str) -> None:
        """It is the device's turn to be sent its image: its session looks at what it may have."""
        self.sessions.directory_changed(frozenset((device_id,)), frozenset())

    def connected_elsewhere(self, fact: Any) -> None:
        """A ``DeviceConnected`` or ``SessionReplaced`` that another gateway recorded."""
        name = SessionName(fact.gateway, fact.epoch, fact.session)
        self.sessions.elsewhere(fact.device_id, name, fact.connected_at, self.now())
