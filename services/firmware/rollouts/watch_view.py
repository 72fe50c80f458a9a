"""View ``rollout_watch``: what a device that asked for a turn in a roll-out does at this moment. Pure.

=============  =====================================================================================================
``state``      means
=============  =====================================================================================================
``asked``      it has not had a turn
``given``      it has its turn, and nothing is heard of an update yet
``updating``   the update is on its way to it
``applying``   it has all of it, and is away to start anew
``lost``       its gateway gave it up while it was away
``leaving``    it went before it applied anything, or was taken out; soon that ends its turn
an outcome     of its last turn: ``succeeded``, ``failed``, ``dark``, ``left``
``out``        it succeeded, and left the product since
=============  =====================================================================================================

Devices that never asked have no row, so what is heard of them changes nothing; a row that nobody needs any more goes
when its device is heard of again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from services.firmware.rollouts.rollout_views import OUTCOMES
from shared.events import devices as d
from shared.events import gateway as g
from shared.events.rollouts import RolloutTurnsEnded, RolloutTurnsGiven
from shared.projections.view import Key, Row, View
from shared.rollouts import place
from shared.store.port import Recorded

IN_TURN = ("given", "updating", "applying", "lost", "leaving")
NOT_APPLYING = ("given", "updating", "leaving")
HAD_IT = ("succeeded", "out")
KEPT = timedelta(days=31)
"""So long after its last turn a device is watched: longer than any stage."""
KEPT_WITHOUT_TURN = timedelta(days=1)


def _keys(event: Any) -> Iterable[Key]:
    if isinstance(event, RolloutTurnsGiven):
        return [(device_id,) for device_id in (*event.devices, *event.again)]
    if isinstance(event, RolloutTurnsEnded):
        return [(device_id,) for outcome in OUTCOMES for device_id in getattr(event, outcome)]
    return ((event.device_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The device after the event."""
    if isinstance(event, g.RolloutTurnAsked):
        return _marked(_asked(row, event, recorded))
    if row is None:
        return None
    changed = _changed(row, event, recorded)
    if changed is None:
        return None
    after = _marked({**row, **changed})
    return row if after == row else after


def _marked(row: Row) -> Row:
    """With the columns that rows are looked for by."""
    state, fate, rollout_id = row["state"], row["fate"], row["rollout_id"]
    return {
        **row,
        "waiting": rollout_id if row["asks"] and row["online"] and state not in IN_TURN else None,
        "turning": rollout_id if state in IN_TURN and fate is None else None,
        "fated": rollout_id if fate is not None else None,
        "away": rollout_id if state == "succeeded" and not row["online"] else None,
    }


def _asked(row: Row | None, event: g.RolloutTurnAsked, recorded: Recorded) -> Row:
    if row is None or row["rollout_id"] != event.rollout_id:
        row = {
            "device_id": event.device_id,
            "rollout_id": event.rollout_id,
            "product_id": event.product_id,
            "place": place(event.rollout_id, event.device_id),
            "version": None,
            "reported": None,
            "state": "asked",
            "fate": None,
            "turns": 0,
            "ended": None,
        }
    gateway, epoch = _gateway_of(recorded.stream)
    connection = {"online": True, "gateway": gateway, "epoch": epoch, "session": None}
    return {**row, **connection, "asks": True, "since": row.get("since", recorded.at)}


def _gateway_of(stream: str) -> tuple[str | None, int | None]:
    """The gateway and its epoch that recorded facts in ``connection-<gateway>.<epoch>-<hour>``."""
    gateway, _, rest = stream.removeprefix("connection-").rpartition(".")
    epoch = rest.partition("-")[0]
    return (gateway, int(epoch)) if gateway and epoch.isdecimal() else (None, None)


def _changed(row: Row, event: Any, recorded: Recorded) -> Row | None:
    """What is other afterwards; None: nobody needs the row any more."""
    match event:
        case g.DeviceConnected() | g.SessionReplaced():
            return _connected(row, event, recorded)
        case g.DeviceDisconnected():
            return _disconnected(row, event, recorded)
        case RolloutTurnsGiven():
            return _given(row, event, recorded) if event.rollout_id == row["rollout_id"] else {}
        case RolloutTurnsEnded():
            return _ended(row, event, recorded) if event.rollout_id == row["rollout_id"] else {}
        case g.FirmwareReported():
            return _reported(row, event, recorded)
        case g.UpdateStarted() | g.UpdateAdvanced() | g.UpdateInterrupted() | g.UpdateSucceeded() | g.UpdateFailed():
            return _updated(row, event, recorded) if event.version == row["version"] else {}
        case _:
            return _taken_out(row, event, recorded)


def _connected(row: Row, event: Any, recorded: Recorded) -> Row | None:
    """It asks anew at each connection."""
    kept = KEPT if row["turns"] else KEPT_WITHOUT_TURN
    if row["state"] not in IN_TURN and row["fate"] is None and recorded.at - row["since"] > kept:
        return None
    changed: Row = {
        "online": True,
        "gateway": event.gateway,
        "epoch": event.epoch,
        "session": event.session,
        "asks": False,
    }
    if row["state"] == "lost" and row["fate"] is None:
        return {**changed, "fate": "failed"}
    back = {"leaving": "given", "applying": "applying", "succeeded": "succeeded"}.get(row["state"])
    return changed if back is None else {**changed, "state": back, "since": recorded.at}


