"""What one device did wrong, or says went wrong with it, lately: counted by kind, told at most once a kind and minute
(section 11). Pure."""

from __future__ import annotations

from services.gateway.devices.effects import SessionName
from services.gateway.devices.errors import Error
from shared.events.gateway import DeviceErred, DeviceMisbehaved

TOLD_EVERY_S = 60.0
HOUR_S = 3_600.0
TEXT_CHARACTERS = 256
SHOWN_BYTES = 64
KINDS = 16


class Conduct:
    """Lives over the connections of one device for as long as it has something to count."""

    __slots__ = ("_bad", "_bad_since", "_kinds")

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[float, int]] = {}  # until when it is not told again, and how often it came since
        self._bad = 0
        self._bad_since = 0.0

    def noted(
        self,
        device_id: str,
        product_id: int | None,
        kind: str,
        text: str,
        sent: bytes,
        now: float,
        every_s: float = TOLD_EVERY_S,
        version: int | None = None,
    ) -> DeviceMisbehaved | None:
        """Count it; the event if it is time for one. ``sent`` is what the device sent, of which the first bytes are
        shown; ``version`` the firmware that it runs."""
        count = self._counted(kind, now, every_s)
        if count is None:
            return None
        shown = f"{text}; sent {_shown(sent)}" if sent else text
        return DeviceMisbehaved(device_id, product_id, kind, shown[:TEXT_CHARACTERS], count, version)

    def erred(
        self, device_id: str, product_id: int, error: Error, version: int | None, name: SessionName, now: float
    ) -> DeviceErred | None:
        """Count it; the event if it is time for one. Beyond ``KINDS`` at a time, kinds that the device makes up are one
        kind."""
        kind = error.kind
        if kind not in self._kinds and len(self._kinds) >= KINDS:
            self._forget(now)
            if len(self._kinds) >= KINDS:
                kind = kind.partition("/")[0] + "/other"
        count = self._counted(kind, now, TOLD_EVERY_S)
        if count is None:
            return None
        return DeviceErred(device_id, product_id, kind, error.text[:TEXT_CHARACTERS], count, version, *name)

    def _counted(self, kind: str, now: float, every_s: float) -> int | None:
        """One more of this kind; how many there were since it was told last, if it is to be told now."""
        silent_until, count = self._kinds.get(kind, (0.0, 0))
        if kind in self._kinds and now < silent_until:
            self._kinds[kind] = (silent_until, count + 1)
            return None
        if len(self._kinds) >= KINDS:
            self._forget(now)
        self._kinds[kind] = (now + every_s, 0)
        return count + 1

    def _forget(self, now: float) -> None:
        self._kinds = {name: entry for name, entry in self._kinds.items() if now < entry[0] or entry[1]}

    def bad_messages(self, now: float) -> int:
        """One more bad message; how many there were in this minute."""
        if now - self._bad_since > TOLD_EVERY_S:
            self._bad_since, self._bad = now, 0
        self._bad += 1
        return self._bad

    def forgettable(self, now: float) -> bool:
        """Whether nothing of it matters any more."""
        return all(now >= silent_until for silent_until, _ in self._kinds.values())


def _shown(sent: bytes) -> str:
    """The first bytes: printable ASCII as it is, the others as hex."""
    head = "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in sent[:SHOWN_BYTES])
    return head + ("…" if len(sent) > SHOWN_BYTES else "")
