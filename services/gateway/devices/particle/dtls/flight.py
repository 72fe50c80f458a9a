"""When the last flight of a handshake is due again: RFC 6347, 4.2.4. Times are seconds of any one clock."""

from __future__ import annotations

NEVER = float("inf")


class Retransmission:
    """Waits ``first_s``, then twice as long each time up to ``longest_s``; repeats at most ``most`` times."""

    __slots__ = ("_left", "_longest_s", "_wait_s", "wake_at")

    def __init__(self, now: float, *, first_s: float, longest_s: float, most: int) -> None:
        self._wait_s = first_s
        self._longest_s = longest_s
        self._left = most
        self.wake_at = now + first_s

    def on_time(self, now: float) -> bool:
        """Whether the flight must be sent again because nothing came."""
        if now < self.wake_at:
            return False
        self._wait_s = min(2 * self._wait_s, self._longest_s)
        return self.again(now)

    def again(self, now: float) -> bool:
        """Whether the flight may be sent again, as the peer seems to miss it; takes one repetition and starts anew."""
        if not self._left:
            self.wake_at = NEVER
            return False
        self._left -= 1
        self.wake_at = now + self._wait_s
        return True

    def stop(self) -> None:
        """The next flight of the peer is here."""
        self.wake_at = NEVER
