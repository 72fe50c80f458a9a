"""What a published message does, by its topic (section 6). Does no I/O."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from services.gateway.devices import errors
from services.gateway.devices.attributes import TooManyAttributes
from services.gateway.devices.effects import Now
from services.gateway.devices.latest import RESERVED
from services.gateway.devices.mqtt import asking, payloads, topics, writer
from services.gateway.devices.mqtt.effects import Effect, Serve
from services.gateway.devices.mqtt.firmware import FAILURE, NOT_FOUND, PAYLOAD_TOO_LARGE, Piece
from services.gateway.devices.mqtt.payloads import Item, JsonObject
from services.gateway.devices.mqtt.topics import Up
from services.gateway.devices.mqtt.values import desired_values, reported_values
from services.gateway.devices.mqtt.violations import NORMAL, NOT_AUTHORIZED, QUOTA, Rejected
from shared.events.gateway import (
    AttributesReported,
    ClaimOpened,
    ClaimPresented,
    DescriptionReported,
    DevicePublished,
)
from shared.ids import digest

if TYPE_CHECKING:
    from services.gateway.devices.mqtt.session import Session

PUBLIC = "public/"
CLAIM_CODE_CHARACTERS = 63
"""As many of a claim code count as Particle's devices show."""
DESCRIBING = frozenset({"functions", "variables"})
"""Attributes that tell the user interface what the device offers."""
COMPUTED = frozenset(payloads.FIRMWARE_KEYS + payloads.SIGNATURE_KEYS)
NOT_ATTRIBUTES = RESERVED | COMPUTED
"""Keys that say what the device runs (MQF-1), and those that only the platform sets (MQF-3)."""


@dataclass(slots=True)
class Outcome:
    """What a message causes: facts, published events, and what goes down; ``reason`` is that of its PUBACK. ``replan``:
    it may have changed when firmware is to be offered."""

    facts: list[object] = field(default_factory=list)
    published: list[DevicePublished] = field(default_factory=list)
    down: list[Effect] = field(default_factory=list)
    reason: int = NORMAL
    replan: bool = False


def is_chunk(topic: str) -> bool:
    """Whether a publish to this topic asks for a chunk of firmware, which has a bucket of its own (MQL-1)."""
    return topic.startswith("v2/fw/request/")


def may_publish(topic: str) -> bool:
    """Whether it is a topic of the device's."""
    try:
        topics.parse(topic)
    except Rejected:
        return False
    return True


def handle(session: Session, topic: str, payload: bytes, now: Now) -> Outcome:
    """Raises ``Rejected`` for a message that is not taken; then it has caused nothing."""
    up, outcome = topics.parse(topic), Outcome()
    match up.kind:
        case "telemetry":
            told = payloads.telemetry(payload, session.around.limits.items)
            for report in told.reports:
                _report(session, outcome, report, now)
            _publish(session, outcome, told.items, now)
        case "event":
            _event(session, outcome, up.name, payload, now)
        case "attributes":
            _reported(session, outcome, payloads.attributes(payload), now)
        case "attributes_request":
            _attributes(session, outcome, up, payload, now)
        case "claim":
            _claim(session, outcome, payload, now)
        case "rpc_request":
            outcome.down += session.answer(up.answer, _call(session, payloads.method(payload), now))
        case "rpc_response":
            outcome.down += asking.answered(session, up.request, payload)
        case "chunk":
            _chunk(session, outcome, up, payload, now)
        case "software":
            outcome.down += _error(session, "sw", NOT_FOUND)  # MQF-11
    return outcome


def _report(session: Session, outcome: Outcome, values: JsonObject, now: Now) -> None:
    outcome.facts += session.firmware.report(values, now.s)
    session.memory.version = session.firmware.identity.version
    outcome.replan = True


def _publish(session: Session, outcome: Outcome, items: Iterable[Item], now: Now, encoding: str = "text") -> None:
    product_id = session.firmware.counted
    for item in items:
        if product_id is None:  # DEV-4: it cannot act for the product
            outcome.reason = NOT_AUTHORIZED
            return
        if item.values is not None:
            session.remember(item, now)
        _err(session, outcome, product_id, item, now)
        outcome.published.append(
            DevicePublished(
                session.device_id,
                product_id,
                item.name,
                item.data,
                "base64" if encoding == "base64" else "text",
                item.ttl_s,
                item.public,
                now.at,
                item.device_at,
                session.firmware.identity.version,
            )
        )


def _err(session: Session, outcome: Outcome, product_id: int, item: Item, now: Now) -> None:
    """Record an event that is named as an error."""
    error = errors.published(item.name, item.data)
    if error is not None:
        version = session.firmware.identity.version
        about = (session.device_id, product_id, error, version, session.name)
        fact = session.memory.conduct.erred(*about, now.s)
        outcome.facts += [] if fact is None else [fact]


def _event(session: Session, outcome: Outcome, name: str, payload: bytes, now: Now) -> None:
    limit = session.around.limits.event_bytes
    if len(payload) > limit:
        raise Rejected(f"event: more than {limit} bytes")
    public = name.startswith(PUBLIC)
    try:
        data, encoding = payload.decode(), "text"
    except UnicodeDecodeError:
        data, encoding = b64encode(payload).decode(), "base64"
    item = Item(topics.event_name(name.removeprefix(PUBLIC)), data, None, public=public)
    _publish(session, outcome, [item], now, encoding)


