"""Questions of the platform as messages to one device, and its answers as values (protocol sections 5.4, 5.5, 5.11).

Names are matched without regard to case and sent as the device spells them; what it did not describe is refused here,
because old firmware crashes on a variable that it does not know. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec

from services.gateway.devices.calls import FunctionCall, Signal, VariableRead
from services.gateway.devices.particle import coap, server_messages, values
from services.gateway.devices.particle.describe import Application
from services.gateway.devices.particle.device_limits import Limits
from services.gateway.devices.particle.messages import Answer
from services.gateway.devices.particle.requests import Called, ReadVariable, Requests, Signalled
from services.gateway.devices.particle.violations import BadMessage
from shared.errors import Refused


def function_call(
    number: int, call: FunctionCall, application: Application | None, limits: Limits, requests: Requests
) -> bytes:
    """The message of a call. Raises ``Refused``."""
    name = call.name
    if application is not None:
        spelled = _spelled(name, application.functions)
        if spelled is None:
            raise Refused("unknown_function", f"The device has no function {name!r}.")
        name = spelled
    elif not 0 < len(name.encode()) <= limits.name_bytes:
        raise Refused("unknown_function", f"No function of this device has a name like {name[:64]!r}.")
    argument = call.argument if isinstance(call.argument, str) else msgspec.json.encode(call.argument).decode()
    data = argument.encode(errors="replace")
    if len(data) > limits.argument_bytes:
        raise Refused(
            "argument_too_long", f"The argument has {len(data)} bytes; this device takes {limits.argument_bytes}."
        )
    message_id = requests.message_id()
    message = server_messages.function_call(message_id, requests.open(Called(number)), name, data)
    return _fitting(message, limits, requests)


def variable_request(
    number: int, read: VariableRead, application: Application | None, limits: Limits, requests: Requests
) -> bytes:
    """The message that asks for a variable. Raises ``Refused``."""
    if application is None:
        raise Refused("call_failed", "The device has not said which variables it has.")
    name = _spelled(read.name, application.variables)
    if name is None:
        raise Refused("unknown_variable", f"The device has no variable {read.name!r}.")
    token = requests.open(ReadVariable(number, application.variables[name]))
    return _fitting(server_messages.variable_request(requests.message_id(), token, name), limits, requests)


def signal(number: int, question: Signal, requests: Requests) -> bytes:
    """The message that makes the device show itself, or stop."""
    token = requests.open(Signalled(number, question.on))
    return coap.encode(server_messages.signal(requests.message_id(), token, question.on))


def _fitting(message: coap.Message, limits: Limits, requests: Requests) -> bytes:
    data = coap.encode(message)
    if len(data) > limits.message_bytes:
        requests.close(message.token)
        raise Refused(
            "too_large_for_device", f"The message has {len(data)} bytes; this device takes {limits.message_bytes}."
        )
    return data


def _spelled(name: str, known: Iterable[str]) -> str | None:
    """As the device spells it; the exact spelling first."""
    same = [one for one in known if one.lower() == name.lower()]
    return name if name in same else next(iter(same), None)


def outcome(request: Called | ReadVariable | Signalled, answer: Answer) -> Any | Refused:
    """What an answer says."""
    if not answer.good:
        return Refused("call_failed", f"The device answered with the error {coap.code_text(answer.code)}.")
    try:
        match request:
            case Called():
                return values.read_result(answer.payload)
            case ReadVariable():
                value = values.read_value(request.kind, answer.payload)
                if isinstance(value, float) and not isfinite(value):
                    return {"value": None}  # JSON has no infinity
                return {"value": value}
            case Signalled():
                return request.on
    except BadMessage as bad:
        return Refused("call_failed", f"The device's answer makes no sense: {bad}.")
