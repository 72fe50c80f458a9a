"""Questions to devices: functions, variables, ping, signal (contract 7.2 and 8; DEV-9).

The same handlers serve both places that a device has in the API; below ``/v1/devices`` admission has found the device.
Beyond the contract: ``timeout_s`` (query), ``fresh`` (query of a variable), ``probe`` (body of a ping) and ``params``
(body of a function call), any JSON, for devices that take more than text.
"""

from __future__ import annotations

from typing import Any

from services.gateway.devices.calls import FunctionCall, Probe, Question, Signal, VariableRead, return_value
from services.gateway.entries import DeviceEntry
from services.gateway.http.answers import json_answer
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_VARIABLE, no_function
from services.gateway.http.named_devices import device_of_product
from shared.errors import NotFound, Refused
from shared.times import iso

SIGNAL_S = 10.0
MAX_NAME = 64
TIMED_OUT = "Timed out."
SILENT = frozenset({"device_offline", "timeout"})
RESERVED = frozenset({"events"})
"""What is read below a device and is no variable."""


async def call_function(call: Call) -> Any:
    device, name = _callable(call), call.params["name"]
    if not 0 < len(name) <= MAX_NAME:
        raise no_function(name)
    question = FunctionCall(name, _argument(call.body))
    info = await device_info(call, device)
    try:
        value = await _ask(call, device, question)
    except Refused as refused:
        if refused.code == "unknown_function":
            raise no_function(name) from refused
        raise
    returned = return_value(value)
    if call.query["format"] == "raw":
        return json_answer(value if returned is None else returned)
    answer = {"id": device.device_id, "name": info["name"], "last_app": None, "connected": True}
    more = {} if returned is value else {"result": value}
    return {**answer, "return_value": returned, **more}


async def read_variable(call: Call) -> Any:
    name = call.params["name"]
    if name in RESERVED:
        raise NotFound("There is nothing at this path.")
    device = _callable(call)
    if not 0 < len(name) <= MAX_NAME:
        raise NotFound(NO_VARIABLE)
    info = await device_info(call, device)
    try:
        found = await _ask(call, device, VariableRead(name, call.query["fresh"]))
    except Refused as refused:
        if refused.code == "unknown_variable":
            raise NotFound(NO_VARIABLE) from refused
        raise
    if call.query["format"] == "raw":
        return json_answer(found["value"])
    core = {
        "name": info["name"],
        "deviceID": device.device_id,
        "connected": True,
        "last_handshake_at": info["last_handshake_at"],
        "last_heard": info["last_heard"],
        "last_app": None,
    }
    known_at = {"at": found["at"]} if found.get("at") else {}
    return {"cmd": "VarReturn", "name": name, "result": found["value"], "coreInfo": core, **known_at}


async def ping(call: Call) -> Any:
    """Online is answered from presence; with ``probe`` from what the device does now (MQX-4)."""
    device, calls = _named(call), call.services.calls
    online = True
    if not call.body["probe"]:
        online = await calls.is_online(device.device_id, call.context)
    else:
        try:
            await calls.ask(device.device_id, Probe(), call.query["timeout_s"], call.context)
        except Refused as refused:
            if refused.code not in SILENT:
                raise
            online = False
    return {"online": online, "ok": True}


async def signal(call: Call, device: DeviceEntry, on: bool) -> dict[str, Any]:
    """Make the device show itself, or stop it: what that adds to the answer of a change."""
    not_in_quarantine(device)
    await call.services.calls.ask(device.device_id, Signal(on), SIGNAL_S, await call.circumstances())
    updated_at = iso(call.services.now())
    return {"id": device.device_id, "updated_at": updated_at, "connected": True, "signaling": on}


async def device_info(call: Call, device: DeviceEntry) -> dict[str, Any]:
    """The device object."""
    product_id = device.membership.product_id
    return await call.ask("devices", "get_device", product_id=product_id, device_id=device.device_id)


def _named(call: Call) -> DeviceEntry:
    return device_of_product(call) if call.device_entry is None else call.device_entry


def _callable(call: Call) -> DeviceEntry:
    device = _named(call)
    if call.device_entry is None:
        not_in_quarantine(device)
    return device


def not_in_quarantine(device: DeviceEntry) -> None:
    """Raises ``Refused`` ``device_quarantined`` (DEV-3)."""
    if device.membership.quarantined or device.membership.denied:
        raise Refused("device_quarantined", "The device is in quarantine; approve it before you call it.")


async def _ask(call: Call, device: DeviceEntry, question: Question) -> Any:
    try:
        context = await call.circumstances()
        return await call.services.calls.ask(device.device_id, question, call.query["timeout_s"], context)
    except Refused as refused:
        if refused.code == "device_offline":  # clients look for the words that the real service has for both
            raise Refused(refused.code, f"{TIMED_OUT} The device is offline.") from refused
        raise


def _argument(body: dict[str, Any]) -> Any:
    if "params" in body:
        return body["params"]
    given = body.get("args", body.get("arg"))
    match given:
        case None:
            return ""
        case str():
            return given
        case bool():
            return "true" if given else "false"
        case int() | float():
            return str(given)
    raise Refused("invalid_request", "args: Must be text; params takes any JSON.")
