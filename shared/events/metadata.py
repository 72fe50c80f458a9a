"""The metadata of an event: who wanted it, and why. Pure."""

from __future__ import annotations

import msgspec

from shared.store.port import Recorded


class Metadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """The envelope's metadata as JSON. ``schema`` is the version of the event's contract, ``causation_place`` where the
    event with the id ``causation`` stands: ``<stream>@<version>``. ``token``, ``address`` and ``about`` are those of
    ``shared.context.Context``."""

    schema: int
    actor: str
    command: str
    correlation: str
    causation: str | None = None
    causation_place: str | None = None
    source: str = ""
    token: str | None = None
    address: str | None = None
    about: str | None = None


_decoder = msgspec.json.Decoder(Metadata)


def metadata(recorded: Recorded) -> Metadata:
    """The decoded metadata of a stored event."""
    return _decoder.decode(recorded.meta)
