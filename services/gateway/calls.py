"""Questions to devices, on whichever gateway holds their session (DEV-9).

Every gateway serves ``gateway-<name>`` on the bus: ``ping()`` and ``call_device(device_id, kind, wait_s, name,
argument, fresh, on, file)``, ``kind`` being ``function``, ``variable``, ``probe``, ``signal`` or ``flash``. It asks its
own devices only; who asks is the account in the call's context. A gateway that has gone serves nothing, so its devices
are offline at once and not when time is over.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from services.gateway.devices.calls import (
    LONGEST_TIMEOUT_S,
    FlashFile,
    FunctionCall,
    Probe,
    Question,
    Signal,
    VariableRead,
)
from services.gateway.devices.questions import offline
from shared.context import Context
from shared.errors import NotFound, NotServed, Refused, Unknown

LOCATE_S = 5.0
MARGIN_S = 2.0
"""How much longer than the device another gateway may take to answer."""
MOST_NAME = 256
"""Characters of the name of a function or variable."""
NOT_HERE = "not_here"


class Bus(Protocol):
    """Calls to services."""

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Any: ...


class Held(Protocol):
    """Who is connected."""

    def __contains__(self, device_id: str, /) -> bool: ...


class Devices(Protocol):
    """The devices that are connected here."""

    @property
    def sessions(self) -> Held: ...

    async def ask(self, device_id: str, question: Question, timeout_s: float, *, context: Context) -> Any:
        """Raises ``Refused`` with one of the codes of ``devices.calls``."""
        ...


def service_of(gateway: str) -> str:
    """The name that a gateway serves calls under."""
    return f"gateway-{gateway}"


class Calls:
    """``devices`` gives the device side of this gateway as it is now; None while it serves none."""

    def __init__(self, gateway: str, bus: Bus, devices: Callable[[], Devices | None]) -> None:
        self._gateway = gateway
        self._bus = bus
        self._devices = devices

    async def ask(self, device_id: str, question: Question, timeout_s: float, context: Context) -> Any:
        """What the device answers. Raises ``Refused`` with one of the codes of ``devices.calls``, and ``Unavailable``
        when nobody can say where the device is. A question that may have been sent is never sent again."""
        for _ in range(2):  # once more for a device that moved to another gateway meanwhile
            here = self._here(device_id)
            if here is not None:
                return await here.ask(device_id, question, timeout_s, context=context)
            gateway = await self._locate(device_id, context)
            if gateway is None:
                break
            if gateway == self._gateway:  # its session here is over, which presence has not heard of
                continue
            try:
                return await self._ask_there(gateway, device_id, question, timeout_s, context)
            except NotServed:
                continue
            except Refused as refused:
                if refused.code != NOT_HERE:
                    raise
        raise offline()

    async def is_online(self, device_id: str, context: Context) -> bool:
        """Whether the device has a session somewhere, from presence. Raises ``Unavailable``."""
        return self._here(device_id) is not None or await self._locate(device_id, context) is not None

    def methods(self) -> Mapping[str, Callable[..., Awaitable[Any]]]:
        """What this gateway serves to the others."""
        return {"ping": self.ping, "call_device": self.call_device}

    async def ping(self, context: Context) -> dict[str, Any]:
        """That this gateway is there."""
        return {"gateway": self._gateway}

    async def call_device(
        self,
        context: Context,
        device_id: str,
        kind: str,
        wait_s: float,
        name: str = "",
        argument: Any = "",
        fresh: bool = False,
        on: bool = False,
        file: Any = None,
    ) -> dict[str, Any]:
        """``{"answer": …}`` of a device that is connected here. Raises ``Refused`` as ``ask``, ``not_here`` for one
        that is not, and ``invalid_request`` for what is no question."""
        question = _file(file) if kind == "flash" else _question(kind, name, argument, fresh, on)
        if isinstance(wait_s, bool) or not isinstance(wait_s, (int, float)) or not wait_s > 0:
            raise Refused("invalid_request", "wait_s: a positive number of seconds.")
        here = self._here(device_id)
        if here is None:
            raise Refused(NOT_HERE, f"Gateway {self._gateway} does not hold this device.")
        longest_s = min(wait_s, LONGEST_TIMEOUT_S)
        return {"answer": await here.ask(device_id, question, longest_s, context=context)}

    def _here(self, device_id: str) -> Devices | None:
        devices = self._devices()
        return devices if devices is not None and device_id in devices.sessions else None

    async def _locate(self, device_id: str, context: Context) -> str | None:
        """The gateway that holds the device, None if it is offline."""
        try:
            found = await self._bus.call("devices", "locate", context, timeout_s=LOCATE_S, device_id=device_id)
        except NotFound:
            return None
        return found["gateway"] if found["online"] else None

    async def _ask_there(
        self, gateway: str, device_id: str, question: Question, timeout_s: float, context: Context
    ) -> Any:
        try:
            answer = await self._bus.call(
                service_of(gateway),
                "call_device",
                context,
                timeout_s=timeout_s + MARGIN_S,
                device_id=device_id,
                wait_s=timeout_s,
                **_asked(question),
            )
        except Unknown as unknown:
            raise Refused("timeout", "Timed out.") from unknown
        return answer["answer"]


def _asked(question: Question) -> dict[str, Any]:
    """A question as arguments of ``call_device``."""
    match question:
        case FunctionCall(name, argument):
            return {"kind": "function", "name": name, "argument": argument}
        case VariableRead(name, fresh):
            return {"kind": "variable", "name": name, "fresh": fresh}
        case Probe():
            return {"kind": "probe"}
        case Signal(on):
            return {"kind": "signal", "on": on}
        case FlashFile():
            return {"kind": "flash", "file": msgspec.to_builtins(question)}


def _file(file: object) -> FlashFile:
    try:
        return msgspec.convert(file, FlashFile)
    except msgspec.ValidationError as error:
        raise Refused("invalid_request", f"file: {error}") from None


def _question(kind: object, name: object, argument: Any, fresh: object, on: object) -> Question:
    """The question that these arguments are."""
    match kind:
        case "function" | "variable" if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME:
            raise Refused("invalid_request", f"name: 1 to {MOST_NAME} characters.")
        case "function":
            return FunctionCall(str(name), argument)
        case "variable":
            return VariableRead(str(name), fresh is True)
        case "probe":
            return Probe()
        case "signal":
            return Signal(on is True)
    raise Refused("invalid_request", "kind: function, variable, probe, signal or flash.")
