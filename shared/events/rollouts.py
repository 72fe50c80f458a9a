"""Events of staged roll-outs (FW-6, decision 27). What was planned and decided stands with the product's releases in
stream ``firmware-<product id>``, so that no release and no roll-out contradict each other; whose turn it was, and
what came of it, in ``rollout-<roll-out id>``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.devices import GroupName
from shared.events.fields import Count, Digest, Event, FirmwareVersion, Hex24, Items, ProductNumber, Text, Whole

Percent = Annotated[int, Whole(1, 100)]
Place = Annotated[int, Whole(0, 2**52)]
"""See ``shared.rollouts.place``; 2**52 is behind every device."""
StageNumber = Annotated[int, Whole(0, 19)]
Gate = Literal["failed", "dark", "errors"]
Reason = Annotated[str, Text(512)]
Devices = Annotated[list[Hex24], Items(500)]


class RolloutStage(Event, frozen=True):
    """How far one stage goes: a percentage of the devices, or a number of them; the last one is 100 %. ``hold``:
    somebody must approve before it begins. ``soak_s``: how long it is watched, from its last turn, before the next
    one."""

    percent: Percent | None
    devices: Annotated[int, Whole(1, 10_000_000)] | None
    hold: bool
    soak_s: Annotated[int, Whole(0, 2_592_000)]


class RolloutWindow(Event, frozen=True):
    """When turns are given: on these days (0 is Monday), between two minutes of the day, UTC; one that ends before it
    begins goes over midnight."""

    days: Annotated[list[Annotated[int, Whole(0, 6)]], Items(7)]
    from_minute: Annotated[int, Whole(0, 1_439)]
    until_minute: Annotated[int, Whole(0, 1_440)]


class RolloutGates(Event, frozen=True):
    """When it stops by itself. ``failed_percent``: of the devices that had their turn, those whose update failed;
    ``dark_percent``: those that are not heard of ``dark_after_s`` after it; ``error_ratio_percent``: errors a device on
    the new version, against those on the other versions. None asks no such thing. ``at_least``: of how many devices the
    fate must be known before anything is judged. ``then``: what happens."""

    failed_percent: Percent | None
    dark_percent: Percent | None
    dark_after_s: Annotated[int, Whole(60, 604_800)]
    error_ratio_percent: Annotated[int, Whole(101, 10_000)] | None
    at_least: Annotated[int, Whole(1, 1_000_000)]
    then: Literal["pause", "roll_back"]


class RolloutPlanned(Event, frozen=True):
    """It waits for approval. ``groups``: devices in these; none: all that get the product's default. ``at_once``:
    updates that may be under way at the same time, over all gateways; ``per_hour``: turns that begin within any hour,
    None without a limit. ``intelligent``: devices that are online are offered it now, the others, and without it all,
    at their next connection."""

    product_id: ProductNumber
    rollout_id: Hex24
    version: FirmwareVersion
    groups: Annotated[list[GroupName], Items(1_000)]
    stages: Annotated[list[RolloutStage], Items(20)]
    windows: Annotated[list[RolloutWindow], Items(21)]
    at_once: Annotated[int, Whole(1, 100_000)]
    per_hour: Annotated[int, Whole(1, 10_000_000)] | None
    gates: RolloutGates
    intelligent: bool


class RolloutStageBegan(Event, frozen=True):
    """Devices before this ``share`` may have their turn now, ``allowed`` of them at most (None: all). ``prediction``:
    with the first stage, the blob that says of each device what should happen."""

    product_id: ProductNumber
    rollout_id: Hex24
    version: FirmwareVersion
    stage: StageNumber
    share: Place
    allowed: Count | None
    prediction: Digest | None = None


class RolloutStageSized(Event, frozen=True):
    """The fleet has changed, and with it what the stage's percentage comes to."""

    product_id: ProductNumber
    rollout_id: Hex24
    stage: StageNumber
    share: Place
    allowed: Count | None


class RolloutHeld(Event, frozen=True):
    """This stage is through; somebody must approve the next one."""

    product_id: ProductNumber
    rollout_id: Hex24
    stage: StageNumber


class RolloutApproved(Event, frozen=True):
    """Somebody approved that this stage begins."""

    product_id: ProductNumber
    rollout_id: Hex24
    stage: StageNumber


class RolloutPaused(Event, frozen=True):
    """Nobody gets a turn, and updates that are under way and not being applied yet are broken off. ``gate``: what
    tripped, None if somebody paused it."""

    product_id: ProductNumber
    rollout_id: Hex24
    gate: Gate | None
    reason: Reason


class RolloutResumed(Event, frozen=True):
    """It goes on where it was. What a gate counted until now is not held against it again."""

    product_id: ProductNumber
    rollout_id: Hex24


class RolloutCancelled(Event, frozen=True):
    """It is over: nobody is touched any more. Who runs the version keeps it until something else is released."""

    product_id: ProductNumber
    rollout_id: Hex24
    reason: Reason


class RolloutRolledBack(Event, frozen=True):
    """It is over: who runs the version gets back what is released to them, now."""

    product_id: ProductNumber
    rollout_id: Hex24
    gate: Gate | None
    reason: Reason


class RolloutRegrouped(Event, frozen=True):
    """Its groups as they are now, one at least: one was renamed, or is gone."""

    product_id: ProductNumber
    rollout_id: Hex24
    groups: Annotated[list[GroupName], Items(1_000)]


class RolloutCompleted(Event, frozen=True):
    """All stages are through; the release that follows in the same append makes the version what all should run."""

    product_id: ProductNumber
    rollout_id: Hex24


class RolloutTurnsGiven(Event, frozen=True):
    """These devices may be brought to the version now: for the first time, or ``again``. Stream
    ``rollout-<roll-out id>``."""

    product_id: ProductNumber
    rollout_id: Hex24
    version: FirmwareVersion
    stage: StageNumber
    devices: Devices
    again: Devices


class RolloutTurnsEnded(Event, frozen=True):
    """What came of turns: the version runs, the attempt failed, the device was not heard of in time (``dark``), or it
    left before anything was applied and gets another turn when it asks (``left``). Stream ``rollout-<roll-out id>``."""

    product_id: ProductNumber
    rollout_id: Hex24
    succeeded: Devices
    failed: Devices
    dark: Devices
    left: Devices
