"""Errors on the wire, as nameko writes them: ``{"exc_type", "exc_path", "exc_args", "value"}``.

The classes of ``shared.errors`` are registered with nameko, so that every nameko program that imports this module
rebuilds them. Whatever else a service raises comes out as ``RemoteError``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nameko import exceptions as nameko_exceptions

from shared import errors
from shared.errors import FlotillaError

CROSSING = (
    errors.Refused,
    errors.NotFound,
    errors.Conflict,
    errors.PeerViolation,
    errors.Misuse,
    errors.Unavailable,
    errors.Unknown,
    errors.NotServed,
)
"""The classes that cross the bus as themselves."""

for _class in CROSSING:
    nameko_exceptions.deserialize_to_instance(_class)


class RemoteError(FlotillaError, nameko_exceptions.RemoteError):  # type: ignore[misc]
    """The service raised something that is not of ``shared.errors``: a bug there, named by ``exc_type``, ``value``."""


class Malformed(Exception):
    """A message is not what the wire promises; its text says what is wrong."""


def to_error(exc: BaseException) -> dict[str, Any]:
    """What nameko sends for this exception."""
    sent: dict[str, Any] = nameko_exceptions.serialize(exc)
    return sent


def from_error(error: Mapping[str, Any]) -> Exception:
    """The exception that was sent: the registered class if there is one and its arguments fit, else ``RemoteError``."""
    if error.get("exc_path") in nameko_exceptions.registry:
        try:
            rebuilt: Exception = nameko_exceptions.deserialize(error)
        except TypeError:
            return RemoteError(error.get("exc_type"), error.get("value"))
        return rebuilt
    return RemoteError(error.get("exc_type"), error.get("value"))


def as_ours(exc: Exception) -> FlotillaError:
    """The same error as one of our tree: what nameko says of a bad request is a bug of the caller."""
    return exc if isinstance(exc, FlotillaError) else RemoteError(type(exc).__name__, str(exc))
