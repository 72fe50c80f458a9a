"""Parked messages, for people: what no handler could handle, and why; send it again, or discard it.

Over RabbitMQ they are in the durable queue ``flotilla.parked``: the body as it was, the circumstances in headers
``flotilla.parked.<key>``, or in ``x-death`` when the broker parked it itself. The embedded bus keeps its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from amqp.exceptions import AMQPError, PreconditionFailed
from amqp.exceptions import NotFound as NoSuchQueue
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import KombuError

from shared.bus import address
from shared.bus.amqp import AmqpTransport
from shared.bus.link import PARKED_HEADER
from shared.bus.local import LocalTransport
from shared.bus.queue_kinds import MAX_PARKED, MOST_DELIVERIES, PARKED_QUEUE
from shared.bus.transport import ParkedMessage, Transport
from shared.bus.wire import Message
from shared.clock import system_clock
from shared.errors import NotFound, Refused, Unavailable

CONNECT_TIMEOUT_S = 5.0
OF_THE_BROKER = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
"""Headers that a broker adds to what it parks."""


def list_parked(transport_or_url: Transport | str, limit: int = 100) -> list[ParkedMessage]:
    """The oldest parked messages. Raises ``Unavailable``."""
    if isinstance(transport_or_url, LocalTransport):
        return transport_or_url.kept.first(limit)
    with _queue(transport_or_url) as queue:
        found = [_parked(message) for message in _take(queue, limit)]
    return sorted(found, key=lambda message: (message.at, message.id))  # a quorum queue takes them back in any order


def resend(transport_or_url: Transport | str, parked_id: str) -> None:
    """Give a message to the queue that it was parked from, and to no other, and forget it here. Raises ``NotFound``
    if there is no such message, or its queue is gone, and ``Unavailable``."""
    if isinstance(transport_or_url, LocalTransport):
        transport_or_url.resend(transport_or_url.kept.get(parked_id))
        transport_or_url.kept.remove(parked_id)
        return
    with _queue(transport_or_url) as queue:
        message = _find(queue, parked_id)
        _send_back(queue.channel, message)
        message.ack()


def discard(transport_or_url: Transport | str, parked_id: str) -> None:
    """Forget a message. Raises ``NotFound`` and ``Unavailable``."""
    if isinstance(transport_or_url, LocalTransport):
        transport_or_url.kept.remove(parked_id)
        return
    with _queue(transport_or_url) as queue:
        _find(queue, parked_id).ack()


@contextmanager
def _queue(transport_or_url: Transport | str) -> Iterator[Any]:
    """The queue on a channel of its own; what is taken and not acknowledged goes back when the channel closes."""
    url = transport_or_url.url if isinstance(transport_or_url, AmqpTransport) else str(transport_or_url)
    where = address.parse(url)
    declared: Any = Queue
    try:
        with _connected(where.nodes) as connection:
            queue = declared(PARKED_QUEUE, channel=connection.channel(), queue_arguments=dict(where.kind.parked))
            queue.queue_declare()
            yield queue
    except PreconditionFailed as problem:
        raise Refused("other_kind_of_queue", f"FLOTILLA_QUEUES does not fit the broker: {problem}") from problem
    except (AMQPError, KombuError, OSError) as problem:
        raise Unavailable(f"the broker: {problem}") from problem


def _connected(nodes: Sequence[str]) -> Any:
    """A connection to the first node that answers; raises what the last one did."""
    connect: Any = Connection
    for index, node in enumerate(nodes, 1):
        made = connect(node, connect_timeout=CONNECT_TIMEOUT_S, transport_options={"confirm_publish": True})
        try:
            made.connect()
        except (AMQPError, KombuError, OSError):
            made.release()
            if index == len(nodes):
                raise
        else:
            break
    return made


def _take(queue: Any, limit: int) -> Iterator[Any]:
    get: Callable[[], Any] = queue.get
    for _ in range(min(limit, MAX_PARKED)):
        message = get()
        if message is None:
            return
        yield message


def _find(queue: Any, parked_id: str) -> Any:
    for message in _take(queue, MAX_PARKED):
        if _circumstances(message).get("id") == parked_id:
            return message
    raise NotFound(f"No parked message {parked_id}.")


def _parked(message: Any) -> ParkedMessage:
    about = _circumstances(message)
    at = about.get("at")
    body = _body(message)
    return ParkedMessage(
        id=str(about.get("id", "")),
        queue=str(about.get("queue", "")),
        handler=str(about.get("handler", "")),
        error=str(about.get("error", "")),
        at=datetime.fromisoformat(at) if at else system_clock(),
        message=body.decode(errors="replace"),
        original=Message(
            body,
            str(about.get("exchange", "")),
            str(about.get("routing_key", "")),
            _original_headers(message),
            about.get("content_type"),
            about.get("content_encoding"),
            message.properties.get("correlation_id"),
        ),
    )


def _send_back(channel: Any, message: Any) -> None:
    about = _circumstances(message)
    queue = str(about.get("queue", ""))
    try:
        channel.queue_declare(queue, passive=True)
    except NoSuchQueue:
        raise NotFound(f"there is no queue {queue}") from None
    sent = channel.prepare_message(
        _body(message),
        content_type=about.get("content_type"),
        content_encoding=about.get("content_encoding"),
        headers=_original_headers(message),
        properties={"delivery_mode": 2, "correlation_id": message.properties.get("correlation_id")},
    )
    channel.basic_publish(sent, exchange="", routing_key=queue)


def _circumstances(message: Any) -> dict[str, Any]:
    if isinstance(message.headers.get("x-death"), list):
        return _as_the_broker_tells(message)
    start = len(PARKED_HEADER)
    return {key[start:]: value for key, value in message.headers.items() if key.startswith(PARKED_HEADER)}


def _as_the_broker_tells(message: Any) -> dict[str, Any]:
    """Of a message that its handlers never settled: the newest entry comes first."""
    death: Mapping[str, Any] = message.headers["x-death"][0]
    queue, at = str(death.get("queue", "")), death.get("time")
    keys = death.get("routing-keys")
    return {
        "id": hashlib.sha256(queue.encode() + b"\n" + _body(message)).hexdigest()[:32],
        "queue": queue,
        "handler": queue.partition("--")[2],
        "error": f"its handlers ended {MOST_DELIVERIES} times while they had it ({death.get('reason')})",
        "at": at.replace(tzinfo=at.tzinfo or UTC).isoformat() if isinstance(at, datetime) else None,
        "exchange": death.get("exchange"),
        "routing_key": keys[0] if isinstance(keys, list) and keys else "",
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
    }


def _original_headers(message: Any) -> dict[str, Any]:
    added = (PARKED_HEADER, *OF_THE_BROKER)
    return {key: value for key, value in message.headers.items() if not key.startswith(added)}


def _body(message: Any) -> bytes:
    body = message.body
    return body.encode() if isinstance(body, str) else bytes(body)
