"""The topics of the device API, and MQTT's matching of filters. Pure.

==================================================  =======================================================
up                                                  short form
==================================================  =======================================================
``v1/devices/me/telemetry``                         ``v2/t``, ``v2/t/j``
``v1/devices/me/events/{name}``
``v1/devices/me/attributes``                        ``v2/a``, ``v2/a/j``
``v1/devices/me/attributes/request/{id}``           ``v2/a/req/{id}``, ``v2/a/req/j/{id}``
``v1/devices/me/claim``
``v1/devices/me/rpc/request/{id}``                  ``v2/r/req/{id}``, ``v2/r/req/j/{id}``
``v1/devices/me/rpc/response/{id}``                 ``v2/r/res/{id}``, ``v2/r/res/j/{id}``
–                                                  ``v2/fw/request/{id}/chunk/{n}``, ``v2/sw/…``
==================================================  =======================================================
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from services.gateway.devices.mqtt.violations import NOT_AUTHORIZED, UNKNOWN_TOPIC, Rejected

ME = "v1/devices/me/"
CLAIM = ME + "claim"
ATTRIBUTES_LONG = ME + "attributes"
ATTRIBUTES_SHORT = "v2/a"
ERROR = "v2/{}/error"

Kind = Literal[
    "telemetry",
    "event",
    "attributes",
    "attributes_request",
    "claim",
    "rpc_request",
    "rpc_response",
    "chunk",
    "software",
]


class Up(NamedTuple):
    """A topic that a device publishes to. ``answer`` is the topic of its answer; ``request`` and ``number`` are the
    id and the chunk in it, ``name`` the name of an event."""

    kind: Kind
    answer: str = ""
    request: int = 0
    number: int = 0
    name: str = ""


_PLAIN: dict[str, Up] = {
    ME + "telemetry": Up("telemetry"),
    "v2/t": Up("telemetry"),
    "v2/t/j": Up("telemetry"),
    ATTRIBUTES_LONG: Up("attributes"),
    ATTRIBUTES_SHORT: Up("attributes"),
    "v2/a/j": Up("attributes"),
    CLAIM: Up("claim"),
}
_WITH_ID: dict[str, tuple[Kind, str]] = {
    ME + "attributes/request/": ("attributes_request", ME + "attributes/response/{}"),
    "v2/a/req/": ("attributes_request", "v2/a/res/{}"),
    "v2/a/req/j/": ("attributes_request", "v2/a/res/{}"),
    ME + "rpc/request/": ("rpc_request", ME + "rpc/response/{}"),
    "v2/r/req/": ("rpc_request", "v2/r/res/{}"),
    "v2/r/req/j/": ("rpc_request", "v2/r/res/{}"),
    ME + "rpc/response/": ("rpc_response", ""),
    "v2/r/res/": ("rpc_response", ""),
    "v2/r/res/j/": ("rpc_response", ""),
}
_EVENTS = ME + "events/"
_CHUNKS: dict[str, Kind] = {"fw": "chunk", "sw": "software"}

_DOWN = (
    (*ATTRIBUTES_LONG.split("/"),),
    ("v2", "a"),
    (*(ME + "rpc/request").split("/"), "+"),
    ("v2", "r", "req", "+"),
    (*(ME + "attributes/response").split("/"), "+"),
    ("v2", "a", "res", "+"),
    (*(ME + "rpc/response").split("/"), "+"),
    ("v2", "r", "res", "+"),
    ("v2", "fw", "response", "+", "chunk", "+"),
    ("v2", "sw", "response", "+", "chunk", "+"),
    ("v2", "fw", "error"),
    ("v2", "sw", "error"),
    ("", "provision", "response"),
)
"""The topics that can come down (section 5); ``+`` is a decimal number."""
_GRANTED_ANYWAY = ("v2/fw/response", "v2/sw/response")
MAX_DIGITS = 10
NAME_CHARACTERS = 64
PLATFORM_NAMES = ("spark", "particle")
"""Beginnings of the names that only the platform itself publishes under (HTTP contract 12.3)."""


def parse(topic: str) -> Up:
    """What a publish to this topic is. Raises ``Rejected``: unknown topic (MQE-6), or no number where one belongs
    (MQE-5), or no proper name."""
    plain = _PLAIN.get(topic)
    if plain is not None:
        return plain
    if topic.startswith(_EVENTS):
        return Up("event", name=event_name(topic[len(_EVENTS) :]))
    head, _, last = topic.rpartition("/")
    with_id = _WITH_ID.get(head + "/")
    if with_id is not None:
        kind, answer = with_id
        number = decimal(last, "id")
        return Up(kind, answer.format(number), number)
    parts = topic.split("/")
    if len(parts) == 6 and (parts[0], parts[2], parts[4]) == ("v2", "request", "chunk") and parts[1] in _CHUNKS:
        request, chunk = decimal(parts[3], "id"), decimal(parts[5], "chunk number")
        return Up(_CHUNKS[parts[1]], f"v2/{parts[1]}/response/{request}/chunk/{chunk}", request, chunk)
    raise Rejected("unknown topic", UNKNOWN_TOPIC, "unknown_topic")


def call_topics(number: int) -> tuple[str, str]:
    """Where a call goes down, in the order in which the forms are tried (MQD-2)."""
    return f"{ME}rpc/request/{number}", f"v2/r/req/{number}"


def decimal(text: str, what: str) -> int:
    """A number in a topic or in a chunk request. Raises ``Rejected`` (MQE-5)."""
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise Rejected(f"{what} is not a number", kind="bad_number")
    return int(text)


def event_name(name: str) -> str:
    """The name of a published event: 1 to 64 printable characters of ASCII, none of the platform's own. Raises
    ``Rejected``."""
    if not (0 < len(name) <= NAME_CHARACTERS and name.isascii() and name.isprintable()):
        raise Rejected(f"an event's name has 1 to {NAME_CHARACTERS} printable characters", kind="bad_payload")
    if name.startswith(PLATFORM_NAMES):
        raise Rejected("names of this kind are the platform's own", NOT_AUTHORIZED, "reserved_name")
    return name


def well_formed(filter_: str) -> bool:
    """Whether it is a filter at all: wildcards alone on their level, ``#`` last."""
    levels = filter_.split("/")
    if any(("+" in level or "#" in level) and len(level) > 1 for level in levels):
        return False
    return "#" not in levels[:-1]


def matches(filter_: str, topic: str) -> bool:
    """Whether a well-formed filter matches a topic, by MQTT's rules."""
    if filter_ == topic:
        return True
    wanted, there = filter_.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(there) or level not in ("+", there[index]):
            return False
    return len(wanted) == len(there)


@lru_cache(256)
def grantable(filter_: str) -> bool:
    """Whether the filter matches a topic that can come down, or begins as both SDKs' chunk filters do (section 5)."""
    if not well_formed(filter_):
        return False
    return filter_.startswith(_GRANTED_ANYWAY) or any(_meet(filter_.split("/"), down) for down in _DOWN)


def _meet(wanted: list[str], down: tuple[str, ...]) -> bool:
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(down):
            return False
        there = down[index]
        if level != "+" and level != there and not (there == "+" and level.isascii() and level.isdigit()):
            return False
    return len(wanted) == len(down)
