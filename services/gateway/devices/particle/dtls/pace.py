"""At most so many of something a second, in all or for each host."""

from __future__ import annotations

MAX_HOSTS = 16_384
"""Of which it is remembered how much they did in the last second."""


class Pace:
    """A bucket of ``per_s`` tokens that fills up in one second."""

    __slots__ = ("_at", "_per_s", "_tokens")

    def __init__(self, per_s: int, now: float) -> None:
        self._per_s = per_s
        self._tokens = float(per_s)
        self._at = now

    def is_full(self, now: float) -> bool:
        """Whether nothing was taken for so long that it is as good as new."""
        return now - self._at >= 1

    def take(self, now: float) -> bool:
        """Whether one more may be done now."""
        if now > self._at:
            self._tokens = min(float(self._per_s), self._tokens + (now - self._at) * self._per_s)
            self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class HostPace:
    """At most ``per_s`` a second for each of ``MAX_HOSTS`` hosts; with more, all of them begin anew."""

    __slots__ = ("_paces", "_per_s")

    def __init__(self, per_s: int) -> None:
        self._per_s = per_s
        self._paces: dict[str, Pace] = {}

    def __len__(self) -> int:
        return len(self._paces)

    def take(self, host: str, now: float) -> bool:
        """Whether one more may be done for this host now."""
        pace = self._paces.get(host)
        if pace is None:
            if len(self._paces) >= MAX_HOSTS:
                self._forget(now)
            pace = self._paces[host] = Pace(self._per_s, now)
        return pace.take(now)

    def _forget(self, now: float) -> None:
        active = {host: pace for host, pace in self._paces.items() if not pace.is_full(now)}
        self._paces = active if len(active) <= MAX_HOSTS // 2 else {}