def _reported(session: Session, outcome: Outcome, values: JsonObject, now: Now) -> None:
    """MQU-3. What is refused has changed nothing."""
    own = {name: value for name, value in values.items() if name not in NOT_ATTRIBUTES}
    described = not DESCRIBING.isdisjoint(own)
    reported = reported_values(session)
    before = {name: reported[name] for name in DESCRIBING.intersection(reported)}
    description = payloads.description({**before, **own}) if described else None
    try:
        change = reported.report(own, now.at, now.s)
    except TooManyAttributes as error:
        raise Rejected(f"attributes: {error}", QUOTA, "too_many_attributes") from error
    device_id, product_id = session.device_id, session.memory.product_id
    if change is not None:
        outcome.facts.append(AttributesReported(device_id, product_id, change.values, change.removed, *session.name))
        if description is not None and not DESCRIBING.isdisjoint((*json.loads(change.values), *change.removed)):
            functions, variables = description.functions, description.variables
            outcome.facts.append(
                DescriptionReported(device_id, product_id, functions, variables, None, None, *session.name)
            )
    if not RESERVED.isdisjoint(values):
        _report(session, outcome, values, now)


def _claim(session: Session, outcome: Outcome, payload: bytes, now: Now) -> None:
    """MQU-7. Whether the secret is somebody's claim code, only the ``devices`` service knows: so it is recorded that it
    was shown, and that the device is open to be claimed with it."""
    secret, duration_s = payloads.claim(payload, session.around.limits.claim_s)
    device_id, product_id = session.device_id, session.memory.product_id
    if secret:
        shown = digest(secret[:CLAIM_CODE_CHARACTERS])
        outcome.facts.append(ClaimPresented(device_id, product_id, shown, *session.name))
    until = now.at + timedelta(seconds=duration_s)
    outcome.facts.append(ClaimOpened(device_id, product_id, digest(secret) if secret else None, until, *session.name))


def _attributes(session: Session, outcome: Outcome, up: Up, payload: bytes, now: Now) -> None:
    """MQU-4: scopes with nothing in them are left out."""
    names = payloads.attribute_names(payload)
    answer: dict[str, JsonObject] = {}
    if names.client is None or names.client:
        answer["client"] = _named(reported_values(session).for_json(), names.client)
    if names.shared is None or names.shared:
        answer["shared"] = _named(_shared(session, outcome, names.shared, now), names.shared)
    outcome.down += session.answer(up.answer, {scope: values for scope, values in answer.items() if values})


def _shared(session: Session, outcome: Outcome, names: frozenset[str] | None, now: Now) -> JsonObject:
    known: JsonObject = {}
    if names is None or not names.issubset(COMPUTED):
        known = desired_values(session, everything=names is None)
    if names is not None and names.isdisjoint(COMPUTED):
        return known
    firmware = session.firmware
    outcome.facts += firmware.refresh(now.s)
    outcome.replan = True
    if names is not None and not names.isdisjoint(payloads.SIGNATURE_KEYS):
        known = {**known, **firmware.signature()}
    if names is not None and names.isdisjoint(payloads.FIRMWARE_KEYS):
        return known
    firmware.asked(now.s)
    return {**known, **firmware.attributes()}


def _named(values: JsonObject, names: frozenset[str] | None) -> JsonObject:
    return dict(values) if names is None else {name: values[name] for name in values if name in names}


def _call(session: Session, method: str, now: Now) -> JsonObject:
    """MQU-6."""
    limits = session.around.limits
    match method:
        case "getSessionLimits":
            rate = f"{limits.messages_a_second:.0f}:1"
            return {
                "maxPayloadSize": limits.packet_bytes,
                "maxInflightMessages": limits.unacknowledged_up,
                "rateLimits": {"messages": rate, "telemetryMessages": rate, "telemetryDataPoints": ""},
            }
        case "getCurrentTime" | "getTime":
            return {"time": int(now.at.timestamp() * 1_000)}
    return {"error": "unknown method"}


def _error(session: Session, kind: str, text: bytes) -> list[Effect]:
    message = session.outbox.message(topics.ERROR.format(kind), text)
    return [message] if message else []


def _chunk(session: Session, outcome: Outcome, up: Up, payload: bytes, now: Now) -> None:
    if session.firmware.counted is None:  # MQE-7; the error reaches those who asked with QoS 0
        outcome.reason = NOT_AUTHORIZED
        outcome.down += _error(session, "fw", NOT_FOUND)
        return
    events, piece = session.firmware.chunk(up.request, up.number, payload, now.s)
    outcome.facts += events
    outcome.replan = bool(events)
    if piece is None:
        outcome.down += session.tell_target(now)
        outcome.replan = True
        return
    if isinstance(piece, Piece) and not session.outbox.fits(up.answer, piece.length):
        piece = PAYLOAD_TOO_LARGE
    if isinstance(piece, bytes):
        outcome.down += _error(session, "fw", piece)
        return
    qos, packet_id = session.outbox.delivery(up.answer)
    if not packet_id:  # no room for one more to be acknowledged: it asks again for what gets lost
        qos = 0
    head = writer.publish_head(session.level, up.answer, piece.length, qos, packet_id)
    instead = writer.publish(session.level, topics.ERROR.format("fw"), FAILURE, qos, packet_id)
    outcome.down.append(Serve(head, *piece, instead) if piece.length else head)
