"""What the fields of events may hold, as annotations that ``shared.events.contracts`` turns into marshmallow fields.

Pure data: ``name: Annotated[str, Text(64)]``. A field without a limit is not accepted as a contract.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from shared.ids import MAX_FIRMWARE_VERSION


class Event(msgspec.Struct, frozen=True, gc=False):
    """What every event class is: immutable, equal by its fields, read from JSON in half the time of a dataclass.

    The collector of cycles passes events by: they hold nothing that could refer back to them.
    """


@dataclass(frozen=True, slots=True)
class Text:
    """Text of at most ``longest`` characters; ``pattern`` is a regular expression for all of it."""

    longest: int
    shortest: int = 0
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer between two bounds, both included."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list of at most ``most`` items; each as the annotation inside the list says."""

    most: int


@dataclass(frozen=True, slots=True)
class Personal:
    """This text tells of a person, and is stored sealed under the key of that person (EVT-5).

    ``who`` names the field of the same event that holds the person's account id, behind ``prefix``. ``only`` is a
    field and a value: in events that have another value there, the text tells of nobody.
    """

    who: str
    prefix: str = ""
    only: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Forgets:
    """The person with this account id is forgotten from this event on."""


FORGOTTEN = "forgotten"
"""Stands for everything personal of somebody who was forgotten, or whose key is lost. It is no e-mail address."""
UNOPENED = "sealed"
"""The same in a process that has no keys."""

Hex24 = Annotated[str, Text(24, 24, r"[0-9a-f]{24}")]
Digest = Annotated[str, Text(64, 64, r"[0-9a-f]{64}")]
"""SHA-256 as lower-case hex."""
Email = Annotated[str, Text(254, 3)]
Slug = Annotated[str, Text(64, 1, r"[a-z0-9]+(-[a-z0-9]+)*")]
Title = Annotated[str, Text(128, 1)]
Description = Annotated[str, Text(4_000)]
ProductNumber = Annotated[int, Whole(1_000, 65_534)]
ReportedProduct = Annotated[int, Whole(0, 65_535)]
PlatformId = Annotated[int, Whole(0, 65_535)]
FirmwareVersion = Annotated[int, Whole(0, MAX_FIRMWARE_VERSION)]
ReportedVersion = Annotated[int, Whole(0, 65_535)]
Count = Annotated[int, Whole(0, 2**63 - 1)]
KeyAlgorithm = Literal["rsa", "ecc"]
PublicKey = Annotated[str, Text(512, 1, r"[A-Za-z0-9+/]+={0,2}")]
"""The DER of a SubjectPublicKeyInfo in base64."""
AttributeKeys = Annotated[list[Annotated[str, Text(128, 1)]], Items(1_024)]
AttributeValues = Annotated[str, Text(65_536, 2)]
"""A JSON object as text: names and values of attributes."""
Moment = datetime
"""An aware UTC datetime."""
