"""Who wants what, and why: travels with every call and every event, and ends in the events' metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID, uuid4, uuid5

from shared.store.port import Position

MAX_PLACE = 256
"""Characters of a ``causation_place`` that are kept; no stream of ours has so long a name."""
MAX_TEXT = 256
"""The same of where a command comes from."""


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of a command or query.

    ``actor``: ``account:<id>``, ``customer:<id>``, ``client:<id>`` (an OAuth client for itself), ``device:<id>``,
    ``system:<service>`` or ``anonymous``. ``command_id`` is the same when
    the command is repeated, so that its events get the same ids. ``causation_id`` is the event that a reaction
    answers, and ``causation_place`` its ``<stream>@<version>``, by which it is found again; ``correlation_id`` is the
    first command of the whole chain. ``after`` is the position that the caller has already seen: an answer must not be
    older.

    For the audit, where somebody asks from outside: ``token`` is the id of the access token, ``address`` where the
    request came from (a person's is sealed already, see ``shared.people.addresses``), ``about`` whose team may see it:
    ``<organization>`` or ``<organization>/<product>``. A reaction has none of them.
    """

    command_id: UUID
    actor: str
    correlation_id: str
    causation_id: str | None = None
    causation_place: str | None = None
    source: str = ""
    after: Position | None = None
    token: str | None = None
    address: str | None = None
    about: str | None = None

    @classmethod
    def new(cls, actor: str, source: str, command_id: UUID | None = None) -> Context:
        """A fresh command at the edge of the system."""
        made = command_id or uuid4()
        return cls(command_id=made, actor=actor, correlation_id=str(made), source=source)

    def step(self, name: str) -> Context:
        """The same circumstances for another append of this command to the *same* stream, or for a part of a job."""
        return replace(self, command_id=uuid5(self.command_id, name))

    def headers(self) -> dict[str, str]:
        """As nameko context data; the wire adds ``nameko.`` to each key."""
        texts = {
            "command_id": str(self.command_id),
            "actor": self.actor,
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "causation_place": self.causation_place,
            "source": self.source,
            "after": None if self.after is None else str(self.after),
            "token": self.token,
            "address": self.address,
            "about": self.about,
        }
        return {key: text for key, text in texts.items() if text is not None}

    @classmethod
    def from_headers(cls, data: Mapping[str, object], *, call_id: str, source: str) -> Context:
        """From nameko's context data. A caller that sends none of it (any nameko program) is ``anonymous`` and its
        ``call_id``, which a redelivery repeats, stands for the command."""
        sent = data.get("command_id")
        command_id = UUID(str(sent)) if sent else uuid5(UUID(int=0), call_id)
        after = data.get("after")
        causation = data.get("causation_id")
        return cls(
            command_id=command_id,
            actor=str(data.get("actor") or "anonymous"),
            correlation_id=str(data.get("correlation_id") or command_id),
            causation_id=str(causation) if causation else None,
            causation_place=_kept(data, "causation_place", MAX_PLACE),
            source=str(data.get("source") or source),
            after=Position(int(str(after))) if after else None,
            token=_kept(data, "token"),
            address=_kept(data, "address"),
            about=_kept(data, "about"),
        )


def about(org_id: str | None, product_id: int | None) -> str | None:
    """Whose team may see a command on a thing of this organization and product."""
    if org_id is None:
        return None
    return org_id if product_id is None else f"{org_id}/{product_id}"


def _kept(data: Mapping[str, object], name: str, most: int = MAX_TEXT) -> str | None:
    text = data.get(name)
    return str(text)[:most] if text else None
