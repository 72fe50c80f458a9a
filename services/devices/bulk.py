"""One action on many members of a product at once, each of them with its own outcome (DEV-4 to DEV-6, DEV-8)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from services.devices import changes
from services.devices.device import (
    DEVICE,
    NOT_A_MEMBER,
    ApproveDevice,
    ChangeMember,
    DenyDevice,
    Device,
    ForgiveDevice,
    RegroupDevice,
    RemoveDevice,
    Step,
    stream_of,
)
from services.devices.members import ensure_groups
from shared.bus.providers import WorkerStreams
from shared.errors import NotFound, Refused
from shared.ids import DeviceId, device_id
from shared.streams import Handled

MAX_DEVICES = 1_000
"""That one call acts on."""
MAX_SHOWN = 64
"""Characters of what is no device ID that are shown."""
OUTCOMES = ("done", "unchanged", "refused")


def steps_of(action: str, options: Mapping[str, Any]) -> tuple[Step, ...]:
    """What the action does to each device. Raises ``Refused("invalid_request")`` for one that is unknown or lacks what
    it needs."""
    match action:
        case "approve":
            return (ApproveDevice(_flag(options, "force")),)
        case "deny":
            return (DenyDevice(),)
        case "forgive":
            return (ForgiveDevice(),)
        case "remove":
            return (RemoveDevice(),)
        case "change":
            named = {name: options[name] for name in ("development", "notes") if options.get(name) is not None}
            if not named:
                raise Refused("invalid_request", "change needs development or notes")
            return changes.parse(named).steps
        case "group":
            return (_regrouping(options.get("add") or [], options.get("remove") or []),)
    raise Refused("invalid_request", "action is approve, deny, forgive, change, group or remove")


def act(
    streams: WorkerStreams, product_id: int, texts: Sequence[object], action: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Act on each of the devices; what is refused for one says nothing of the others. Raises ``Refused`` when it can be
    done to none."""
    if not 1 <= len(texts) <= MAX_DEVICES:
        raise Refused("invalid_request", f"1 to {MAX_DEVICES} devices at a time.")
    steps = steps_of(action, options)
    named = {str(text): device_id(text) if isinstance(text, str) else None for text in texts}
    found = list(dict.fromkeys(one for one in named.values() if one is not None))
    _ensure_groups(streams, product_id, found, steps)
    commands = [(stream_of(one), ChangeMember(one, product_id, steps)) for one in found]
    handled = streams.handle_many(DEVICE, commands)
    outcomes = [_outcome(one, outcome) for one, outcome in zip(found, handled, strict=True)]
    outcomes += [_refused(text[:MAX_SHOWN], NotFound(NOT_A_MEMBER)) for text, one in named.items() if one is None]
    counts = Counter(outcome["outcome"] for outcome in outcomes)
    reached = [outcome.position for outcome in handled if isinstance(outcome, Handled) and outcome.position is not None]
    return {
        **{name: counts[name] for name in OUTCOMES},
        "outcomes": outcomes,
        "position": max(reached, default=None),
    }


def _flag(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise Refused("invalid_request", f"{name} must be true or false")
    return value


def _regrouping(add: Sequence[Any], remove: Sequence[Any]) -> RegroupDevice:
    step = RegroupDevice(changes.group_names(add), changes.group_names(remove))
    if not step.add and not step.remove:
        raise Refused("invalid_request", "group needs add or remove")
    if step.add & step.remove:
        raise Refused("invalid_request", f"To be added and removed at once: {min(step.add & step.remove)}.")
    return step


def _ensure_groups(streams: WorkerStreams, product_id: int, found: Sequence[DeviceId], steps: Sequence[Step]) -> None:
    """Before the first member is put into them; where none of the devices is one, no group is made."""
    added = frozenset[str]().union(*(step.add for step in steps if isinstance(step, RegroupDevice)))
    if added and any(streams.load(DEVICE, stream_of(one)).state.product_id == product_id for one in found):
        ensure_groups(streams, product_id, added)


def _outcome(found: DeviceId, outcome: Handled[Device] | Exception) -> dict[str, Any]:
    if isinstance(outcome, Refused | NotFound):
        return _refused(found, outcome)
    if isinstance(outcome, Exception):
        raise outcome
    return {"id": found, "outcome": "done" if outcome.events else "unchanged", "code": None, "reason": None}


def _refused(shown: str, refusal: Refused | NotFound) -> dict[str, Any]:
    code, reason = (refusal.code, refusal.reason) if isinstance(refusal, Refused) else ("not_found", str(refusal))
    return {"id": shown, "outcome": "refused", "code": code, "reason": reason}
