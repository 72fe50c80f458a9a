"""Questions that wait for the answer of a connected device (DEV-9), and the fact of each function call."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any, Literal, Protocol

from services.gateway.devices.calls import (
    DEFAULT_TIMEOUT_S,
    LONGEST_TIMEOUT_S,
    MOST_WAITING,
    FlashFile,
    FunctionCall,
    Question,
    VariableRead,
)
from services.gateway.devices.effects import Answer, Now
from services.gateway.devices.sessions import Sessions
from services.gateway.devices.usage import Usage
from shared.context import Context
from shared.errors import Refused
from shared.events.gateway import FlashAsked, FunctionCalled

FUNCTION_CHARACTERS = 64
CALLER_CHARACTERS = 64
PEOPLE = ("account", "customer")

Outcome = Literal["answered", "failed", "timeout", "offline", "not_listening", "busy", "too_large", "unknown_function"]
OUTCOMES: dict[str, Outcome] = {
    "timeout": "timeout",
    "device_offline": "offline",
    "device_not_listening": "not_listening",
    "busy": "busy",
    "too_large_for_device": "too_large",
    "argument_too_long": "too_large",
    "unknown_function": "unknown_function",
}
"""Of a function call, by the code of its refusal; any other is ``failed``."""


def offline() -> Refused:
    """The refusal of a question to a device that is not there, or not there any more."""
    return Refused("device_offline", "The device is offline.")


class Around(Protocol):
    """What questions need of the device server."""

    def now(self) -> Now: ...

    def note(self, kind: str) -> None: ...

    @property
    def usage(self) -> Usage:
        """Counts how devices are used."""
        ...

    def record(self, event: object, actor: str = "system:gateway", *, context: Context | None = None) -> None: ...


class Questions:
    """In the loop's thread."""

    def __init__(self, around: Around, sessions: Sessions) -> None:
        self._around = around
        self._sessions = sessions
        self._waiting: dict[str, dict[int, asyncio.Future[Any]]] = {}
        # MQTT devices see these numbers: none comes twice within 24 h, over restarts too, at 16 calls a second.
        self._numbers = count(int(around.now().at.timestamp()) % 2**26 * 16 + 1)

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    async def ask(
        self,
        device_id: str,
        question: Question,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        *,
        context: Context | None = None,
    ) -> Any:
        """What the device answers. Raises ``Refused`` with one of the codes of ``calls``; a question that was sent is
        never sent again. ``context`` says who asks."""
        begun = self._around.now()
        fate: Outcome = "failed"
        try:
            answer = await self._ask(device_id, question, min(timeout_s, LONGEST_TIMEOUT_S), begun, context)
            fate = "answered"
        except Refused as refused:
            fate = OUTCOMES.get(refused.code, "failed")
            raise
        finally:
            match question:
                case FunctionCall():
                    self._around.usage.called(device_id)
                    self._called(device_id, question, fate, begun, context)
                case VariableRead():
                    self._around.usage.read(device_id)
        return answer

    async def _ask(
        self, device_id: str, question: Question, timeout_s: float, now: Now, context: Context | None
    ) -> Any:
        connection = self._sessions.connection(device_id)
        if connection is None or connection.session is None:
            raise offline()
        waiting = self._waiting.setdefault(device_id, {})
        if len(waiting) >= MOST_WAITING:
            raise Refused("busy", f"{MOST_WAITING} calls wait for this device already; try again when they are done.")
        number = next(self._numbers)
        answer = waiting[number] = asyncio.get_running_loop().create_future()
        try:
            connection.ask(number, question, now)
            if isinstance(question, FlashFile) and answer.done() and answer.result() is True:
                self._flashed(device_id, question, context)  # before anything that the device makes of it
            async with asyncio.timeout(timeout_s):
                outcome = await answer
        except TimeoutError:
            raise Refused("timeout", "Timed out.") from None
        finally:
            waiting.pop(number, None)
            if not waiting and self._waiting.get(device_id) is waiting:
                del self._waiting[device_id]
            if not answer.done() or answer.cancelled():
                connection.unask(number)
        if isinstance(outcome, Refused):
            raise outcome
        return outcome

    def _flashed(self, device_id: str, asked: FlashFile, context: Context | None) -> None:
        flash = asked.flash
        wish = (flash.flash_id, flash.version, flash.sha256, flash.size_bytes, asked.file_name)
        actor = "system:gateway" if context is None else context.actor
        self._around.record(FlashAsked(device_id, flash.product_id, *wish), actor, context=context)

    def answered(self, device_id: str, answer: Answer) -> None:
        """The session has an answer; one that nobody waits for is counted."""
        future = self._waiting.get(device_id, {}).get(answer.number)
        if future is None or future.done():
            self._around.note("unawaited_answers")
        else:
            future.set_result(answer.outcome)

    def ended(self, device_id: str) -> None:
        """The session that was asked is over: its questions get no answer."""
        for future in self._waiting.pop(device_id, {}).values():
            if not future.done():
                future.set_result(offline())

    def _called(self, device_id: str, call: FunctionCall, fate: Outcome, begun: Now, context: Context | None) -> None:
        connection = self._sessions.connection(device_id)
        actor = "system:gateway" if context is None else context.actor
        kind, _, caller = actor.partition(":")
        session = None if connection is None else connection.session
        self._around.record(
            FunctionCalled(
                device_id,
                None if session is None else session.memory.product_id,
                call.name[:FUNCTION_CHARACTERS],
                fate,
                max(0, int((self._around.now().s - begun.s) * 1_000)),
                caller[:CALLER_CHARACTERS] if kind in PEOPLE else "",
                None if session is None else session.memory.version,
            ),
            actor,
            context=context,
        )
