"""Events of devices and to them, and subscriptions (protocol sections 5.6 to 5.8). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.violations import BAD_EVENT, BAD_SUBSCRIPTION, BadMessage

MAX_NAME_BYTES = 64
MAX_DATA_BYTES = 1_024
DEFAULT_TTL_S = 60
MAX_TTL_S = 16_777_215
DEVICE_ID_DIGITS = 24
PUBLIC, PRIVATE = b"e", b"E"
MINE = b"u"
_TTL_BYTES = 3


@dataclass(frozen=True, slots=True)
class Event:
    """A published event. ``data`` is None for none, which is not the same as empty."""

    name: str
    data: bytes | None = None
    ttl_s: int = DEFAULT_TTL_S
    public: bool = False


@dataclass(frozen=True, slots=True)
class Subscription:
    """To events whose names begin with ``prefix``: of everybody, of the owner's devices (``mine``), of one device."""

    prefix: str
    mine: bool = False
    device_id: str | None = None


def read_event(message: Message) -> Event:
    """The event in a POST to /e or /E; the name may be one segment or several."""
    kind, *segments = coap.path(message)
    age = coap.option(message, coap.MAX_AGE)
    ttl_s = DEFAULT_TTL_S if age is None else coap.read_uint(age, BAD_EVENT)
    if ttl_s > MAX_TTL_S:
        raise BadMessage(f"event that lives {ttl_s} s", BAD_EVENT)
    if message.payload is not None and len(message.payload) > MAX_DATA_BYTES:
        raise BadMessage(f"event with {len(message.payload)} bytes of data", BAD_EVENT)
    name = _name(segments, BAD_EVENT)
    if not name:
        raise BadMessage("event without a name", BAD_EVENT)
    return Event(name, message.payload, ttl_s, kind == PUBLIC)


def event_options(event: Event) -> coap.Options:
    """The options of an event, the name as one segment, as every firmware takes it."""
    head = (coap.URI_PATH, PUBLIC if event.public else PRIVATE), (coap.URI_PATH, event.name.encode())
    if event.ttl_s == DEFAULT_TTL_S:
        return head
    return (*head, (coap.MAX_AGE, event.ttl_s.to_bytes(_TTL_BYTES, "big")))


def read_subscription(message: Message) -> Subscription:
    """The subscription in a GET of /e."""
    _, *segments = coap.path(message)
    prefix, mine = _name(segments, BAD_SUBSCRIPTION), MINE in coap.queries(message)
    device_id = None
    if message.payload:
        device_id = message.payload.decode("ascii", errors="replace").lower()
        if len(device_id) != DEVICE_ID_DIGITS or not set(device_id) <= set("0123456789abcdef"):
            raise BadMessage("subscription to something else than a device id", BAD_SUBSCRIPTION)
    if not prefix and not mine and device_id is None:
        raise BadMessage("subscription to everything", BAD_SUBSCRIPTION)
    return Subscription(prefix, mine, device_id)


def _name(segments: list[bytes], kind: str) -> str:
    name = b"/".join(segments)
    if len(name) > MAX_NAME_BYTES:
        raise BadMessage(f"name of {len(name)} bytes", kind)
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise BadMessage("name that is not UTF-8", kind) from None
    if "\0" in text:
        raise BadMessage("name with a NUL", kind)
    return text
