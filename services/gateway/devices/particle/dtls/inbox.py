"""Handshake fragments in any order, whole messages in theirs: RFC 6347, 4.2.2 and 4.2.3. Bounded."""

from __future__ import annotations

from services.gateway.devices.particle.dtls.messages import Fragment, Message
from services.gateway.devices.particle.dtls.refusals import Discarded

AHEAD_MESSAGES = 6
"""How far before its turn a message is kept; a flight has at most five."""


class _Partial:
    """A message of which some bytes are here; ``have`` has a bit for each of them."""

    __slots__ = ("body", "have", "kind")

    def __init__(self, kind: int, length: int) -> None:
        self.kind = kind
        self.body = bytearray(length)
        self.have = 0

    def add(self, fragment: Fragment) -> None:
        if (fragment.kind, fragment.length) != (self.kind, len(self.body)):
            raise Discarded("handshake_form")  # of another message than the fragments before it
        end = fragment.offset + len(fragment.body)
        self.body[fragment.offset : end] = fragment.body
        self.have |= (1 << end) - (1 << fragment.offset)

    @property
    def is_whole(self) -> bool:
        return self.have == (1 << len(self.body)) - 1


class Inbox:
    """At most ``AHEAD_MESSAGES`` messages of ``messages.MAX_MESSAGE_BYTES`` are kept until their turn comes."""

    __slots__ = ("_partial", "next_sequence")

    def __init__(self, next_sequence: int) -> None:
        self.next_sequence = next_sequence
        self._partial: dict[int, _Partial] = {}

    def put(self, fragment: Fragment) -> bool:
        """Keeps it; False if its message had its turn already. Raises ``Discarded`` for what does not fit."""
        ahead = fragment.sequence - self.next_sequence
        if ahead < 0:
            return False
        if ahead >= AHEAD_MESSAGES:
            raise Discarded("too_far_ahead")
        partial = self._partial.get(fragment.sequence)
        if partial is None:
            partial = self._partial[fragment.sequence] = _Partial(fragment.kind, fragment.length)
        if not partial.is_whole or not fragment.length:
            partial.add(fragment)
        return True

    def take(self) -> Message | None:
        """The message whose turn it is, once it is whole."""
        partial = self._partial.get(self.next_sequence)
        if partial is None or not partial.is_whole:
            return None
        del self._partial[self.next_sequence]
        message = Message(partial.kind, self.next_sequence, bytes(partial.body))
        self.next_sequence += 1
        return message
