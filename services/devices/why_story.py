"""Each aspect of a device: its present value, and the events that brought it there. Pure.

Aspects: membership, owner, lock, presence, version, update, target. An aspect's events are those that made its value,
and what they were made by as far as the rules say so: a version by the update that brought it, an update by the lock
or the release that it was for. What an event answers by its metadata is added elsewhere (``why_trail``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.devices.fleet import NEVER, NOTHING, membership, takes_updates
from services.devices.why_links import Found
from services.devices.why_rule import rule_text
from shared.events import devices as d
from shared.events import firmware as f
from shared.events import gateway as g
from shared.events import rollouts as r
from shared.projections.view import Row
from shared.rollouts import Part, Standing
from shared.targets import Explanation, Way, explain
from shared.times import iso

_MEMBERSHIP = (
    d.DeviceImported,
    d.DeviceForced,
    d.DeviceQuarantined,
    d.DeviceApproved,
    d.DeviceDenied,
    d.DeviceRemoved,
    d.DevelopmentMarked,
)
_LOCKS = (d.DeviceLocked, d.DeviceUnlocked)
_CLAIMS = (d.DeviceClaimed, d.DeviceUnclaimed)
_HOLDS = {
    "quarantined": (d.DeviceQuarantined,),
    "denied": (d.DeviceDenied,),
    "development": (d.DevelopmentMarked,),
    "locked": _LOCKS,
}
"""What puts a device under a rule; the last of these events did."""
_UPDATE = ("version", "attempt", "cause", "state", "percent", "failures", "reason")
_STEPS = (
    r.RolloutPlanned,
    r.RolloutApproved,
    r.RolloutStageBegan,
    r.RolloutPaused,
    r.RolloutResumed,
    r.RolloutCancelled,
    r.RolloutRolledBack,
)
"""What was decided of a roll-out, as far as it matters to one device."""
MOST_STEPS = 6
"""The newest that are told."""


@dataclass(frozen=True, slots=True)
class Aspect:
    """``value`` is None where there is none; ``text`` says the same in words; ``chain`` is not yet in order."""

    name: str
    value: Mapping[str, Any] | None
    text: str
    chain: Sequence[Found] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a story is told from, as whoever asks may see it.

    ``row`` is that of the view ``fleet``; ``released`` is what is released for it, ``part`` its part in a roll-out.
    ``decisions`` is the device's stream and ``releases`` that of its product's firmware, the oldest first; ``seen`` the
    events behind ``row["causes"]``; ``ending`` what ended the gateway whose end ended the device's connection. Not
    ``is_theirs``: it is no member any more of the product whose team asks.
    """

    row: Row
    is_theirs: bool
    decisions: Sequence[Found]
    released: Standing = Standing(None)
    part: Part | None = None
    releases: Sequence[Found] = ()
    seen: Mapping[str, Found] = field(default_factory=dict)
    ending: Found | None = None

    @property
    def present(self) -> Sequence[Found]:
        """Decisions since it became a member; all of them for a device that is none."""
        ends = [index for index, found in enumerate(self.decisions) if isinstance(found.event, d.DeviceRemoved)]
        is_member = self.is_theirs and self.row["product_id"] is not None
        return self.decisions[ends[-1] + 1 :] if ends and is_member else self.decisions


def explanation(facts: Facts) -> Explanation:
    """Which rule keeps the device from the released version, or how it gets it."""
    row = facts.row
    way = Way(
        reported_product=row["reported_product"],
        reported_version=row["reported_version"],
        online=row["online"],
        applies_now=_applies_now(facts),
        takes_updates=takes_updates(row) or row["flash_pending"],
        update_version=row["update_version"],
        update_state=row["update_state"],
        failures=row["update_failures"],
    )
    return explain(membership(row), facts.released.version, way, facts.released.rollout is not None)


def _applies_now(facts: Facts) -> bool:
    if facts.row["flash_pending"]:
        return True
    locked = facts.row["locked_version"] is not None
    if facts.released.at_once and not locked:  # it had its turn, or has to go back
        return True
    source = _last(facts.present, _LOCKS) if locked else _release(facts, facts.released.version)
    if source is None:
        return True
    session = facts.row["causes"] and facts.row["causes"].get("session")
    is_older = session is not None and source.position < session
    return is_older or (isinstance(source.event, _RELEASES) and source.event.intelligent)


