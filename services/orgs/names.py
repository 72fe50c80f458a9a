"""Names that exist once: who holds one, and how names, slugs and e-mail addresses are compared.

Stream ``name-<kind>-<40 hex digits>``, one for each name. A reservation is made before the thing that will carry the
name, so a crash in between can leave one whose holder never came to be; after a minute anybody may take it over.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from shared.aggregates import Aggregate
from shared.comparing import comparable as comparable  # for all who compare names here
from shared.errors import Conflict, Refused
from shared.events.orgs import NameReserved

Kind = Literal[
    "email",
    "org_slug",
    "product_slug",
    "product_name",
    "firmware_name",
    "device_authority",
    "authority_subject",
    "customer_email",
    "customer_link",
]

TAKEN_OVER_AFTER = timedelta(seconds=60)
"""So long a name is kept for a holder that does not carry it yet."""
RENEWED_AFTER = timedelta(seconds=30)
"""A creation that is repeated so late reserves again, so that it is not overtaken while it goes on."""
LONGEST_SLUG = 64
LAST_SUFFIX = 999

_OTHERS = re.compile(r"[^a-z0-9]+")
_LIKE_AN_ID = re.compile(r"[0-9]+|[0-9a-f]{24}")
_ROOM_FOR_SUFFIX = 4


@dataclass(frozen=True, slots=True)
class Reserve:
    """Give the name to this holder.

    ``seen`` is how many reservations of it the caller has looked at, ``carried`` whether the last one's holder really
    carries the name, ``age`` how old that one is, ``freed`` whether that holder will never carry it again.
    ``moved_from`` is an earlier holder of the same creation.
    """

    kind: Kind
    name: str
    holder_stream: str
    seen: int = 0
    carried: bool = False
    age: timedelta = timedelta()
    moved_from: str | None = None
    freed: bool = False


@dataclass(frozen=True, slots=True)
class Reservation:
    """Who holds the name, and how often it was reserved."""

    holder_stream: str | None = None
    count: int = 0


def decide(state: Reservation, command: Reserve) -> list[NameReserved]:
    """Reserved anew, or nothing if it is this holder's already. Raises ``Refused``, and ``Conflict`` if more happened
    than was seen."""
    if state.count != command.seen:
        raise Conflict(f"name-{command.kind}", str(command.seen - 1), str(state.count - 1))
    mine = state.holder_stream == command.holder_stream
    if mine and (command.carried or command.age < RENEWED_AFTER):
        return []
    moves = not command.carried and state.holder_stream in (command.holder_stream, command.moved_from)
    late = not command.carried and (command.freed or command.age >= TAKEN_OVER_AFTER)
    if state.holder_stream is None or moves or late:
        return [NameReserved(command.kind, command.name, command.holder_stream)]
    raise Refused("name_taken", "the name is taken")


def evolve(state: Reservation, event: NameReserved) -> Reservation:
    """The last reservation counts."""
    return Reservation(event.holder_stream, state.count + 1)


NAMES: Aggregate[Reservation, Reserve] = Aggregate(Reservation(), decide, evolve)


def stream_of(kind: Kind, name: str, secret: bytes = b"") -> str:
    """The stream of this name's reservations. ``secret`` is for names that nobody shall guess from their digests."""
    plain = comparable(name).encode("utf-8", "replace")
    digest = hmac.new(secret, plain, "sha256").hexdigest() if secret else hashlib.sha256(plain).hexdigest()
    return f"name-{kind}-{digest[:40]}"


def product_name(org_id: str, name: str) -> str:
    """A product's name as it is reserved: names of products exist once in an organization."""
    return f"{org_id}/{name}"


def slug_of(name: str, fallback: str) -> str:
    """The slug that a name asks for (contract 1.2), with room for a suffix. What would read as an id, or as nothing,
    is made a slug with the help of ``fallback``."""
    room = LONGEST_SLUG - _ROOM_FOR_SUFFIX - len(fallback) - 1
    slug = _OTHERS.sub("-", name.lower()).strip("-")[:room].strip("-")
    if not slug:
        return fallback
    return f"{fallback}-{slug}" if like_an_id(slug) else slug


def like_an_id(slug: str) -> bool:
    """Whether a path segment could not tell this slug from an id."""
    return _LIKE_AN_ID.fullmatch(slug) is not None


def with_suffixes(slug: str) -> Iterator[str]:
    """The slug, then with -2, -3… up to ``LAST_SUFFIX``."""
    yield slug
    for number in range(2, LAST_SUFFIX + 1):
        yield f"{slug}-{number}"
