"""JSON payloads of the device API: what they must look like and what they mean. Pure; raises only ``Rejected``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, NoReturn

import msgspec

from services.gateway.devices.latest import RESERVED
from services.gateway.devices.mqtt.topics import event_name
from services.gateway.devices.mqtt.violations import Rejected
from shared.events.gateway import DescribedVariable

NESTING = 32
KEYS = 1_024
KEY_BYTES = 128
DATA_CHARACTERS = 65_536
TTL_S = 60
LONGEST_TTL_S = 31_536_000
FIRMWARE_KEYS = ("fw_title", "fw_version", "fw_size", "fw_checksum", "fw_checksum_algorithm")
SIGNATURE_KEYS = ("fw_signature", "fw_signature_key")
"""Computed as well, but only for devices that ask for them by name: an offer is those five and nothing else (MQF-3)."""

SECRET_CHARACTERS = 1_024
"""Of the secret that somebody states who claims a device."""
DESCRIBED = 256
"""Functions, and variables, that a device can tell of."""
DESCRIBED_CHARACTERS = 64

VariableType = Literal["boolean", "int", "double", "string", "other"]
_VARIABLE_TYPES: dict[str, VariableType] = {
    "bool": "boolean",
    "boolean": "boolean",
    "int": "int",
    "int32": "int",
    "integer": "int",
    "double": "double",
    "float": "double",
    "number": "double",
    "string": "string",
    "text": "string",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = range(-(2**63), 2**64)
_EVENT_KEYS = frozenset({"event", "data", "ttl", "private"})

JsonObject = Mapping[str, Any]


class Item(msgspec.Struct, frozen=True, gc=False):
    """One published event of a telemetry message."""

    name: str
    data: str | None
    device_at: datetime | None
    ttl_s: int = TTL_S
    public: bool = False
    values: JsonObject | None = None
    """What an item of plain keys says, each key on its own; None for an event that the device named."""


@dataclass(frozen=True, slots=True)
class Description:
    """The functions and variables that a device tells the user interface of."""

    functions: list[str]
    variables: list[DescribedVariable]


class Claim(NamedTuple):
    """What a device asks for that wants to be claimed; the secret is empty if it gave none."""

    secret: str
    duration_s: float


class AttributeNames(NamedTuple):
    """The reported and the desired attributes that a request names; None for all of them."""

    client: frozenset[str] | None
    shared: frozenset[str] | None


class Telemetry(msgspec.Struct, frozen=True, gc=False):
    """A telemetry message: what is published, and the objects that hold reserved keys."""

    items: tuple[Item, ...]
    reports: tuple[JsonObject, ...]


def decode_json(payload: bytes, what: str) -> Any:
    """Any JSON value, strictly; ``what`` names the topic in the refusal."""
    try:
        value = msgspec.json.decode(payload)
    except RecursionError:
        _refuse(what, f"nested deeper than {NESTING}")
    except UnicodeDecodeError:
        _refuse(what, "not UTF-8")
    except msgspec.MsgspecError as error:
        _refuse(what, f"not JSON: {error}")
    if payload.count(b"[") + payload.count(b"{") > NESTING and _deeper(value, NESTING):
        _refuse(what, f"nested deeper than {NESTING}")
    return _with_doubles(value, what) if _has_long_number(payload) else value


def _refuse(what: str, why: str) -> NoReturn:
    raise Rejected(f"{what}: {why}")


def _deeper(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    if left == 0:
        return True
    return any(_deeper(inner, left - 1) for inner in (value.values() if isinstance(value, dict) else value))


_NOT_DIGITS = bytes(byte for byte in range(256) if byte not in b"0123456789")
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")


def _has_long_number(payload: bytes) -> bool:
    return b"0" * 19 in payload.translate(_DIGITS_TO_ZERO)


def _with_doubles(value: Any, what: str) -> Any:
    """Integers that 64 bits do not hold as doubles."""
    match value:
        case bool():
            return value
        case int() if value not in _INT64:
            try:
                return float(value)
            except OverflowError:
                _refuse(what, "number out of range")
        case list():
            return [_with_doubles(inner, what) for inner in value]
        case dict():
            return {key: _with_doubles(inner, what) for key, inner in value.items()}
    return value


def _object(value: Any, what: str) -> JsonObject:
    if not isinstance(value, dict):
        _refuse(what, "not an object")
    if len(value) > KEYS:
        _refuse(what, f"more than {KEYS} keys")
    for key in value:
        if not key or len(key.encode()) > KEY_BYTES:
            _refuse(what, f"a key has 1 to {KEY_BYTES} bytes")
    return value


def telemetry(payload: bytes, most_items: int) -> Telemetry:
    """MQU-1: an item or a list of items, each an object, timed or not."""
    value = decode_json(payload, "telemetry")
    entries = value if isinstance(value, list) else [value]
    if len(entries) > most_items:
        _refuse("telemetry", f"more than {most_items} items")
    items: list[Item] = []
    reports: list[JsonObject] = []
    for entry in entries:
        values, device_at = _timed(_object(entry, "telemetry"))
        if not RESERVED.isdisjoint(values):
            reports.append(values)
        item = _item(values, device_at)
        if item is not None:
            items.append(item)
    return Telemetry(tuple(items), tuple(reports))


def _timed(entry: JsonObject) -> tuple[JsonObject, datetime | None]:
    if "ts" not in entry or "values" not in entry:
        return entry, None
    moment = entry["ts"]
    if isinstance(moment, bool) or not isinstance(moment, int | float):
        _refuse("telemetry", "ts is not a number")
    try:
        device_at = _EPOCH + timedelta(milliseconds=moment)
    except OverflowError:
        _refuse("telemetry", "ts is no time")
    return _object(entry["values"], "telemetry"), device_at


def _item(values: JsonObject, device_at: datetime | None) -> Item | None:
    if isinstance(values.get("event"), str) and _EVENT_KEYS.issuperset(values):
        return _named(values, device_at)
    kept = {key: value for key, value in values.items() if value is not None}
    if RESERVED.issuperset(kept):
        return None
    return Item("telemetry", _text(kept), device_at, values=kept)


def _named(values: JsonObject, device_at: datetime | None) -> Item:
    ttl, private = values.get("ttl", TTL_S), values.get("private", True)
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 <= ttl <= LONGEST_TTL_S:
        _refuse("telemetry", f"ttl is a number of seconds up to {LONGEST_TTL_S}")
    if not isinstance(private, bool):
        _refuse("telemetry", "private is true or false")
    data = values.get("data")
    text = data if data is None or isinstance(data, str) else _text(data)
    return Item(event_name(values["event"]), text, device_at, ttl, not private)


def _text(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    if len(text) > DATA_CHARACTERS:
        _refuse("telemetry", f"more than {DATA_CHARACTERS} characters")
    return text


def attributes(payload: bytes) -> JsonObject:
    """MQU-3: an object of reported attributes."""
    return _object(decode_json(payload, "attributes"), "attributes")


def description(values: JsonObject) -> Description:
    """MQU-3: the attributes ``functions``, a list of names, and ``variables``, an object of name and type."""
    functions, variables = values.get("functions"), values.get("variables")
    if functions is None:
        functions = []
    if variables is None:
        variables = {}
    if not isinstance(functions, list) or len(functions) > DESCRIBED:
        _refuse("attributes", f"functions is a list of at most {DESCRIBED} names")
    if not isinstance(variables, dict) or len(variables) > DESCRIBED:
        _refuse("attributes", f"variables is an object of at most {DESCRIBED} names and types")
    if not all(isinstance(name, str) and len(name) <= DESCRIBED_CHARACTERS for name in (*functions, *variables)):
        _refuse("attributes", f"names of functions and variables are text of at most {DESCRIBED_CHARACTERS} characters")
    described = [DescribedVariable(name, _variable_type(kind)) for name, kind in variables.items()]
    return Description(functions, described)


def _variable_type(kind: Any) -> VariableType:
    return _VARIABLE_TYPES.get(kind.lower(), "other") if isinstance(kind, str) else "other"


def attribute_names(payload: bytes) -> AttributeNames:
    """MQU-4: what a request asks for."""
    asked = _object(decode_json(payload, "attributes request"), "attributes request")
    client, shared = _names(asked.get("clientKeys")), _names(asked.get("sharedKeys"))
    if client is None and shared is None:
        return AttributeNames(None, None)
    return AttributeNames(client or frozenset(), shared or frozenset())


def _names(value: Any) -> frozenset[str] | None:
    match value:
        case None:
            return None
        case str():
            return frozenset(name for name in value.split(",") if name)
        case list() if all(isinstance(name, str) for name in value):
            return frozenset(name for name in value if name)
    _refuse("attributes request", "keys are text or a list of texts")


def claim(payload: bytes, longest_s: float) -> Claim:
    """MQU-7: nothing, or a secret and for how long."""
    asked = _object(decode_json(payload, "claim"), "claim") if payload else {}
    secret, duration_ms = asked.get("secretKey"), asked.get("durationMs")
    if secret is None:
        secret = ""
    if not isinstance(secret, str) or len(secret) > SECRET_CHARACTERS:
        _refuse("claim", f"secretKey is text of at most {SECRET_CHARACTERS} characters")
    if duration_ms is None:
        return Claim(secret, longest_s)
    if isinstance(duration_ms, bool) or not isinstance(duration_ms, int | float) or duration_ms < 0:
        _refuse("claim", "durationMs is no number of milliseconds")
    return Claim(secret, min(duration_ms / 1_000, longest_s))


def method(payload: bytes) -> str:
    """MQU-6: the name of the method that a device calls."""
    call = decode_json(payload, "call")
    name = call.get("method") if isinstance(call, dict) else None
    if not isinstance(name, str):
        _refuse("call", "no method")
    return name


def firmware_attributes(title: str, version: int, width: int, size_bytes: int, sha256: str) -> JsonObject:
    """MQF-3: the five desired attributes that tell a device of its target; the version with so many digits at least
    (MQF-10)."""
    values = (title, str(version).zfill(width), size_bytes, sha256, "SHA256")
    return dict(zip(FIRMWARE_KEYS, values, strict=True))


def signature_attributes(signature: str | None, key_id: str | None) -> JsonObject:
    """The signature of a target's image and the id of its key, for a device that checks it; nothing without one."""
    return {} if signature is None else dict(zip(SIGNATURE_KEYS, (signature, key_id), strict=True))


def compact(value: JsonObject | Sequence[Any]) -> bytes:
    """JSON without spaces."""
    return msgspec.json.encode(value)
