"""View ``fleet``: every device that was ever imported or seen, with what the team decided, what it reported, where it
is online, and the fate of its last update. Pure.

Presence (DEV-7): a session is named by (gateway, epoch, session) and ordered by ``connected_at``. An online fact of an
older session never overrides a newer one, and an offline fact counts only for the session that the row is in.

``causes`` holds the positions of the gateways' events that made the row what it is, for ``why``: ``presence`` and
``session`` (the connection that it is about), ``version`` (the report) and ``version_update`` (the start of the attempt
that brought it), ``update`` (the last fact of the last attempt) and ``update_started``, ``flash`` (the file that
somebody wanted on it last), ``turn`` (that it got in a roll-out). One column, so that an import
pays for as few as can be; None until a gateway saw the device. What lists neither show nor filter by is in the views
``details`` and ``attributes``.

``name_key`` is the name as lists are searched and sorted by it, ``update_phase`` is ``updating`` from the start of an
attempt until it ended or was cut, ``failing`` when a version failed too often to be offered again (FW-7), else None.
Most indexes leave out the rows that say nothing in their column: a device that was just imported is in four of them.
Longer than most modules: one row, one fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from shared.events import devices as d
from shared.events import gateway as g
from shared.events import rollouts as r
from shared.ids import NO_VERSION
from shared.projections.view import Counter, Index, Key, Row, Set, View
from shared.store.port import Recorded
from shared.targets import MOST_FAILURES, Membership, Target, counted_product, runs_target

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""``connected_at`` of a device that never was; not None, so that the column can be sorted and paged by."""
NOTHING = -1
"""``shown_version`` of a device that reported none."""

_OUTSIDE: Row = {
    "product_id": None,
    "forced": False,
    "quarantined": False,
    "denied": False,
    "development": False,
    "name": "",
    "name_key": "",
    "notes": "",
    "groups": [],
    "locked_version": None,
    "flash_pending": False,
    "owner_id": None,
    "turn": None,
}
_NOT_HEARD: Row = {"last_heard_at": None, "last_address": None}
_NO_UPDATE: Row = {
    "update_version": None,
    "update_attempt": None,
    "update_state": None,
    "update_percent": None,
    "update_failures": 0,
    "update_reason": None,
    "update_cause": None,
    "update_phase": None,
}
_UNSEEN: Row = {
    "reported_product": None,
    "reported_version": None,
    "shown_version": NOTHING,
    "reported_text": "",
    "online": False,
    "gateway": None,
    "epoch": None,
    "session": None,
    "connected_at": NEVER,
    "protocol": None,
    "updates_said": None,
    "causes": None,
    **_NOT_HEARD,
    **_NO_UPDATE,
}
_NEW: Row = {"device_id": "", **_OUTSIDE, **_UNSEEN}
_SAID = {(True, False): None, (False, False): "disabled", (False, True): "disabled_forced", (True, True): "forced"}
"""What a device declared of updates, as ``updates_said``; None also when it declared nothing."""
_ENDED = ("failed", "succeeded", "interrupted")
"""States of an attempt that nobody waits for any more."""

_DECISIONS = (
    d.DeviceImported,
    d.DeviceForced,
    d.DeviceQuarantined,
    d.DeviceApproved,
    d.DeviceDenied,
    d.DeviceRemoved,
    d.DeviceDescribed,
    d.DevelopmentMarked,
    d.DeviceGrouped,
    d.DeviceLocked,
    d.DeviceUnlocked,
    d.UpdateRetryAsked,
    d.DeviceClaimed,
    d.DeviceUnclaimed,
)
_SESSIONS = (g.DeviceConnected, g.SessionReplaced, g.DeviceDisconnected)
_UPDATES = (g.UpdateStarted, g.UpdateAdvanced, g.UpdateInterrupted, g.UpdateSucceeded, g.UpdateFailed)
_TURNS = (r.RolloutTurnsGiven, r.RolloutTurnsEnded)


