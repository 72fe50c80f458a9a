"""Acknowledgements of one device's events, in the order of the events, each when its event is durable. Pure."""

from __future__ import annotations

from collections import deque

from services.gateway.devices.effects import Ack
from services.gateway.devices.particle import coap, server_messages


class Inbox:
    """Of one session, as long as any acknowledgement waits."""

    __slots__ = ("_acks",)

    def __init__(self) -> None:
        self._acks: deque[Ack] = deque()

    def __len__(self) -> int:
        """How many acknowledgements wait."""
        return len(self._acks)

    def acknowledge(self, message_id: int, waiting: int, code: int = coap.EMPTY) -> Ack:
        """The message is to be acknowledged when so many events are durable, behind those before it."""
        ack = Ack(coap.encode(server_messages.acknowledgement(message_id, code)), waiting)
        self._acks.append(ack)
        return ack

    @staticmethod
    def lost(ack: Ack) -> None:
        """An event that it waits for could not be stored: the device is told so, firmware up to 0.7 does not hear."""
        ack.packet = ack.packet[:1] + bytes((coap.UNAVAILABLE,)) + ack.packet[2:]

    def ready(self) -> list[bytes]:
        """The acknowledgements that may go now."""
        acks, found = self._acks, list[bytes]()
        while acks and not acks[0].waiting:
            found.append(acks.popleft().packet)
        return found
