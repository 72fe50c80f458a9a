"""Numbers of the messages to one device, and its answers by their tokens (protocol sections 4.2 and 4.3). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import Misuse

TOKENS = 256


@dataclass(frozen=True, slots=True)
class Called:
    """The question of this number called a function."""

    number: int


@dataclass(frozen=True, slots=True)
class ReadVariable:
    """The question of this number asked for a variable of this type."""

    number: int
    kind: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """The question of this number made the device show itself, or stop."""

    number: int
    on: bool


@dataclass(frozen=True, slots=True)
class Described:
    """A description was asked for; ``flags`` None means all of it."""

    flags: int | None


Request = Called | ReadVariable | Signalled | Described


class Requests:
    """Of one session. A token is not used again before all the others were, so that a late answer finds nothing."""

    __slots__ = ("_id", "_open", "_token")

    def __init__(self, last_id: int = 0) -> None:
        self._id = last_id
        self._token = 0
        self._open: dict[int, Request] | None = None

    @property
    def last_id(self) -> int:
        """The id of the last message."""
        return self._id

    def message_id(self) -> int:
        """The next id of a message."""
        self._id = self._id + 1 & 0xFFFF
        return self._id

    def token(self) -> int:
        """A token that no outstanding request has."""
        taken = self._open or {}
        if len(taken) >= TOKENS - 1:
            raise Misuse(f"{len(taken)} requests are outstanding")
        self._token = self._token + 1 & 0xFF
        while self._token in taken:
            self._token = self._token + 1 & 0xFF
        return self._token

    def open(self, request: Request) -> int:
        """A token for this request, whose answer ``close`` finds."""
        token = self.token()
        if self._open is None:
            self._open = {}
        self._open[token] = request
        return token

    def close(self, token: bytes) -> Request | None:
        """The request that an answer with this token is for; it is outstanding no more."""
        if len(token) != 1 or self._open is None:
            return None
        request = self._open.pop(token[0], None)
        if not self._open:
            self._open = None
        return request

    def forget(self, number: int) -> None:
        """Nobody waits for the answer to this question any more."""
        for token, request in (self._open or {}).items():
            if not isinstance(request, Described) and request.number == number:
                self.close(bytes((token,)))
                return
