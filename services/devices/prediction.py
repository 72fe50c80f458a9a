"""What a release or a roll-out would mean for one device, and why (FW-6). Pure.

``shared.targets`` and ``shared.rollouts`` say what the device should run if things were so; here that becomes a word:

==================  ================================================================================================
it would update
==================  ================================================================================================
``offered``         now: it is online, and the roll-out is offered to devices that are
``next_connection`` it is online, and gets it when it comes online again
``offline``         it is not online; at its next connection
``updating``        an update to this version is under way
``not_now``         it is online, but says that it takes no updates now
==================  ================================================================================================

==================  ================================================================================================
it would stay
==================  ================================================================================================
``runs``            it runs the version already
``failing``         it is left alone after failures of this version (FW-7)
``other_groups``    it is in none of the groups that are meant
``group_release``   something else is released to one of its groups
``other_rollout``   one of its groups has a roll-out of its own
a rule              ``quarantined``, ``denied``, ``other_product``, ``development``, ``locked`` (see ``shared.targets``)
==================  ================================================================================================
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shared.rollouts import Releases, Rollout, released_to, rollout_for
from shared.targets import Membership, Way, explain, own_version

Would = Literal["update", "stay"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the team decided about a device, the groups it is in, what is known of it on its way, and the roll-out that
    gave it a turn which has not ended."""

    member: Membership
    groups: tuple[str, ...]
    way: Way
    turn: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it would update, why (not), and the version that it should run then."""

    would: Would
    reason: str
    target: int | None


def judge(facts: Facts, releases: Releases, version: int) -> Verdict:
    """What becomes of the device if this is what is released, one ``version`` of it being asked about."""
    way = facts.way
    own = own_version(facts.member.product_id, way.reported_product, way.reported_version)
    released = released_to(facts.groups, releases, own, facts.turn)
    found = explain(facts.member, released, way)
    target = None if found.target is None else found.target.version
    if found.rule != "released" or found.delivery is None:
        return Verdict("stay", found.rule, target)
    if target != version:
        return Verdict("stay", "group_release", target)
    return Verdict("stay" if found.delivery in ("runs", "failing") else "update", found.delivery, target)


def predict(facts: Facts, releases: Releases, rollout: Rollout) -> Verdict:
    """What becomes of the device if this roll-out runs and gives it a turn. ``releases`` are those of the product, with
    or without this roll-out."""
    others = tuple(one for one in releases.rollouts if one.rollout_id != rollout.rollout_id)
    then = replace(releases, rollouts=(replace(rollout, state="running"), *others))
    way = replace(facts.way, applies_now=rollout.intelligent)
    verdict = judge(replace(facts, way=way, turn=rollout.rollout_id), then, rollout.version)
    if verdict.reason in _HOLDS:
        return verdict
    if rollout.groups and not set(rollout.groups).intersection(facts.groups):
        return Verdict("stay", "other_groups", verdict.target)
    has_part_in = rollout_for(facts.groups, then)
    if has_part_in is None:
        return Verdict("stay", "group_release", verdict.target)
    if has_part_in.rollout_id != rollout.rollout_id:
        return Verdict("stay", "other_rollout", verdict.target)
    return verdict


_HOLDS = ("not_imported", "quarantined", "denied", "other_product", "development", "locked")
"""Rules that keep a device from any release."""


def stage_at(place: int, shares: Sequence[int]) -> int | None:
    """The first stage that reaches this place; ``shares`` are those of all stages, ascending. None: none does."""
    stage = bisect_right(shares, place)
    return stage if stage < len(shares) else None


def allowed_at(percent: int | None, devices: int | None, eligible: int) -> int | None:
    """How many devices a stage comes to, of so many that would get it; None: all of them, and whoever joins."""
    if percent == 100:
        return None
    wanted = eligible * percent // 100 if percent is not None else devices or 0
    return min(max(1, wanted), eligible)
