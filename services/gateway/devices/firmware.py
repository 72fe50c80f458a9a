"""Firmware in one session, whatever the protocol: what the device says it runs, what it should run, and whether that
may be brought to it without its asking. Pure.

*At its next connection* (FW-4): a release is for whoever connects after it, unless it is intelligent. In a roll-out a
device asks for its turn (FW-6): one that connects when its stage has begun already, or with an intelligent roll-out one
that is online. Its turn may come a moment later, and then the version is brought to it in this very connection. Who has
to go back, because a roll-out was rolled back, is brought back now.

A device may say *not now*: then nothing is brought to it until it says otherwise, or connects anew and does not say it
again. A lock that is to be flashed now overrules that.
"""

from __future__ import annotations

from services.gateway.devices.effects import SessionName
from services.gateway.devices.identity import Identity
from services.gateway.devices.ports import Directory
from services.gateway.devices.updates import Updates, Wanted
from services.gateway.entries import DeviceEntry, FlashEntry, ImageEntry
from shared.events.gateway import FirmwareReported, RolloutTurnAsked, UpdatesDeclared
from shared.rollouts import Rollout, Standing, rollout_for
from shared.targets import Target, counted_product, decide, runs_target, target

SETUP_S = 180.0
"""A device that is being set up and does not begin to take its firmware is like any other after this time."""
SAYS_AGAIN_S = 10.0
"""A device that said *not now* in an earlier connection has so much time to say it again."""
SETTING_UP = "The device is being set up: its firmware comes first (PRD-5). Try again when it runs."


