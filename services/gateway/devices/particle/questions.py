"""Questions to one device that no token stands for: calls that wait for its description, and probes. Pure.

What has a token is in ``requests``; how a question is put into a message, in ``asking``.
"""

from __future__ import annotations

from services.gateway.devices.calls import Enquiry, FunctionCall, Probe, Signal, VariableRead
from services.gateway.devices.effects import Answer
from services.gateway.devices.particle import asking, coap, server_messages
from services.gateway.devices.particle.describe import Application
from services.gateway.devices.particle.device_limits import Limits
from services.gateway.devices.particle.requests import Requests
from shared.errors import Refused

Named = FunctionCall | VariableRead
"""Questions whose names the description has to tell first."""


class Questions:
    """Of one session, made at the first question."""

    __slots__ = ("_held", "_probes")

    def __init__(self) -> None:
        self._held: list[tuple[int, Named]] | None = None
        self._probes: list[int] | None = None

    def hold(self, number: int, question: Named, most: int) -> list[Answer]:
        """It waits for the description, or is refused if so many do already."""
        if self._held is None:
            self._held = []
        if len(self._held) >= most:
            return [Answer(number, Refused("busy", "Too many calls wait for this device already."))]
        self._held.append((number, question))
        return []

    def released(self) -> list[tuple[int, Named]]:
        """What waited for the description; it does no longer."""
        held, self._held = self._held, None
        return held or []

    def message(
        self, number: int, question: Enquiry, application: Application | None, limits: Limits, requests: Requests
    ) -> bytes:
        """The message that asks it. Raises ``Refused``."""
        match question:
            case FunctionCall():
                return asking.function_call(number, question, application, limits, requests)
            case VariableRead():
                return asking.variable_request(number, question, application, limits, requests)
            case Signal():
                return asking.signal(number, question, requests)
            case Probe():
                self._probes = [*(self._probes or ()), number]
                return coap.encode(server_messages.ping(requests.message_id()))

    def probed(self) -> list[Answer]:
        """An empty ACK came, with whatever id (section 4.2): the device answers."""
        probes, self._probes = self._probes, None
        return [Answer(number, True) for number in probes or ()]

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._probes = [one for one in self._probes or () if one != number] or None
        self._held = [one for one in self._held or () if one[0] != number] or None
