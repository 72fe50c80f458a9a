"""Two roll-outs under the faults, with devices of their own: one to all devices of a product, which has to end as if
nothing had been, and one to a group whose devices never come to run the version, which its gate has to stop; then it is
cancelled.

What is held against the streams: never more turns at once, nor in a stage, than were allowed; nobody has two turns at a
time; the gate closes; who completes is released once; a roll-out that was cancelled touches nobody.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from deploy.api import Api, ApiError
from deploy.simulation.chance import Chance
from deploy.simulation.conditions import Conditions, UpdateFate
from deploy.simulation.device import Endpoint
from deploy.simulation.fleet import SimulatedFleet, in_turn
from deploy.simulation.mqtt import LONG, SHORT, MqttDevice
from deploy.story import FleetThread
from shared.store.port import Recorded

OLD, NEW, BAD = 1, 2, 3
PLAIN, LAB = 8, 3
AT_ONCE = 2
IMAGE_BYTES = 5_000
PATIENCE_S = 60.0
NO_GATES: dict[str, Any] = {"failed_percent": None, "dark_percent": None}
TO_ALL = {
    "version": NEW,
    "stages": [{"devices": 2, "soak_s": 1}, {"percent": 100, "soak_s": 1}],
    "at_once": AT_ONCE,
    "gates": NO_GATES,
    "intelligent": True,
}
TO_LAB = {
    "version": BAD,
    "groups": ["lab"],
    "stages": [{"percent": 100, "soak_s": 1}],
    "at_once": LAB,
    "gates": {**NO_GATES, "failed_percent": 50, "at_least": 2},
    "intelligent": True,
}


class Stubborn(Conditions):
    """Devices that come back from every update with what they ran."""

    def update_fate(self, chance: Chance) -> UpdateFate:
        return "old version"


class Rolling:
    """``found`` and ``start`` while everything is well; ``left`` until nothing is, then ``cancel``, once."""

    def __init__(self, api: Api, endpoints: Sequence[Endpoint]) -> None:
        self._api = api
        self._endpoints = endpoints
        self._fleet: FleetThread | None = None
        self.product = 0
        self.plain = [secrets.token_hex(12) for _ in range(PLAIN)]
        self.lab = [secrets.token_hex(12) for _ in range(LAB)]
        self._pilots = [secrets.token_hex(12) for _ in range(2)]
        self.to_all = self.to_lab = ""
        self.cancelled = False
        self.wrong: list[str] = []

    def start(self, org: str) -> None:
        """A product, its devices, three versions that run somewhere, and both roll-outs under way."""
        api = self._api
        self.product = api.create_product(org, "Rolling", "Under roll-outs", "mqtt")["id"]
        api.import_devices(self.product, "\n".join([*self.plain, *self.lab, *self._pilots]).encode())
        for version in (OLD, NEW, BAD):
            api.upload_firmware(self.product, version, f"Version {version}", secrets.token_bytes(IMAGE_BYTES))
        for device in self.lab:
            api.update_device(self.product, device, {"groups": ["lab"]})
        for device in self._pilots:
            api.update_device(self.product, device, {"development": True})
        self._switch_on()
        self._await(lambda: all(one["releasable"] for one in api.firmware(self.product)), "every version runs")
        api.release(self.product, OLD)
        self.to_all = api.plan_rollout(self.product, {**TO_ALL, "start": True})["id"]
        self.to_lab = api.plan_rollout(self.product, {**TO_LAB, "start": True})["id"]
        try:
            api.release(self.product, NEW)
            self.wrong.append("a release was taken at the level of an unfinished roll-out")
        except ApiError as refused:
            if refused.code != "rollout_active":
                self.wrong.append(f"a release beside a roll-out was refused with {refused}")

    def _switch_on(self) -> None:
        tokens = self._api.device_tokens(self.product, [*self.plain, *self.lab, *self._pilots])
        runs = dict.fromkeys(tokens, OLD) | dict(zip(self._pilots, (NEW, BAD), strict=True))
        calm, stubborn = Conditions(30.0), Stubborn(30.0, reboot_every_s=20.0)
        self._fleet = FleetThread(
            SimulatedFleet(
                [
                    MqttDevice(
                        device,
                        token,
                        self.product,
                        runs[device],
                        in_turn(self._endpoints, n),
                        LONG if n % 2 else SHORT,
                        stubborn if device in self.lab else calm,
                    )
                    for n, (device, token) in enumerate(tokens.items())
                ]
            )
        )
        self._fleet.start()

    def _await(self, true: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not in time: {what}")
            time.sleep(0.2)

    def left(self) -> list[str]:
        """What is not as it has to be by now: the gate closes soon, the other one has until it was cancelled."""
        wanted = {self.to_lab: "cancelled", self.to_all: "completed"} if self.cancelled else {self.to_lab: "paused"}
        try:
            states = {one["id"]: one["state"] for one in self._api.rollouts(self.product)}
        except (ApiError, httpx.HTTPError) as problem:
            return [f"roll-outs: {problem!r}"]
        return [f"roll-out {one} is {states.get(one)}" for one, state in wanted.items() if states.get(one) != state]

    def cancel(self) -> None:
        """Whoever stopped is cancelled, once."""
        if not self.cancelled:
            self._api.decide_rollout(self.product, self.to_lab, "cancel", "nobody comes to run its version")
            self.cancelled = True

    def stop(self) -> None:
        """Switch the devices off."""
        if self._fleet is not None:
            self._fleet.stop()
            self._fleet = None


@dataclass
class _Course:
    """One roll-out as its events tell it, in the order of their positions."""

    allowed: int | None = 0
    in_flight: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)


def judged(rolling: Rolling, events: Sequence[Recorded], settled_at: int | None) -> list[str]:
    """What is wrong with the roll-outs. ``settled_at``: a position by which every gateway had heard of the cancelled
    one; None: it is not over yet."""
    named = [(event, _data(event)) for event in events if event.type.startswith(("Rollout", "Update", "Firmware"))]
    ours = [(event, data) for event, data in named if data.get("product_id") == rolling.product]
    wrong = [*rolling.wrong, *_turns(rolling.to_all, ours, AT_ONCE), *_turns(rolling.to_lab, ours, LAB)]
    stopped = [data for event, data in ours if event.type == "RolloutPaused" and data["rollout_id"] == rolling.to_lab]
    if "failed" not in [data["gate"] for data in stopped]:
        wrong.append("the gate of the roll-out that fails did not close")
    wrong += _ends(rolling, ours) if rolling.cancelled else []
    if settled_at is not None:
        wrong += [
            f"{data['device_id']} was touched after the roll-out was cancelled: {event.type} at {event.position}"
            for event, data in ours
            if event.type == "UpdateStarted" and data["version"] == BAD and event.position > settled_at
        ]
    return wrong


def _ends(rolling: Rolling, ours: Sequence[tuple[Recorded, Mapping[str, Any]]]) -> Iterator[str]:
    completed = sum(event.type == "RolloutCompleted" and data["rollout_id"] == rolling.to_all for event, data in ours)
    if completed != 1:
        yield f"the roll-out to all completed {completed} times"
    releases = [data["version"] for event, data in ours if event.type == "FirmwareReleased"]
    if releases != [OLD, NEW]:
        yield f"{releases} were released to all"
    runs = {data["device_id"]: data["version"] for event, data in ours if event.type == "FirmwareReported"}
    for devices, version in ((rolling.plain, NEW), (rolling.lab, OLD)):
        yield from (f"{one} runs {runs.get(one)}, not {version}" for one in devices if runs.get(one) != version)


def _turns(rollout_id: str, ours: Sequence[tuple[Recorded, Mapping[str, Any]]], at_once: int) -> Iterator[str]:
    course = _Course()
    for event, data in sorted(ours, key=lambda one: one[0].position):
        if data.get("rollout_id") != rollout_id:
            continue
        match event.type:
            case "RolloutStageBegan" | "RolloutStageSized":
                course.allowed = data["allowed"]
            case "RolloutTurnsGiven":
                yield from _given(course, data, at_once)
            case "RolloutTurnsEnded":
                ended = {*data["succeeded"], *data["failed"], *data["dark"], *data["left"]}
                if not ended <= course.in_flight:
                    yield f"turns ended that were not given: {sorted(ended - course.in_flight)}"
                course.in_flight -= ended


def _given(course: _Course, data: Mapping[str, Any], at_once: int) -> Iterator[str]:
    given = {*data["devices"], *data["again"]}
    if given & course.in_flight:
        yield f"a second turn at a time for {sorted(given & course.in_flight)}"
    if course.taken & {*data["devices"]}:
        yield f"a first turn for the second time for {sorted(course.taken & {*data['devices']})}"
    course.in_flight |= given
    course.taken |= {*data["devices"]}
    if len(course.in_flight) > at_once:
        yield f"{len(course.in_flight)} turns at once, not {at_once}"
    if course.allowed is not None and len(course.taken) > course.allowed:
        yield f"{len(course.taken)} devices had a turn, not {course.allowed}"


def _data(event: Recorded) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(event.data)
    return data
