"""Which of a product's releases and roll-outs is a device's: one pure answer for gateway, views and dry runs (FW-6).

A roll-out stands at the level of what it will become: a release to groups, or the product's default. While it runs, a
device that had its turn should run the new version, and so should whoever reports it already; for all others it is as
if there were none. Paused or cancelled, only who reports the version keeps it. Rolled back, it is as if it had never
been, but that whoever reports the version is brought back at once.

``reported_version`` is always that of the device's own product (``shared.targets.own_version``): the same number of
another product's firmware is another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

PLACES = 2**52
"""Exact in every JSON reader."""

State = Literal["planned", "running", "paused", "completed", "cancelled", "rolled_back"]
"""Of a roll-out: ``planned`` until its first stage begins; the last three until a release at its level supersedes it,
``completed`` for a moment, as the release is in the same append."""

_KEPT = ("running", "paused", "completed", "cancelled")
"""States in which whoever reports the version keeps it."""
_TURNS_COUNT = ("running", "completed")
_UNDER_WAY = ("running", "paused")


@dataclass(frozen=True, slots=True)
class Rollout:
    """What decides of a roll-out: devices whose place is before ``share`` may ask for a turn at stage ``stage``;
    ``groups`` is empty for the product's default. ``gate``: what paused it, None if somebody did; ``resumed``: how
    often it went on after a pause."""

    rollout_id: str
    version: int
    groups: tuple[str, ...] = ()
    state: State = "running"
    stage: int = 0
    share: int = 0
    intelligent: bool = False
    gate: str | None = None
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class Releases:
    """What is released in a product: to all, by group, and what is being rolled out, the newest roll-out first."""

    default: int | None = None
    by_group: Mapping[str, int] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()


PartWord = Literal["runs", "turn", "paused", "waits", "later", "keeps", "goes_back"]
"""What a roll-out means to a device: it runs the version already; had its turn; the roll-out is paused; it is in the
stage and waits for its turn; it is in a later stage; the roll-out is cancelled, and it keeps the version; it was rolled
back, and the device has to go back."""


@dataclass(frozen=True, slots=True)
class Part:
    """A device's part in a roll-out."""

    rollout: Rollout
    word: PartWord


@dataclass(frozen=True, slots=True)
class Standing:
    """What is released for a device. ``rollout``: the one by which it is, None if it is by a release. ``at_once``: it
    is brought to a device that is online already: one that had its turn, or has to go back."""

    version: int | None
    rollout: Rollout | None = None
    at_once: bool = False


def place(rollout_id: str, device_id: str) -> int:
    """Where a device stands in the order of a roll-out, from 0 up to ``PLACES``; another order for each roll-out, so
    that it is not always the same devices that are first."""
    return places_in(rollout_id)(device_id)


def places_in(rollout_id: str) -> Callable[[str], int]:
    """``place`` for the many devices of one roll-out, in two thirds of the time."""
    begun = hashlib.blake2b(rollout_id.encode(), digest_size=8)

    def place_of(device_id: str) -> int:
        digest = begun.copy()
        digest.update(device_id.encode())
        return int.from_bytes(digest.digest(), "big") >> 12

    return place_of


def standing(groups: Iterable[str], releases: Releases, reported_version: int | None, turn: str | None) -> Standing:
    """What is released for a device in these groups; ``turn``: the roll-out that gave it a turn last, if that has not
    ended."""
    names = tuple(groups)
    of_groups = [
        found
        for group in names
        if (found := _at(group, releases.by_group.get(group), releases, reported_version, turn)) is not None
    ]
    default = _at(None, releases.default, releases, reported_version, turn)
    found = max(of_groups, key=lambda one: one.version or 0, default=default) or Standing(None)
    if found.rollout is not None or found.version is None:
        return found
    goes_back = _over(names, releases, reported_version, "rolled_back") is not None
    return Standing(found.version, at_once=True) if goes_back else found


def released_to(
    groups: Iterable[str], releases: Releases, reported_version: int | None, turn: str | None
) -> int | None:
    """The version of that."""
    return standing(groups, releases, reported_version, turn).version


def rollout_for(groups: Iterable[str], releases: Releases) -> Rollout | None:
    """The roll-out under way that a device in these groups has a part in: of one of its groups before the product's,
    the highest version of several; none of the product's if something is released to one of its groups."""
    names = set(groups)
    under_way = [rollout for rollout in releases.rollouts if rollout.state in _UNDER_WAY]
    of_groups = [rollout for rollout in under_way if names.intersection(rollout.groups)]
    if of_groups:
        return max(of_groups, key=lambda rollout: (rollout.version, rollout.rollout_id))
    if names.intersection(releases.by_group):
        return None
    return next((rollout for rollout in under_way if not rollout.groups), None)


def waits_for(
    device_id: str, groups: Iterable[str], releases: Releases, reported_version: int | None, turn: str | None
) -> Rollout | None:
    """The running roll-out that the device may ask for its turn: its place is before the share, and with the turn it
    would be brought to the version, which it does not report yet. One that has its turn in a roll-out under way asks no
    other before that has ended."""
    names = tuple(groups)
    rollout = rollout_for(names, releases)
    if rollout is None or rollout.state != "running" or _is_under_way(turn, releases):
        return None
    if rollout.version == reported_version or place(rollout.rollout_id, device_id) >= rollout.share:
        return None
    with_turn = standing(names, releases, reported_version, rollout.rollout_id)
    return rollout if with_turn.rollout is rollout else None


def part_in(
    device_id: str, groups: Iterable[str], releases: Releases, reported_version: int | None, turn: str | None
) -> Part | None:
    """What a roll-out means to the device; None if there is none for it, or something else stands before it."""
    names = tuple(groups)
    rollout = rollout_for(names, releases)
    if rollout is not None and standing(names, releases, reported_version, rollout.rollout_id).rollout is rollout:
        if rollout.version == reported_version:
            return Part(rollout, "runs")
        if rollout.rollout_id == turn:
            return Part(rollout, "turn")
        return Part(rollout, "waits" if place(rollout.rollout_id, device_id) < rollout.share else "later")
    if rollout is not None and rollout.state == "paused":
        return Part(rollout, "runs" if rollout.version == reported_version else "paused")
    kept = standing(names, releases, reported_version, turn).rollout
    if kept is not None:
        return Part(kept, "keeps")
    back = _over(names, releases, reported_version, "rolled_back")
    return None if back is None else Part(back, "goes_back")


def _is_under_way(turn: str | None, releases: Releases) -> bool:
    return any(one.rollout_id == turn and one.state in _UNDER_WAY for one in releases.rollouts)


def _over(names: tuple[str, ...], releases: Releases, version: int | None, state: State) -> Rollout | None:
    """A roll-out of this version, in this state, at a level of a device in these groups."""
    for rollout in releases.rollouts:
        is_theirs = not rollout.groups or not set(rollout.groups).isdisjoint(names)
        if rollout.state == state and rollout.version == version and is_theirs:
            return rollout
    return None


def _at(
    group: str | None, before: int | None, releases: Releases, reported_version: int | None, turn: str | None
) -> Standing | None:
    """What is released to a group, or as the default; ``before``: without roll-outs."""
    for rollout in releases.rollouts:
        stands_here = group in rollout.groups if group is not None else not rollout.groups
        if not stands_here:
            continue
        if rollout.state in _TURNS_COUNT and turn == rollout.rollout_id:
            return Standing(rollout.version, rollout, at_once=True)
        if rollout.state in _KEPT and reported_version == rollout.version:
            return Standing(rollout.version, rollout)
    return None if before is None else Standing(before)
