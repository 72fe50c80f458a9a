"""Requests that arrive, for whoever serves them: what they ask, and the answers to those that cannot be understood."""

from __future__ import annotations

import inspect
from typing import Any

from nameko.exceptions import IncorrectSignature, MalformedRequest

from shared.bus import wire
from shared.bus.errors import Malformed
from shared.bus.transport import Delivery
from shared.bus.wire import Message


def method_of(message: Message) -> str:
    """The method that is asked for."""
    return message.routing_key.rpartition(".")[2]


def arguments_of(message: Message) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a request that can be answered. Raises ``Malformed``."""
    if message.reply_to is None:
        raise Malformed("a request without reply_to")
    return wire.decode_request(message)


def check_arguments(name: str, signature: inspect.Signature, args: list[Any], kwargs: dict[str, Any]) -> None:
    """For a method whose first parameter is not of the request. Raises nameko's ``IncorrectSignature``."""
    try:
        signature.bind(None, *args, **kwargs)
    except TypeError as problem:
        raise IncorrectSignature(f"{name}(): {problem}") from None


def answer_malformed(delivery: Delivery, problem: Malformed) -> None:
    """Tell the caller of a request that could not be understood, if it says where."""
    if delivery.message.reply_to is None:
        delivery.settle()
    else:
        delivery.respond(wire.encode_reply(None, MalformedRequest(str(problem)))[0])
