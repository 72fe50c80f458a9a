"""Firmware in one session, whatever the protocol: what the device says it runs, what it should run, and whether that
may be brought to it without its asking. Pure."""

from __future__ import annotations

from services.gateway.devices.effects import SessionName
from services.gateway.devices.identity import Identity
from services.gateway.devices.ports import Directory
from services.gateway.devices.updates import Updates, Wanted
from services.gateway.entries import DeviceEntry, FlashEntry, ImageEntry
from shared.events.gateway import FirmwareReported
from shared.targets import Target, counted_product, runs_target, target

SETUP_S = 180.0
"""A device that is being set up and does not begin to take its firmware is like any other after this time."""
SETTING_UP = "The device is being set up: its firmware comes first (PRD-5). Try again when it runs."


class Firmware:
    """``entry`` is the directory's newest word on the device. Methods that return a list return facts to record."""

    __slots__ = (
        "_allowed",
        "_allowed_release",
        "_connected_at",
        "_directory",
        "_name",
        "_recorded_product",
        "_reported_at",
        "entry",
        "identity",
        "updates",
    )

    def __init__(
        self, entry: DeviceEntry, updates: Updates, directory: Directory, name: SessionName, now: float
    ) -> None:
        self.entry = entry
        self.identity = Identity.of(entry)
        self._recorded_product = entry.recorded_product
        self.updates = updates
        self._directory = directory
        self._name = name
        # What may be brought to it unasked: as it was when the device connected, but for what is to happen at once.
        self._allowed = entry.membership
        self._allowed_release = entry.released_version
        self._connected_at = now
        self._reported_at: float | None = None

    @property
    def counted(self) -> int | None:
        """The product that the device counts as (DEV-3)."""
        return counted_product(self.entry.membership, self.identity.product)

    @property
    def target(self) -> Target | None:
        """What it should run (MQF-2)."""
        return target(self.entry.membership, self.identity.product, self.entry.released_version)

    @property
    def runs_target(self) -> bool:
        """Whether it has a target, and runs it."""
        aim, identity = self.target, self.identity
        return aim is not None and runs_target(self.entry.membership, aim, identity.product, identity.version)

    @property
    def flash(self) -> FlashEntry | None:
        """The file that somebody wants on it now, whatever its target is (contract 9.5)."""
        flash, member = self.updates.flashing.wanted, self.entry.membership
        held = member.quarantined or member.denied
        return None if flash is None or held or flash.product_id != member.product_id else flash

    def image(self) -> ImageEntry | None:
        """What is to be brought to it: that file, or the image of its target."""
        return self._target_image() if self.flash is None else self.flash.image

    def _target_image(self) -> ImageEntry | None:
        aim, product_id = self.target, self.counted
        return None if aim is None or product_id is None else self._directory.image(product_id, aim.version)

    @property
    def is_new(self) -> bool:
        """Whether its product's devices get their firmware when they are set up, and this one has not had any of it
        since it came into the product (PRD-5)."""
        product_id = self.counted
        if product_id is None or self.entry.ever_updated:
            return False
        product = self._directory.product(str(product_id))
        return product is not None and product.programs_at_setup

    def comes_first(self, now: float) -> bool:
        """Whether the firmware of a new device is to come now, before anything else (PRD-5). Not for longer than
        ``SETUP_S`` from its connection on, unless it is under way by then."""
        if self.flash is not None or not self.is_new or self._target_image() is None:
            return False
        return self.updates.downloading or (now < self._connected_at + SETUP_S and self.may_bring_from() is not None)

    def refresh(self, now: float) -> list[object]:
        """Ask the directory anew. A device that reported in this connection and counts as another product since then is
        recorded again; an attempt at what is no longer the target is cancelled."""
        self._look(now)
        changed = self._reported_at is not None and self.counted != self._recorded_product
        return [*([self._fact()] if changed else []), *self._retargeted(now)]

    def _look(self, now: float) -> None:
        self.entry = self._directory.device(self.entry.device_id) or self.entry
        self.updates.flashing.know(self.entry.flash, now)

    def _retargeted(self, now: float) -> list[object]:
        return [*self.updates.retarget(self._aim(), now)] if self.updates.running else []

    def directory_changed(self, now: float) -> list[object]:
        """The directory has news: a lock that is to be flashed now, and an intelligent release, need not wait for
        the next connection (FW-3, FW-4)."""
        before = self.entry
        events = self.refresh(now)
        member = self.entry.membership
        forgiven = before.failures and not self.entry.failures
        if forgiven and before.attempt_version == self.entry.attempt_version:  # FW-7: somebody asks for it again
            self.updates.ask_again()
            self._asked_anew()
        version = member.locked_version
        if member.flash_pending and not (self._allowed.flash_pending and self._allowed.locked_version == version):
            self._allowed = member
            self._asked_anew()
            if not self.entry.failures:
                self.updates.ask_again()
        released = self.entry.released_version
        if released != self._allowed_release and member.product_id is not None:
            product = self._directory.product(str(member.product_id))
            if product is not None and product.intelligent:
                self._allowed_release = released
        return events

    def _asked_anew(self) -> None:
        """Somebody wants the target brought to it now."""

    def told(self, told: Identity, now: float) -> list[object]:
        """The device said what it runs."""
        changed = told != self.identity
        self.identity = told
        if self._reported_at is None:
            self._reported_at = now
        events: list[object] = []
        if changed or self.counted != self._recorded_product:
            self._look(now)
            events.append(self._fact())
        flashed = self.updates.flashed
        if flashed is not None:
            # A file may well carry the version that the device runs already.
            events += self.updates.reported(self._runs(flashed.version) and (changed or self.updates.came_back), now)
        else:
            events += self.updates.reported(self.runs_target, now)
        if changed:
            events += self._come_late()
        return [*events, *self._retargeted(now)]

    def _come_late(self) -> list[object]:
        """It has changed to what was tried last, and nobody said that this succeeded."""
        aim, flash = self.target, self.flash
        if flash is not None and self._runs(flash.version):
            return [*self.updates.reported_late(flash.product_id, flash.version)]
        if aim is not None and self.counted is not None and self.runs_target:
            return [*self.updates.reported_late(self.counted, aim.version)]
        return []

    def _runs(self, version: int) -> bool:
        told = self.identity
        return runs_target(self.entry.membership, Target(version, "lock"), told.product, told.version)

    def _fact(self) -> FirmwareReported:
        """What the device reports and counts as now: recorded when either changes (FW-5, DEV-4)."""
        told, self._recorded_product = self.identity, self.counted
        return FirmwareReported(
            self.entry.device_id,
            self._recorded_product,
            told.product,
            told.version,
            told.title,
            told.text,
            *self._name,
        )

    def _aim(self) -> Wanted | None:
        flash = self.flash
        if flash is not None:
            return Wanted(flash.product_id, flash.version, "file", flash.size_bytes)
        aim, image = self.target, self.image()
        if aim is None or image is None:
            return None
        return Wanted(image.product_id, image.version, aim.cause, image.size_bytes)

    def wanted(self) -> Wanted | None:
        """What an attempt may be opened at: a file, or its target, unless it runs that already."""
        return None if self.flash is None and self.runs_target else self._aim()

    def may_bring_from(self) -> float | None:
        """The earliest moment at which its target may be brought to it unasked; None if it may not in this connection
        (FW-4), runs it, or is left alone (FW-7). A file is for this moment, however often its version failed."""
        if self.flash is not None:
            return None if self.updates.running else self._connected_at
        aim = self.target
        if aim is None or self.runs_target:
            return None
        allowed = target(self._allowed, self.identity.product, self._allowed_release)
        if allowed is None or allowed.version != aim.version:
            return None
        return self.updates.offer_from(aim.version, self._connected_at)