def aspects(facts: Facts) -> list[Aspect]:
    """All of them, in the order in which they are shown."""
    if not facts.is_theirs:
        return [_membership(facts), *(Aspect(name, None, _GONE) for name in _NAMES[1:])]
    return [
        _membership(facts),
        _owner(facts),
        _lock(facts),
        _presence(facts),
        _version(facts),
        _update(facts),
        _target(facts),
    ]


_RELEASES = (f.FirmwareReleased, f.FirmwareReleasedToGroups)
_NAMES = ("membership", "owner", "lock", "presence", "version", "update", "target")
_GONE = "It is a member of this product no more; what became of it since is not this team's to see (DEV-8)."


def _membership(facts: Facts) -> Aspect:
    row = facts.row
    chain = [found for found in facts.present if isinstance(found.event, _MEMBERSHIP)]
    if not facts.is_theirs:
        return Aspect("membership", {"state": "removed"}, "It is a member of this product no more (DEV-8).", chain)
    if row["product_id"] is None:
        return Aspect("membership", None, "It is a member of no product.", chain)
    state = next((word for word in ("quarantined", "denied") if row[word]), "member")
    words = {
        "quarantined": "in quarantine for",
        "denied": "denied by the team of",
        "member": "a member of",
    }
    marks = [name for name, is_so in (("forced", row["forced"]), ("development", row["development"])) if is_so]
    text = f"It is {words[state]} product {row['product_id']}{''.join(f', {mark}' for mark in marks)}."
    value = {"state": state, **{name: row[name] for name in ("product_id", "forced", "development")}}
    return Aspect("membership", value, text, chain)


def _owner(facts: Facts) -> Aspect:
    chain = [found for found in facts.present if isinstance(found.event, _CLAIMS)]
    owner_id = facts.row["owner_id"]
    if owner_id is None:
        return Aspect("owner", None, "It belongs to nobody: no account has claimed it (CUS-5).", chain)
    return Aspect("owner", {"account_id": owner_id}, f"It belongs to account {owner_id} (CUS-5).", chain)


def _lock(facts: Facts) -> Aspect:
    chain = [found for found in facts.present if isinstance(found.event, _LOCKS)]
    version, pending = facts.row["locked_version"], facts.row["flash_pending"]
    if version is None:
        return Aspect("lock", None, "It is not locked.", chain)
    text = f"It is locked to version {version}{', which is to be flashed now' if pending else ''}."
    return Aspect("lock", {"version": version, "flash_pending": pending}, text, chain)


def _presence(facts: Facts) -> Aspect:
    row = facts.row
    if row["connected_at"] == NEVER or row["last_heard_at"] is None:
        return Aspect("presence", None, "It was never online.")
    value = {name: row[name] for name in ("online", "gateway", "protocol")}
    value |= {"address": row["last_address"], "connected_at": iso(row["connected_at"])}
    chain = _known(facts.seen.get("session"), facts.ending, facts.seen.get("presence"))
    return Aspect("presence", value, f"It is {'online' if row['online'] else 'offline'}.", chain)


def _version(facts: Facts) -> Aspect:
    row, seen = facts.row, facts.seen
    if row["reported_version"] is None and row["reported_product"] is None:
        return Aspect("version", None, "It has not reported what it runs.")
    version = None if row["shown_version"] == NOTHING else row["shown_version"]
    product = "" if row["reported_product"] is None else f" of product {row['reported_product']}"
    said = f"version {version}" if version is not None else "no product's firmware"
    brought = seen.get("version_update")
    done = seen.get("update") if brought is not None and brought == seen.get("update_started") else None
    is_success = done is not None and isinstance(done.event, g.UpdateSucceeded)
    chain = _known(_asked(facts, brought), brought, seen.get("version"), done if is_success else None)
    value = {"version": version, "product_id": row["reported_product"], "text": row["reported_text"]}
    return Aspect("version", value, f"It runs {said}{product}.", chain)


def _update(facts: Facts) -> Aspect:
    row, started = facts.row, facts.seen.get("update_started")
    if row["update_version"] is None:
        return Aspect("update", None, "No update was ever begun.")
    value = {name: row[f"update_{name}"] for name in _UPDATE}
    reason = f" ({row['update_reason'].replace('_', ' ')})" if row["update_reason"] else ""
    percent = f", {row['update_percent']} %" if row["update_percent"] is not None else ""
    text = f"Attempt {value['attempt']} at version {value['version']}: {value['state']}{reason}{percent}."
    return Aspect("update", value, text, _known(_asked(facts, started), started, facts.seen.get("update")))