def _keys(event: Any) -> Iterable[Key]:
    match event:
        case r.RolloutTurnsGiven():
            return [(device_id,) for device_id in dict.fromkeys((*event.devices, *event.again))]
        case r.RolloutTurnsEnded():
            ended = (*event.succeeded, *event.failed, *event.dark, *event.left)
            return [(device_id,) for device_id in dict.fromkeys(ended)]
        case _:
            return ((event.device_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The device after the event; the turns of roll-outs mean nothing to one that nobody has heard of."""
    if row is None and isinstance(event, _TURNS):
        return None
    before: Row = row or {**_NEW, "device_id": event.device_id}
    changes = _CHANGES[type(event)](before, event, recorded)
    if "update_failures" in changes or "update_state" in changes:
        changes = {**changes, "update_phase": _phase({**before, **changes})}
    if row is not None and changes.items() <= row.items():
        return row
    return {**before, **changes}


def _phase(row: Row) -> str | None:
    if row["update_failures"] >= MOST_FAILURES:
        return "failing"
    return None if row["update_state"] in (None, *_ENDED) else "updating"


def _decided(row: Row, event: Any, _: Recorded) -> Row:
    match event:
        case d.DeviceImported(_, product_id, forced):
            return {**_OUTSIDE, "product_id": product_id, "forced": forced}
        case d.DeviceForced():
            return {"forced": True}
        case d.DeviceQuarantined(_, product_id):
            return {"product_id": product_id, "quarantined": True, "denied": False}
        case d.DeviceApproved(_, _, forced):
            return {"quarantined": False, "denied": False, "forced": forced}
        case d.DeviceDenied():
            return {"quarantined": False, "denied": True}
        case d.DeviceRemoved():
            return _left(row)
        case d.DeviceDescribed(_, _, name, notes):
            return {"name": name, "name_key": name.casefold(), "notes": notes}
        case d.DevelopmentMarked(_, _, development):
            return {"development": development}
        case d.DeviceGrouped(_, _, groups):
            return {"groups": groups}
        case d.DeviceLocked(_, _, version, flash):
            pending = flash and not _runs(row, version, row["reported_product"], row["reported_version"])
            lock: Row = {"locked_version": version, "flash_pending": pending}
            # locking it anew is the team's word to try this version again (FW-7), as the gateways' directory has it
            return {**lock, "update_failures": 0} if version == row["update_version"] else lock
        case d.UpdateRetryAsked():
            return {"update_failures": 0}
        case d.DeviceClaimed(_, _, owner_id):
            return {"owner_id": owner_id}
        case d.DeviceUnclaimed():
            return {"owner_id": None}
        case _:
            return {"locked_version": None, "flash_pending": False}


def _left(row: Row) -> Row:
    """The next product's team learns nothing of its time with this one (DEV-8); what it is now, it stays."""
    ended = ("update", "update_started", "turn")
    kept = {name: at for name, at in (row["causes"] or {}).items() if name not in ended}
    return {**_OUTSIDE, **_NO_UPDATE, **({} if row["online"] else _NOT_HEARD), "causes": kept or None}


def _present(row: Row, event: Any, recorded: Recorded) -> Row:
    if isinstance(event, g.DeviceDisconnected):
        is_current = row["online"] and _session(row) == (event.gateway, event.epoch, event.session)
        if not is_current:
            return {}
        ended: Row = {"online": False, "causes": _caused(row, recorded, "presence")}
        return ended if event.reason == "gateway_lost" else {**ended, **_heard(row, recorded)}
    offered = (event.connected_at, event.gateway, event.epoch, event.session)
    if row["gateway"] is not None and offered <= (row["connected_at"], *_session(row)):
        return {}
    return {
        "online": True,
        "gateway": event.gateway,
        "epoch": event.epoch,
        "session": event.session,
        "connected_at": event.connected_at,
        "last_address": event.address,
        "protocol": event.protocol,
        **_heard(row, recorded),
        "causes": _caused(row, recorded, "presence", "session"),
    }


def _session(row: Row) -> tuple[Any, Any, Any]:
    return row["gateway"], row["epoch"], row["session"]


def _heard(row: Row, recorded: Recorded) -> Row:
    heard_at = row["last_heard_at"]
    return {"last_heard_at": recorded.at if heard_at is None else max(heard_at, recorded.at)}


def _caused(row: Row, recorded: Recorded, *names: str) -> dict[str, int]:
    """``causes`` with this event as what these are made by; a dict of its own, which the caller may change."""
    causes: dict[str, int] = dict(row["causes"] or ())
    for name in names:
        causes[name] = recorded.position
    return causes


def _reported(row: Row, event: g.FirmwareReported, recorded: Recorded) -> Row:
    locked, product, version = row["locked_version"], event.reported_product, event.version
    says_nothing = version is None or (product == NO_VERSION and version == NO_VERSION)
    return {
        **_heard(row, recorded),
        "reported_product": product,
        "reported_version": version,
        "shown_version": NOTHING if says_nothing else version,
        "reported_text": event.text,
        "flash_pending": row["flash_pending"] and not _runs(row, locked, product, version),
        "causes": _report_caused(row, event, recorded),
    }


def _report_caused(row: Row, event: g.FirmwareReported, recorded: Recorded) -> dict[str, int]:
    causes: dict[str, int] | None = row["causes"]
    is_told_again = (event.version, event.reported_product) == (row["reported_version"], row["reported_product"])
    if causes and "version" in causes and is_told_again:  # recorded anew because it counts as another product
        return causes
    causes = _caused(row, recorded, "version")
    causes.pop("version_update", None)
    return causes


def _runs(row: Row, version: int, reported_product: int | None, reported_version: int | None) -> bool:
    return runs_target(membership(row), Target(version, "lock"), reported_product, reported_version)


def _updated(row: Row, event: Any, recorded: Recorded) -> Row:
    attempt: Row = {
        **_heard(row, recorded),
        "update_version": event.version,
        "update_attempt": event.attempt,
        "update_cause": _cause(row, event),
        "causes": _update_caused(row, event, recorded),
    }
    if row["update_version"] != event.version:  # FW-7 counts the failures of one version
        attempt = {**attempt, "update_failures": 0}
    match event:
        case g.UpdateStarted():
            return {**attempt, "update_state": "started", "update_percent": 0, "update_reason": None}
        case g.UpdateAdvanced():
            return {**attempt, "update_state": event.state, "update_percent": event.percent}
        case g.UpdateInterrupted():
            return {**attempt, "update_state": "interrupted", "update_percent": event.percent}
        case g.UpdateFailed():
            failed: Row = {"update_state": "failed", "update_reason": event.reason, "update_failures": event.failures}
            return {**attempt, **failed}
        case _:
            done: Row = {"update_state": "succeeded", "update_percent": 100}
            return {**attempt, **done, "update_reason": None, "update_failures": 0}


def _cause(row: Row, event: Any) -> str | None:
    """That of the attempt: most of its events do not say it, and old ones never did."""
    cause: str | None = getattr(event, "cause", None)
    is_known = (row["update_version"], row["update_attempt"]) == (event.version, event.attempt)
    return cause if cause is not None else row["update_cause"] if is_known else None


def _update_caused(row: Row, event: Any, recorded: Recorded) -> dict[str, int]:
    if isinstance(event, g.UpdateStarted):
        return _caused(row, recorded, "update", "update_started")
    causes = _caused(row, recorded, "update")
    if event.attempt != row["update_attempt"] or event.version != row["update_version"]:
        causes.pop("update_started", None)
    brought = isinstance(event, g.UpdateSucceeded) and event.version == row["reported_version"]
    if brought and "update_started" in causes:
        causes["version_update"] = causes["update_started"]
    return causes


def _flashed(row: Row, event: g.FlashAsked, recorded: Recorded) -> Row:
    return {"causes": _caused(row, recorded, "flash")}


def _declared(row: Row, event: g.UpdatesDeclared, recorded: Recorded) -> Row:
    return {**_heard(row, recorded), "updates_said": _SAID[event.enabled, event.forced]}


def _turned(row: Row, event: Any, recorded: Recorded) -> Row:
    if row["product_id"] != event.product_id:
        return {}
    if isinstance(event, r.RolloutTurnsGiven):
        return {"turn": event.rollout_id, "causes": _caused(row, recorded, "turn")}
    return {"turn": None} if row["turn"] == event.rollout_id else {}


_CHANGES: Mapping[type, Callable[[Row, Any, Recorded], Row]] = {
    **dict.fromkeys(_DECISIONS, _decided),
    **dict.fromkeys(_SESSIONS, _present),
    g.FirmwareReported: _reported,
    g.FlashAsked: _flashed,
    g.UpdatesDeclared: _declared,
    **dict.fromkeys(_UPDATES, _updated),
    **dict.fromkeys(_TURNS, _turned),
}


def membership(row: Row) -> Membership:
    """What the team decided, for ``shared.targets``."""
    return Membership(
        product_id=row["product_id"],
        forced=row["forced"],
        quarantined=row["quarantined"],
        denied=row["denied"],
        development=row["development"],
        locked_version=row["locked_version"],
        flash_pending=row["flash_pending"],
    )


def takes_updates(row: Row) -> bool:
    """Whether the device has not said *not now*."""
    said: str | None = row["updates_said"]
    return said != "disabled"


def devices_scope(product_id: int) -> str:
    """The scope of a product's ``total``, ``online``, ``quarantined`` and ``development``."""
    return f"product-{product_id}"


def versions_scope(product_id: int) -> str:
    """The scope of a product's versions: the devices that count as it and reported (it, this version)."""
    return f"product-{product_id}/version"


def groups_scope(product_id: int) -> str:
    """The scope of a product's groups: the devices in each."""
    return f"product-{product_id}/group"


def states_scope(product_id: int) -> str:
    """The scope of what else lists are filtered by: ``denied``, ``locked``, ``failing``, ``updating``, and of all that
    show it, ``version 7``."""
    return f"product-{product_id}/state"


SESSIONS_SCOPE = "sessions"
"""The scope of open sessions, by ``<epoch> <gateway>``."""


def tally(row: Row) -> Iterable[Counter]:
    """What a device adds to the counters."""
    if row["online"]:
        yield SESSIONS_SCOPE, f"{row['epoch']} {row['gateway']}"
    product_id = row["product_id"]
    if product_id is None:
        return
    scope = devices_scope(product_id)
    yield scope, "total"
    for flag in ("online", "quarantined", "development"):
        if row[flag]:
            yield scope, flag
    for group in row["groups"]:
        yield groups_scope(product_id), group
    for state in _states(row):
        yield states_scope(product_id), state
    is_its_own = row["reported_product"] in (None, product_id)
    if row["shown_version"] == NOTHING or not is_its_own:
        return
    if counted_product(membership(row), row["reported_product"]) is not None:
        yield versions_scope(product_id), str(row["shown_version"])


def _states(row: Row) -> Iterable[str]:
    if row["denied"]:
        yield "denied"
    if row["locked_version"] is not None:
        yield "locked"
    if row["update_phase"] is not None:
        yield row["update_phase"]
    if row["shown_version"] != NOTHING:
        yield f"version {row['shown_version']}"


def sets(row: Row) -> Sequence[Set]:
    """A device is a member of its groups."""
    product_id = row["product_id"]
    if not row["groups"] or product_id is None:
        return ()
    scope = groups_scope(product_id)
    return [(scope, group) for group in row["groups"]]


COVERED = ("online", "shown_version")
"""What the indexes of the last connection and of what was heard last also hold: lists of them are searched for these
without a look at each device."""

FLEET = View(
    name="fleet",
    version=9,
    key=("device_id",),
    columns={
        "device_id": str,
        "product_id": int,
        "forced": bool,
        "quarantined": bool,
        "denied": bool,
        "development": bool,
        "name": str,
        "name_key": str,
        "notes": str,
        "groups": list,
        "locked_version": int,
        "flash_pending": bool,
        "owner_id": str,
        "reported_product": int,
        "reported_version": int,
        "shown_version": int,
        "reported_text": str,
        "online": bool,
        "gateway": str,
        "epoch": int,
        "session": int,
        "connected_at": datetime,
        "last_heard_at": datetime,
        "last_address": str,
        "protocol": str,
        "update_version": int,
        "update_attempt": int,
        "update_state": str,
        "update_percent": int,
        "update_failures": int,
        "update_reason": str,
        "update_cause": str,
        "updates_said": str,
        "turn": str,
        "update_phase": str,
        "causes": dict,
    },
    events=(*_DECISIONS, *_SESSIONS, g.FirmwareReported, g.FlashAsked, g.UpdatesDeclared, *_UPDATES, *_TURNS),
    keys=_keys,
    fold=fold,
    counted=(
        "online",
        "epoch",
        "gateway",
        "product_id",
        "groups",
        "forced",
        "quarantined",
        "denied",
        "development",
        "locked_version",
        "flash_pending",
        "reported_product",
        "shown_version",
        "update_phase",
    ),
    tally=tally,
    sets=sets,
    indexes=(
        ("product_id", "device_id"),
        ("product_id", "connected_at", "device_id", *COVERED),
        ("product_id", "shown_version", "device_id"),
        ("gateway", "epoch", "online", "device_id"),
        ("owner_id", "device_id"),
        Index(("product_id", "name_key", "device_id"), only="name_key"),
        Index(("product_id", "last_heard_at", "device_id", *COVERED), only="last_heard_at"),
        Index(("product_id", "device_id", "online"), only="online"),
        Index(("product_id", "locked_version", "device_id"), only="locked_version"),
        Index(("product_id", "update_phase", "device_id"), only="update_phase"),
        Index(("product_id", "device_id", "development"), only="development"),
        Index(("product_id", "device_id", "quarantined"), only="quarantined"),
        Index(("product_id", "device_id", "denied"), only="denied"),
    ),
)
