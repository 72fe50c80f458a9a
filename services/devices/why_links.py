"""The events that ``why`` tells of, as links of a chain: what each says in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.events import devices as d
from shared.events import firmware as f
from shared.events import gateway as g
from shared.events import rollouts as r
from shared.events import transfers as t
from shared.times import iso


@dataclass(frozen=True, slots=True)
class Found:
    """An event with what its envelope and metadata say. ``cause`` is the id of the event that it answers, ``place``
    where that stands."""

    event: Any
    type: str
    at: datetime
    stream: str
    version: int
    position: int
    event_id: str
    actor: str
    command_id: str
    correlation_id: str
    cause: str | None
    place: str | None
    source: str


Names = Mapping[str, str]
"""Actor to what is shown for it; an actor that is not in it is shown as it is."""

_ENDINGS = {
    "disconnected": "it said goodbye",
    "connection_lost": "the connection was lost",
    "keepalive": "it was silent for longer than it had promised",
    "kicked": "the gateway ended the connection",
    "draining": "the gateway was stopped in order",
    "gateway_lost": "the gateway could not end the connection any more",
    "misbehaved": "it broke the protocol",
}


def link(found: Found, names: Names) -> dict[str, Any]:
    """The event as the HTTP API shows it."""
    who = names.get(found.actor, found.actor)
    return {
        "at": iso(found.at),
        "type": found.type,
        "stream": found.stream,
        "version": found.version,
        "position": found.position,
        "event_id": found.event_id,
        "actor": who,
        "command_id": found.command_id,
        "correlation_id": found.correlation_id,
        "cause": found.cause,
        "source": found.source,
        "text": text(found.event, who),
    }


def text(event: Any, who: str) -> str:
    """What happened, in the words of the product, with who did it where somebody did."""
    by = "" if who.startswith(("system:", "device:")) else f" by {who}"
    match event:
        case (
            f.VersionUploaded()
            | f.VersionFirstRan()
            | f.FirmwareReleased()
            | f.FirmwareReleasedToGroups()
            | f.ReleaseWithdrawn()
        ):
            return _of_firmware(event, by)
        case (
            r.RolloutPlanned()
            | r.RolloutStageBegan()
            | r.RolloutApproved()
            | r.RolloutPaused()
            | r.RolloutResumed()
            | r.RolloutCancelled()
            | r.RolloutRolledBack()
            | r.RolloutCompleted()
            | r.RolloutTurnsGiven()
        ):
            return _of_rollouts(event, by)
        case g.DeviceConnected() | g.SessionReplaced() | g.DeviceDisconnected() | g.FirmwareReported():
            return _of_sessions(event)
        case g.GatewayStarted() | g.GatewayStopped() | g.GatewayLost():
            return _of_gateways(event)
        case g.FlashAsked():
            return f"the file {event.file_name} with version {event.version} was flashed to it{by}"
        case g.UpdateStarted() | g.UpdateAdvanced() | g.UpdateInterrupted() | g.UpdateSucceeded() | g.UpdateFailed():
            return _of_updates(event)
        case d.DeviceLocked() | d.DeviceUnlocked() | d.DevelopmentMarked() | d.UpdateRetryAsked():
            return _of_targets(event, by)
        case g.UpdatesDeclared():
            overruled = ", which is overruled" if event.forced and not event.enabled else ""
            return f"its application {'lets it be updated' if event.enabled else 'wants no update now'}{overruled}"
        case g.DeviceErred() | g.DeviceMisbehaved() | g.FunctionCalled():
            return _of_errors(event, by)
        case (
            d.DeviceTokenReplaced()
            | d.DeviceKeySet()
            | d.DeviceCertificateSet()
            | d.DeviceProvisioned()
            | d.DeviceDescribed()
            | d.DeviceGrouped()
            | d.AttributesDesired()
        ):
            return _of_details(event, by)
        case d.DeviceClaimed() | d.DeviceUnclaimed() | g.ClaimPresented() | g.ClaimOpened() | t.TransferAccepted():
            return _of_owners(event, by)
        case _:
            return _of_membership(event, by)


def _of_membership(event: Any, by: str) -> str:
    counts = "counts as this product whatever it reports (DEV-3)"
    match event:
        case d.DeviceImported():
            forced = f"; forced: it {counts}" if event.forced else ""
            return f"imported into product {event.product_id}{by} (DEV-1){forced}"
        case d.ImportStarted():
            return f"an import of {event.lines_total} lines was started{by} (DEV-1)"
        case d.DeviceForced():
            return f"forced{by}: it {counts}"
        case d.DeviceQuarantined() if by:
            return f"put back into quarantine{by} (DEV-4)"
        case d.DeviceQuarantined():
            return f"put into quarantine: it reported product {event.product_id} without being imported (DEV-4)"
        case d.DeviceApproved():
            return f"approved{by}: a full member (DEV-4)"
        case d.DeviceDenied():
            return f"denied{by} (DEV-4)"
        case d.DeviceRemoved():
            return f"removed from product {event.product_id}{by}; its history stays (DEV-8)"
    return type(event).__name__


def _of_errors(event: Any, by: str) -> str:
    match event:
        case g.FunctionCalled():
            return f"its function {event.function} was called{by}: {event.outcome.replace('_', ' ')} (DEV-9)"
        case _:
            times = "" if event.count == 1 else f", {event.count} times since it was told last"
            what = "reported an error" if isinstance(event, g.DeviceErred) else "broke the protocol"
            return f"{what}, {event.kind}{times}{f': {event.text}' if event.text else ''}"


def _of_details(event: Any, by: str) -> str:
    match event:
        case d.DeviceTokenReplaced():
            return f"got a new token{by}"
        case d.DeviceKeySet():
            first = ", the first that it showed" if event.first_use else ""
            return f"its key was set{by} ({event.algorithm}){first}"
        case d.DeviceCertificateSet():
            return f"its client certificate was set{by}"
        case d.DeviceProvisioned():
            return "it provisioned itself"
        case d.DeviceDescribed():
            return f"described{by}: named {event.name!r}"
        case d.DeviceGrouped():
            return f"put into {', '.join(event.groups) or 'no group'}{by} (DEV-6)"
        case _:
            return f"attributes are desired of it{by} (MQU-4)"


def _of_owners(
    event: d.DeviceClaimed | d.DeviceUnclaimed | g.ClaimPresented | g.ClaimOpened | t.TransferAccepted, by: str
) -> str:
    match event:
        case t.TransferAccepted():
            return f"handed over{by} to account {event.claimant_id}, who had asked for it (CUS-5)"
        case d.DeviceClaimed():
            return f"claimed{by}: it belongs to account {event.owner_id} (CUS-5)"
        case d.DeviceUnclaimed():
            return f"unclaimed{by}: it belongs to nobody (CUS-5)"
        case g.ClaimPresented():
            return "showed the claim code of an account (CUS-5)"
        case g.ClaimOpened():
            whom = "whoever states its ID" if event.secret_digest is None else "whoever states its ID and its secret"
            return f"asked to be claimed by {whom}, until {iso(event.until)} (CUS-5)"


def _of_targets(event: d.DeviceLocked | d.DeviceUnlocked | d.DevelopmentMarked | d.UpdateRetryAsked, by: str) -> str:
    match event:
        case d.UpdateRetryAsked():
            return f"what failed is to be tried again{by}: earlier failures count no more (FW-7)"
        case d.DeviceLocked():
            when = "to be flashed at once" if event.flash else "to be flashed at its next connection"
            return f"locked to version {event.version}{by}, {when} (FW-3)"
        case d.DeviceUnlocked():
            return f"unlocked{by}: releases apply to it again (FW-3)"
        case d.DevelopmentMarked(_, _, True):
            return f"marked as a development device{by} (DEV-5)"
        case _:
            return f"taken out of the development devices{by} (DEV-5)"


def _of_firmware(event: Any, by: str) -> str:
    match event:
        case f.VersionUploaded():
            return f"version {event.version} uploaded{by} (FW-1)"
        case f.VersionFirstRan():
            return f"version {event.version} ran for the first time, on device {event.device_id} (FW-5)"
        case f.FirmwareReleased():
            online = ", to devices that are online at once" if event.intelligent else ""
            return f"version {event.version} released{by}{online} (FW-4)"
        case f.FirmwareReleasedToGroups():
            groups = ", ".join(event.groups) or "no group any more"
            return f"version {event.version} released to {groups}{by}"
        case _:
            return f"version {event.version} withdrawn{by}: nothing is released (FW-4)"


def _of_rollouts(event: Any, by: str) -> str:
    rollout = f"roll-out {event.rollout_id}"
    match event:
        case r.RolloutPlanned():
            whom = f"devices in {', '.join(event.groups)}" if event.groups else "all"
            return f"{rollout} of version {event.version} to {whom} was planned{by} (FW-6)"
        case r.RolloutApproved():
            return f"stage {event.stage + 1} of {rollout} was approved{by}"
        case r.RolloutStageBegan():
            return f"stage {event.stage + 1} of {rollout} began (FW-6)"
        case r.RolloutPaused():
            return f"{rollout} was paused{_gate(event, by)}"
        case r.RolloutResumed():
            return f"{rollout} goes on{by}"
        case r.RolloutCancelled():
            return f"{rollout} was cancelled{by}: whoever runs its version keeps it"
        case r.RolloutRolledBack():
            return f"{rollout} was rolled back{_gate(event, by)}"
        case r.RolloutCompleted():
            return f"{rollout} is complete: its version is a release"
        case _:
            return f"it had its turn in {rollout}, in stage {event.stage + 1} (FW-6)"


def _gate(event: r.RolloutPaused | r.RolloutRolledBack, by: str) -> str:
    told = f": {event.reason}" if event.reason else ""
    return f"{by}{told}" if event.gate is None else f" by gate {event.gate}{told}"


def _of_sessions(event: Any) -> str:
    match event:
        case g.DeviceConnected():
            return f"came online on gateway {event.gateway} over {event.protocol} from {event.address} (DEV-7)"
        case g.SessionReplaced():
            return f"connected anew on gateway {event.gateway} from {event.address}, in place of an older connection"
        case g.DeviceDisconnected():
            return f"went offline after {event.duration_s} s: {_ENDINGS[event.reason]} (DEV-7)"
        case _:
            said = "no version" if event.version is None else f"version {event.version}"
            of = "" if event.reported_product is None else f" of product {event.reported_product}"
            return f"reported {said}{of}"


def _of_gateways(event: Any) -> str:
    run = f"gateway {event.gateway} (epoch {event.epoch})"
    match event:
        case g.GatewayStarted():
            return f"{run} was started: connections of its earlier epochs are over"
        case g.GatewayStopped():
            return f"{run} ended in order"
        case _:
            return f"{run} was given up: it was silent for longer than its lease (DEV-7)"


_BECAUSE = {
    "lock": "it is locked to it (FW-3)",
    "release": "it is released (FW-4)",
    "rollout": "it had its turn in the roll-out of it (FW-6)",
    "file": "somebody flashes it a file that carries it",
}


def _of_updates(event: Any) -> str:
    attempt = f"attempt {event.attempt} at version {event.version}"
    match event:
        case g.UpdateStarted():
            return f"{attempt} began, because {_BECAUSE[event.cause]}"
        case g.UpdateAdvanced():
            return f"{attempt}: {event.state}, {event.percent} %"
        case g.UpdateInterrupted():
            return f"{attempt} was cut at {event.percent} %; it is offered again (FW-7)"
        case g.UpdateSucceeded():
            return f"{attempt} succeeded: it came back and reported it (FW-7)"
        case _:
            details = f": {event.text}" if event.text else ""
            return f"{attempt} failed ({event.reason.replace('_', ' ')}){details} (FW-7)"