def _target(facts: Facts) -> Aspect:
    told = explanation(facts)
    value = None if told.target is None else {"version": told.target.version, "cause": told.target.cause}
    chain = [*_behind_rule(facts, told), *_behind_part(facts, told)]
    if told.delivery in ("failing", "updating"):
        chain = [*chain, *_known(facts.seen.get("update"))]
    return Aspect("target", value, rule_text(told, facts.row["reported_product"], facts.part), chain)


def _behind_part(facts: Facts, told: Explanation) -> list[Found]:
    """What was decided of the roll-out that the device has a part in, and its turn; nothing where another rule
    stands before releases."""
    part = facts.part
    if part is None or told.rule not in ("released", "nothing_released"):
        return []
    rollout_id = part.rollout.rollout_id
    steps = [one for one in facts.releases if isinstance(one.event, _STEPS) and one.event.rollout_id == rollout_id]
    turn = facts.seen.get("turn")
    is_its = turn is not None and turn.event.rollout_id == rollout_id
    return [*steps[-MOST_STEPS:], *_known(turn if is_its else None)]


def _behind_rule(facts: Facts, told: Explanation) -> list[Found]:
    match told.rule:
        case "other_product":
            return _known(facts.seen.get("version"))
        case "released":
            steps = (f.VersionUploaded, f.VersionFirstRan)
            about = [found for found in facts.releases if isinstance(found.event, steps)]
            proofs = [found for found in about if found.event.version == told.released_version]
            release = _release(facts, told.released_version)
            return [*proofs, *_known(release, _roll_back(facts, release))]
        case "nothing_released":
            return _known(_last(facts.releases, (f.ReleaseWithdrawn,)))
        case rule:
            return _known(_last(facts.present, _HOLDS.get(rule, ())))


def _asked(facts: Facts, started: Found | None) -> Found | None:
    """The lock or the release that an attempt was for, the roll back that gave the release back, or the file that
    somebody wanted on the device."""
    if started is None:
        return None
    if started.event.cause == "file":
        asked = facts.seen.get("flash")
        is_behind = asked is None or asked.position > started.position
        return None if is_behind else asked
    attempt, is_lock = started.event, started.event.cause == "lock"
    if attempt.cause == "rollout":
        return _turn_before(facts, started)
    told, kinds = (facts.decisions, (d.DeviceLocked,)) if is_lock else (facts.releases, _RELEASES)
    before = [found for found in told if found.position < started.position and isinstance(found.event, kinds)]
    asked = next((found for found in reversed(before) if found.event.version == attempt.version), None)
    return asked if is_lock else _roll_back(facts, asked, started.position) or asked


def _roll_back(facts: Facts, release: Found | None, before: int | None = None) -> Found | None:
    """That of the roll-out in which the device had its last turn, if it is newer than a release: what was released is
    the device's again because of it. ``before``: the position of what it is to have led to."""
    turn = facts.seen.get("turn")
    if turn is None:
        return None
    since = turn.position if release is None else max(turn.position, release.position)
    told = [
        found
        for found in facts.releases
        if isinstance(found.event, r.RolloutRolledBack)
        and found.event.rollout_id == turn.event.rollout_id
        and found.position > since
        and (before is None or found.position < before)
    ]
    return told[-1] if told else None


def _turn_before(facts: Facts, started: Found) -> Found | None:
    """The turn that brought an attempt about, as far as it is known: only the last one is."""
    turn = facts.seen.get("turn")
    is_before = turn is not None and turn.position < started.position and turn.event.version == started.event.version
    return turn if is_before else None


def _release(facts: Facts, version: int | None) -> Found | None:
    """The last release of this version, to all or to groups."""
    told = [found for found in facts.releases if isinstance(found.event, _RELEASES)]
    return next((found for found in reversed(told) if found.event.version == version), None)


def _last(told: Sequence[Found], kinds: tuple[type, ...]) -> Found | None:
    return next((found for found in reversed(told) if isinstance(found.event, kinds)), None)


def _known(*found: Found | None) -> list[Found]:
    return [one for one in found if one is not None]


def in_order(chain: Iterable[Found]) -> list[Found]:
    """Each event once, the oldest first."""
    unique = {found.position: found for found in chain}
    return [unique[position] for position in sorted(unique)]