class Firmware:
    """``entry`` is the directory's newest word on the device. Methods that return a list return facts to record."""

    __slots__ = (
        "_allowed",
        "_allowed_release",
        "_asked",
        "_connected_at",
        "_directory",
        "_enabled",
        "_forced",
        "_met",
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
        self._reported_at: float | None = None
        self._connects(now)

    def _connects(self, now: float) -> None:
        # What may be brought to it unasked: as it was when the device connected, but for what is to happen at once.
        self._allowed = self.entry.membership
        self._allowed_release = self.entry.released_version
        self._met = _begun(self.entry)
        self._asked: tuple[str, int, int, int] | None = None
        self._connected_at = now
        self._enabled: bool | None = None
        self._forced = False

    def connects_anew(self, now: float) -> None:
        """The device begins anew in the session that it has, which counts as its next connection."""
        self._look(now)
        self._connects(now)

    @property
    def counted(self) -> int | None:
        """The product that the device counts as (DEV-3)."""
        return counted_product(self.entry.membership, self.identity.product)

    @property
    def target(self) -> Target | None:
        """What it should run (MQF-2)."""
        return self.entry.target_of(self.identity.product, self.identity.version)

    @property
    def _standing(self) -> Standing:
        return self.entry.standing(self.identity.product, self.identity.version)

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
        self.updates.told_elsewhere(self.entry)

    def _retargeted(self, now: float) -> list[object]:
        return [*self.updates.retarget(self._aim(), now)] if self.updates.running else []

    def directory_changed(self, now: float) -> list[object]:
        """The directory has news: a lock that is to be flashed now, and an intelligent release, need not wait for
        the next connection (FW-3, FW-4), and neither need a turn in a roll-out, and the way back (FW-6)."""
        before = self.entry
        stood = self._standing
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
        stands = self._standing
        if stands.at_once and stands != stood:
            self._asked_anew()
        return events

    def declares(self, *, enabled: bool | None = None, forced: bool | None = None) -> list[object]:
        """The device said whether it lets itself be updated now, or whether that is overruled."""
        entry = self.entry
        if self._enabled is None:
            known = entry.updates_enabled, entry.updates_forced
        else:
            known = self._enabled, self._forced
        self._enabled = enabled if enabled is not None else self._enabled if self._enabled is not None else known[0]
        self._forced = forced if forced is not None else self._forced
        if (self._enabled, self._forced) == known:
            return []
        product_id = entry.membership.product_id
        return [UpdatesDeclared(entry.device_id, product_id, self._enabled, self._forced, *self._name)]

    def goes_on(self) -> None:
        """The device goes on where its last connection was, and so with what it declared then."""
        self._enabled, self._forced = self.entry.updates_enabled, self.entry.updates_forced

    @property
    def takes_updates(self) -> bool:
        """Whether its application lets it be updated, as far as it has said so in this connection; or that is
        overruled."""
        return self._enabled is not False or self._forced

    @property
    def overruled(self) -> bool:
        """Whether its application says no, and its target is to be flashed now all the same (FW-3)."""
        aim = self.target
        is_urgent = aim is not None and aim.cause == "lock" and self.entry.membership.flash_pending
        return is_urgent and self._enabled is False

    @property
    def is_put_off(self) -> bool:
        """Whether something waits until its application lets it be updated."""
        if self.takes_updates or self.overruled:
            return False
        return self._waits_for() is not None or (self.target is not None and not self.runs_target)

    def _ready_from(self) -> float | None:
        """From when on it may be brought something, as far as its application has a say; None while it says no."""
        if not self.takes_updates and not self.overruled:
            return None
        waits = self._enabled is None and not (self.entry.updates_enabled or self.entry.updates_forced)
        return self._connected_at + (SAYS_AGAIN_S if waits and not self.entry.membership.flash_pending else 0.0)

    def ask_from(self) -> float | None:
        """From when on it asks for its turn in a roll-out; None if there is none to ask for, or it has asked."""
        rollout = self._waits_for()
        if rollout is None or self._asked == self._question(rollout):
            return None
        ready = self._ready_from()
        if ready is None:
            return None
        earliest = self.updates.offer_from(rollout.version, self._connected_at)
        return None if earliest is None else max(earliest, ready)

    def _waits_for(self) -> Rollout | None:
        """The roll-out whose turn it may ask for in this connection: it would get its version by the table."""
        told, member = self.identity, self.entry.membership
        rollout = self.entry.waits_for(told.product, told.version)
        if rollout is None or self.flash is not None or self.counted is None:
            return None
        rollout_id, stage = self._met
        is_met = rollout.rollout_id == rollout_id and rollout.stage <= stage
        if not rollout.intelligent and not is_met:
            return None
        return rollout if decide(member, told.product, rollout.version, True).rule == "released" else None

    def _question(self, rollout: Rollout) -> tuple[str, int, int, int]:
        """What it asks once: anew in another stage, after a pause, and when a turn has ended."""
        return rollout.rollout_id, rollout.stage, rollout.resumed, self.entry.turns_ended

    def ask(self, now: float) -> list[object]:
        """It asks for its turn, if it is time (FW-6)."""
        rollout, at, product_id = self._waits_for(), self.ask_from(), self.counted
        if rollout is None or at is None or at > now or product_id is None:
            return []
        self._asked = self._question(rollout)
        return [RolloutTurnAsked(self.entry.device_id, product_id, rollout.rollout_id, rollout.stage)]

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
        brings = self.updates.brings
        if brings is not None:
            # A file may well carry the version that the device runs already.
            counts = brings.cause != "file" or changed or self.updates.came_back
            events += self.updates.reported(counts and self._runs(brings.version), now)
        if changed and Identity.of(self.entry) != told:  # else another gateway has heard of it, and told its fate
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
        (FW-4), runs it, is left alone (FW-7), or says *not now*. A file is for this moment, however often its version
        failed."""
        if self.flash is not None:
            return None if self.updates.running or not self.takes_updates else self._connected_at
        aim = self.target
        if aim is None or self.runs_target or not self._may_have_now(aim):
            return None
        ready, earliest = self._ready_from(), self.updates.offer_from(aim.version, self._connected_at)
        return None if ready is None or earliest is None else max(earliest, ready)

    def _may_have_now(self, aim: Target) -> bool:
        """Whether this target is meant for the present connection."""
        if aim.cause != "lock" and self._standing.at_once:
            return True
        allowed = target(self._allowed, self.identity.product, self._allowed_release)
        return allowed is not None and allowed.version == aim.version


_NOTHING_BEGUN = ("", 0)


def _begun(entry: DeviceEntry) -> tuple[str, int]:
    """The roll-out that the device has a part in, and its stage; nothing if none has begun."""
    rollout = None if entry.releases is None else rollout_for(entry.groups, entry.releases)
    return _NOTHING_BEGUN if rollout is None else (rollout.rollout_id, rollout.stage)
