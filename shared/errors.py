"""The one tree of errors, used by every layer.

::

    FlotillaError
      Refused          a rule says no: code, reason in words a person can act on; never retried
      NotFound         also what those get who may not see it
      Conflict         the stream moved on; reload and decide again
      PeerViolation    the other side broke the protocol: close, count, tell the operator what it sent
      Misuse           our own code broke it: a bug
      Unavailable      store, broker or device does not answer: retry with back-off
        Unknown        no answer, and the thing may have happened: repeat with the same ids
        NotServed      nobody was there to be asked

Each crosses the bus by name and comes out as the same class (``shared.bus.errors``); the gateway maps them to
HTTP in one table. All arguments are text, because nameko's wire turns every other argument into text.
"""

from __future__ import annotations


class FlotillaError(Exception):
    """Base of all; never raised itself."""


class Refused(FlotillaError):
    """A rule says no.

    ``code`` is stable snake_case for machines, ``reason`` one sentence for people, ``detail`` optional JSON text
    of an object whose members are added to the HTTP error body.
    """

    def __init__(self, code: str, reason: str, detail: str = "") -> None:
        super().__init__(code, reason, detail)
        self.code = code
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


class NotFound(FlotillaError):
    """It does not exist, or the caller may not learn that it does. The text is shown to the caller."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Conflict(FlotillaError):
    """The stream is not at the expected version. ``actual`` is its last version as text, empty when unknown."""

    def __init__(self, stream: str, expected: str, actual: str = "") -> None:
        super().__init__(stream, expected, actual)
        self.stream = stream
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"{self.stream}: expected version {self.expected}, it is at {self.actual or 'another'}"


class PeerViolation(FlotillaError):
    """The peer broke the protocol; says what it sent."""


class Misuse(FlotillaError):
    """Our own code broke a promise of this module: a bug, to be reported and not handled."""


class Unavailable(FlotillaError):
    """Store, broker, service or device does not answer; nothing happened; try again later."""


class Unknown(Unavailable):
    """No answer came, and the thing may have happened: repeat it with the same ids and versions."""


class NotServed(Unavailable):
    """Nobody serves what was asked for; nothing happened, and whoever serves it may come back."""