def _disconnected(row: Row, event: g.DeviceDisconnected, recorded: Recorded) -> Row | None:
    if not row["online"] or (event.gateway, event.epoch) != (row["gateway"], row["epoch"]):
        return {}
    if row["session"] not in (None, event.session):
        return {}
    gone: Row = {"online": False, "asks": False}
    if row["state"] in NOT_APPLYING:
        return {**gone, "state": "leaving", "since": recorded.at}
    return {**gone, "since": recorded.at} if row["state"] in ("applying", "succeeded") else gone


def _given(row: Row, event: RolloutTurnsGiven, recorded: Recorded) -> Row:
    runs = row["reported"] == event.version
    return {
        "version": event.version,
        "state": "given" if row["online"] else "leaving",
        "fate": "succeeded" if runs else None,
        "turns": row["turns"] + 1,
        "asks": False,
        "since": recorded.at,
    }


def _ended(row: Row, event: RolloutTurnsEnded, recorded: Recorded) -> Row:
    outcome = next(outcome for outcome in OUTCOMES if row["device_id"] in getattr(event, outcome))
    return {"state": outcome, "fate": None, "since": recorded.at, "ended": recorded.position}


def _reported(row: Row, event: g.FirmwareReported, recorded: Recorded) -> Row:
    """Whoever reports the version has it, also when its turn was given up before."""
    its_own = event.product_id == row["product_id"] and event.reported_product in (None, row["product_id"])
    if its_own and event.version is not None and event.version == row["version"] and row["state"] not in HAD_IT:
        return {"reported": event.version, "fate": "succeeded", "asks": False}
    if not its_own and row["state"] in NOT_APPLYING:
        return {"reported": None, "state": "leaving", "asks": False, "since": recorded.at}
    return {"reported": event.version if its_own else None}


def _updated(row: Row, event: Any, recorded: Recorded) -> Row:
    """How the update to the version of the roll-out goes on."""
    if row["state"] not in IN_TURN or row["fate"] is not None:
        return {}
    match event:
        case g.UpdateSucceeded():
            return {"fate": "succeeded"}
        case g.UpdateFailed(reason="cancelled"):
            return {"state": "leaving", "since": recorded.at}
        case g.UpdateFailed(reason="did_not_come_back") if not row["online"]:
            return {"state": "lost"}  # dark once it has been away for long enough
        case g.UpdateFailed():
            return {"fate": "failed"}
        case g.UpdateInterrupted():
            return {"state": "given" if row["online"] else "leaving", "since": recorded.at}
        case g.UpdateAdvanced(state="applying"):
            return {"state": "applying", "since": recorded.at}
        case _:
            return {"state": "updating", "since": recorded.at}


def _taken_out(row: Row, event: Any, recorded: Recorded) -> Row:
    """Decisions by which no roll-out is the device's. What it applies already, it applies; but nobody hears of one that
    is no member."""
    if isinstance(event, d.DevelopmentMarked) and not event.development:
        return {}
    stays = isinstance(event, d.DevelopmentMarked | d.DeviceLocked)
    if row["state"] == "succeeded" and not stays:
        return {"state": "out", "asks": False}
    if row["state"] in (NOT_APPLYING if stays else IN_TURN):
        return {"state": "leaving", "asks": False, "since": recorded.at}
    return {"asks": False}


WATCH_VIEW = View(
    name="rollout_watch",
    version=1,
    key=("device_id",),
    columns={
        "device_id": str,
        "rollout_id": str,
        "product_id": int,
        "place": int,
        "version": int,
        "reported": int,
        "state": str,
        "fate": str,
        "turns": int,
        "ended": int,
        "online": bool,
        "gateway": str,
        "epoch": int,
        "session": int,
        "asks": bool,
        "since": datetime,
        "waiting": str,
        "turning": str,
        "fated": str,
        "away": str,
    },
    events=(
        g.RolloutTurnAsked,
        g.DeviceConnected,
        g.SessionReplaced,
        g.DeviceDisconnected,
        g.FirmwareReported,
        g.UpdateStarted,
        g.UpdateAdvanced,
        g.UpdateInterrupted,
        g.UpdateSucceeded,
        g.UpdateFailed,
        d.DeviceRemoved,
        d.DeviceQuarantined,
        d.DeviceDenied,
        d.DeviceLocked,
        d.DevelopmentMarked,
        RolloutTurnsGiven,
        RolloutTurnsEnded,
    ),
    keys=_keys,
    fold=fold,
    indexes=(("waiting", "place"), ("turning", "state", "since"), ("fated",), ("away", "since")),
)
"""``fate``: how its turn ended, until that is recorded. ``ended``: where that was. ``since``: when it last changed in a
way that a time-out counts from. ``waiting``, ``turning``, ``fated``, ``away``: the roll-out, of devices that are so."""
