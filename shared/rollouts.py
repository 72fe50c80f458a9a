"""Which of a product's releases and roll-outs is a device's: one pure answer for gateway, views and dry runs (FW-6).

A roll-out stands at the level of what it will become: a release to groups, or the product's default. While it runs, a
device that had its turn should run the new version, and so should whoever reports it already; for all others it is as
if there were none. Paused or cancelled, only who reports the version keeps it. Rolled back, it is as if it had never
been.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

PLACES = 2**52
"""Exact in every JSON reader."""

State = Literal["running", "paused", "cancelled"]
"""Of a roll-out that decides anything; one that waits, is rolled back or completed, does not."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """What decides of a roll-out: devices whose place is before ``share`` may ask for a turn at stage ``stage``;
    ``groups`` is empty for the product's default."""

    rollout_id: str
    version: int
    groups: tuple[str, ...] = ()
    state: State = "running"
    stage: int = 0
    share: int = 0
    intelligent: bool = False


@dataclass(frozen=True, slots=True)
class Releases:
    """What is released in a product: to all, by group, and what is being rolled out."""

    default: int | None = None
    by_group: Mapping[str, int] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()


def place(rollout_id: str, device_id: str) -> int:
    """Where a device stands in the order of a roll-out, from 0 up to ``PLACES``; another order for each roll-out, so
    that it is not always the same devices that are first."""
    digest = hashlib.blake2b(f"{rollout_id}{device_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 12


def released_to(
    groups: Iterable[str], releases: Releases, reported_version: int | None, turn: str | None
) -> int | None:
    """The version that is released for a device in these groups; ``turn``: the roll-out that gave it a turn last, if
    that has not ended."""
    of_groups = [
        version
        for group in groups
        if (version := _at(group, releases.by_group.get(group), releases, reported_version, turn)) is not None
    ]
    return max(of_groups, default=_at(None, releases.default, releases, reported_version, turn))


def rollout_for(groups: Iterable[str], releases: Releases) -> Rollout | None:
    """The roll-out that a device in these groups has a part in: of one of its groups before the product's, the highest
    version of several; none of the product's if something is released to one of its groups."""
    names = set(groups)
    of_groups = [rollout for rollout in releases.rollouts if names.intersection(rollout.groups)]
    if of_groups:
        return max(of_groups, key=lambda rollout: (rollout.version, rollout.rollout_id))
    if names.intersection(releases.by_group):
        return None
    return next((rollout for rollout in releases.rollouts if not rollout.groups), None)


def _at(
    group: str | None, before: int | None, releases: Releases, reported_version: int | None, turn: str | None
) -> int | None:
    """What is released to a group, or as the default; ``before``: without roll-outs."""
    for rollout in releases.rollouts:
        stands_here = group in rollout.groups if group is not None else not rollout.groups
        if stands_here and _applies(rollout, reported_version, turn):
            return rollout.version
    return before


def _applies(rollout: Rollout, reported_version: int | None, turn: str | None) -> bool:
    has_its_turn = rollout.state == "running" and turn == rollout.rollout_id
    return has_its_turn or reported_version == rollout.version
