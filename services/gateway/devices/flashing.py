"""The file that is to be flashed to one device (contract 9.5), from when it is asked for until its fate is known.
Pure.

Whoever asks reaches the gateway that holds the device, and that tells the directory of all gateways. So a file that was
cut in the middle goes on at the next connection, to whichever gateway (FW-7); the directory is behind by a moment.
"""

from __future__ import annotations

from services.gateway.entries import FlashEntry

LAG_S = 10.0
"""For so long the directory may not have heard of what was asked for here."""


class Flashing:
    """Of one device."""

    __slots__ = ("_asked_at", "_flash", "_over")

    def __init__(self) -> None:
        self._flash: FlashEntry | None = None
        self._asked_at: float | None = None
        self._over = ""

    @property
    def wanted(self) -> FlashEntry | None:
        """The file that is still to be flashed."""
        return self._flash

    def ask(self, flash: FlashEntry, now: float) -> None:
        """Somebody wants this file on the device now, and no other any more."""
        self._flash, self._asked_at = flash, now

    def know(self, flash: FlashEntry | None, now: float) -> None:
        """What the directory says is still to be flashed."""
        if self._flash is not None and flash is not None and flash.flash_id == self._flash.flash_id:
            self._asked_at = None  # from now on the directory knows best
        if self.is_untold(now) or (flash is not None and flash.flash_id == self._over):
            return
        self._flash = flash

    def knows(self, flash_id: str) -> bool:
        """Whether this was asked for already: a command that is repeated flashes nothing a second time."""
        return flash_id == self._over or (self._flash is not None and flash_id == self._flash.flash_id)

    def is_untold(self, now: float) -> bool:
        """Whether a file was asked for here that the directory may not have heard of."""
        return self._flash is not None and self._asked_at is not None and now < self._asked_at + LAG_S

    def is_of(self, product_id: int, version: int) -> bool:
        """Whether the file that is still to be flashed carries these."""
        flash = self._flash
        return flash is not None and (flash.product_id, flash.version) == (product_id, version)

    def end(self) -> None:
        """The file's one attempt has succeeded or failed."""
        if self._flash is not None:
            self._over = self._flash.flash_id
        self._flash = self._asked_at = None

    def left(self) -> None:
        """The device has connected to another gateway, which knows of the file by the directory."""
        self._flash = self._asked_at = None
