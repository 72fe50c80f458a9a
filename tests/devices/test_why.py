"""Why a device is as it is, asked of the running service over a real store (EVT-3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from services.devices.why_trail import MAX_EVENTS, MAX_LINKS
from shared.blobs import open_blobs
from shared.context import Context
from shared.errors import NotFound
from shared.events import gateway as g
from shared.events import rollouts as r
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceImported, DeviceLocked, DeviceQuarantined
from shared.events.firmware import FirmwareReleased, ReleaseWithdrawn, VersionFirstRan
from shared.events.orgs import ProductCreated
from shared.rollouts import PLACES
from shared.store.port import ANY, New

P, OTHER = 1000, 2000
A, B = (f"{number:024x}" for number in (10, 11))
ADA, EVE = "account:ada", "account:eve"
SEEN = "connection-a.1-2030010100"


def by(actor: str) -> Context:
    return Context.new(actor, "gateway:a")


def told(platform: Any, actor: str, stream: str, *events: object) -> None:
    """Append as ``actor``; later calls wait for it."""
    for event in events:
        new = CONTRACTS.encode(event, 0, Context.new(actor, "gateway:a", uuid4()))
        platform.after = platform.store.append(stream, ANY, [new]).position


def imported(platform: Any, device_id: str = A, product_id: int = P, actor: str = ADA) -> None:
    platform.call("import_lines", context=by(actor), product_id=product_id, lines=[device_id])


def change(platform: Any, actor: str = ADA, **changes: Any) -> None:
    platform.call("update_device", context=by(actor), product_id=P, device_id=A, changes=changes)


def online(platform: Any, session: int = 1) -> None:
    at = datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=session)
    told(
        platform,
        f"device:{A}",
        SEEN,
        g.DeviceConnected(A, P, "a", 1, session, at, "mqtt/3.1.1", "10.0.0.7", False, "c"),
    )


def offline(platform: Any, reason: Any = "disconnected", session: int = 1) -> None:
    told(platform, f"device:{A}", SEEN, g.DeviceDisconnected(A, P, "a", 1, session, reason, 60, 0, 0, 0, 0))


def reported(platform: Any, version: int, product: int = P, counts_as: int | None = P) -> None:
    told(platform, f"device:{A}", SEEN, g.FirmwareReported(A, counts_as, product, version, "", "", "a", 1, 1))


def released(platform: Any, version: int = 8, *, intelligent: bool = False) -> None:
    product = ProductCreated(P, "0" * 24, "org", "Kettle", "kettle", "", "Photon", 6, "Consumer", "")
    told(platform, ADA, f"product-{P}", product)
    stream = f"firmware-{P}"
    uploaded(platform, stream, version)
    told(platform, "system:firmware", stream, VersionFirstRan(P, version, B))
    told(platform, ADA, stream, FirmwareReleased(P, version, None, intelligent))


def uploaded(platform: Any, stream: str, version: int) -> None:
    """As version 1 of the contract had it: without keys of people nothing personal is encoded."""
    data = {"product_id": P, "version": version, "title": "t", "description": "", "file_name": "f.bin"}
    more = {"size_bytes": 9, "sha256": "0" * 64, "uploaded_by": "ada@example.com"}
    meta = CONTRACTS.encode(FirmwareReleased(P, version, None, False), 0, by(ADA)).meta
    platform.store.append(stream, ANY, [New(uuid4(), "VersionUploaded", msgspec.json.encode({**data, **more}), meta)])


def updated(platform: Any, version: int = 8, cause: Any = "release") -> None:
    told(platform, f"device:{A}", SEEN, g.UpdateStarted(A, P, version, 1, cause, 9))
    reported(platform, version)
    told(platform, f"device:{A}", SEEN, g.UpdateSucceeded(A, P, version, 1))


def why(platform: Any, product_id: int = P) -> Any:
    return platform.call("why", product_id=product_id, device_id=A.upper())


def aspect(answer: Any, name: str) -> Any:
    (found,) = [one for one in answer["aspects"] if one["aspect"] == name]
    return found


def types(answer: Any, name: str) -> list[str]:
    return [link["type"] for link in aspect(answer, name)["chain"]]


def test_a_member_tells_who_imported_it(platform: Any):  # DEV-1
    imported(platform)
    answer = why(platform)
    found = aspect(answer, "membership")
    assert found["value"] == {"state": "member", "product_id": P, "forced": False, "development": False}
    (link,) = found["chain"]
    assert (link["type"], link["actor"], link["stream"], link["version"]) == (
        "DeviceImported",
        "ada@example.com",
        f"device-{A}",
        0,
    )
    assert link["text"] == "imported into product 1000 by ada@example.com (DEV-1)"
    assert link["event_id"] == str(platform.store.read(f"device-{A}")[0].id)
    assert [one["aspect"] for one in answer["aspects"]] == [
        "membership",
        "owner",
        "lock",
        "presence",
        "version",
        "update",
        "target",
    ]
    assert all(one["value"] is None and one["chain"] == [] for one in answer["aspects"][1:])
    assert (answer["id"], answer["product_id"], answer["cut"]) == (A, P, False)


def test_an_account_outside_the_team_is_named_by_its_number(platform: Any):
    imported(platform, actor=EVE)
    (link,) = aspect(why(platform), "membership")["chain"]
    assert link["actor"] == EVE
    assert ADA not in link["text"]


def test_a_device_of_a_job_tells_of_the_import_that_brought_it(platform: Any):  # DEV-1
    blob = open_blobs(platform.settings.blobs).put([A.encode()])
    platform.call("start_import", context=by(ADA), product_id=P, blob=blob.sha256, size_bytes=24)
    platform.after = platform.wait_for_event(f"device-{A}", DeviceImported).position
    assert types(why(platform), "membership") == ["ImportStarted", "DeviceImported"]


def test_a_quarantine_tells_of_the_report_that_it_answers(platform: Any):  # DEV-4
    reported(platform, 7, counts_as=None)
    platform.after = platform.wait_for_event(f"device-{A}", DeviceQuarantined).position
    held = why(platform)
    assert aspect(held, "membership")["value"]["state"] == "quarantined"
    assert types(held, "membership") == ["FirmwareReported", "DeviceQuarantined"]
    first, second = aspect(held, "membership")["chain"]
    assert second["cause"] == first["event_id"]
    assert (first["stream"], first["actor"], second["actor"]) == (SEEN, f"device:{A}", "system:devices")
    assert (held["rule"]["rule"], held["rule"]["gets_released"]) == ("quarantined", False)
    assert types(held, "target") == ["FirmwareReported", "DeviceQuarantined"]
    imported(platform)
    assert types(why(platform), "membership") == ["FirmwareReported", "DeviceQuarantined", "DeviceApproved"]


def test_a_lock_tells_who_locked_it_and_keeps_it_from_the_release(platform: Any):  # FW-3
    imported(platform)
    online(platform)
    released(platform)
    change(platform, desired_firmware_version=3, flash=True)
    answer = why(platform)
    assert aspect(answer, "lock")["value"] == {"version": 3, "flash_pending": True}
    (link,) = aspect(answer, "lock")["chain"]
    assert link["text"] == "locked to version 3 by ada@example.com, to be flashed at once (FW-3)"
    rule = answer["rule"]
    assert (rule["rule"], rule["target_version"], rule["released_version"]) == ("locked", 3, 8)
    assert (rule["delivery"], rule["gets_released"]) == ("offered", False)
    assert types(answer, "target") == ["DeviceLocked"]
    updated(platform, 3, "lock")
    after = why(platform)
    assert after["rule"]["delivery"] == "runs"
    assert types(after, "version") == ["DeviceLocked", "UpdateStarted", "FirmwareReported", "UpdateSucceeded"]
    change(platform, desired_firmware_version=None)
    assert types(why(platform), "lock") == ["DeviceLocked", "DeviceUnlocked"]


def test_presence_tells_of_the_connection_and_of_its_end(platform: Any):  # DEV-7
    imported(platform)
    online(platform)
    assert types(why(platform), "presence") == ["DeviceConnected"]
    offline(platform, "keepalive")
    answer = why(platform)
    assert aspect(answer, "presence")["value"]["online"] is False
    assert types(answer, "presence") == ["DeviceConnected", "DeviceDisconnected"]
    assert "silent for longer" in aspect(answer, "presence")["chain"][1]["text"]


@pytest.mark.parametrize("ending", [g.GatewayLost("a", 1), g.GatewayStarted("a", 2, 10)])
def test_a_connection_that_its_gateway_could_not_end_tells_what_ended_the_gateway(platform: Any, ending: Any):
    imported(platform)
    told(platform, "system:gateway", "gateway-a", g.GatewayStarted("a", 1, 10))
    online(platform)
    told(platform, "system:gateway", "gateway-a", ending)
    ended = platform.wait_for_event("connection-a.1-lost", g.DeviceDisconnected)
    platform.after = ended.position
    told(platform, "system:gateway", "gateway-a", g.GatewayStarted("a", 3, 10))  # not what ended it
    answer = why(platform)
    assert types(answer, "presence") == ["DeviceConnected", type(ending).__name__, "DeviceDisconnected"]
    assert aspect(answer, "presence")["chain"][1]["position"] < aspect(answer, "presence")["chain"][2]["position"]


def test_a_version_tells_of_the_update_and_of_the_release_that_brought_it(platform: Any):  # FW-4, FW-7
    imported(platform)
    online(platform)
    reported(platform, 7)
    assert types(why(platform), "version") == ["FirmwareReported"]
    released(platform)
    updated(platform)
    answer = why(platform)
    assert aspect(answer, "version")["value"] == {"version": 8, "product_id": P, "text": ""}
    assert types(answer, "version") == ["FirmwareReleased", "UpdateStarted", "FirmwareReported", "UpdateSucceeded"]
    assert aspect(answer, "version")["chain"][0]["actor"] == "ada@example.com"
    assert types(answer, "update") == ["FirmwareReleased", "UpdateStarted", "UpdateSucceeded"]
    assert types(answer, "target") == ["VersionUploaded", "VersionFirstRan", "FirmwareReleased"]
    assert (answer["rule"]["rule"], answer["rule"]["delivery"]) == ("released", "runs")
    assert answer["rule"]["gets_released"] is True


def test_a_version_tells_of_the_file_that_brought_it(platform: Any):  # contract 9.5
    imported(platform)
    reported(platform, 7)
    told(platform, ADA, SEEN, g.FlashAsked(A, P, "f" * 24, 9, "0" * 64, 9, "trial.bin"))
    updated(platform, 9, "file")
    found = [link for link in aspect(why(platform), "version")["chain"] if link["type"] == "FlashAsked"]
    assert [(link["actor"], link["text"][:18]) for link in found] == [("ada@example.com", "the file trial.bin")]


def test_when_it_gets_the_release_follows_from_its_connection(platform: Any):  # FW-4
    imported(platform)
    online(platform, 1)
    reported(platform, 7)
    released(platform)
    assert why(platform)["rule"]["delivery"] == "next_connection"
    offline(platform, session=1)
    assert why(platform)["rule"]["delivery"] == "offline"
    online(platform, 2)
    assert why(platform)["rule"]["delivery"] == "offered"
    told(platform, f"device:{A}", SEEN, g.UpdateStarted(A, P, 8, 1, "release", 9))
    assert why(platform)["rule"]["delivery"] == "updating"
    told(platform, f"device:{A}", SEEN, g.UpdateFailed(A, P, 8, 3, "stalled", "", 3))
    answer = why(platform)
    assert (answer["rule"]["delivery"], answer["rule"]["gets_released"]) == ("failing", False)
    assert types(answer, "target")[-1] == "UpdateFailed"
    told(platform, ADA, f"firmware-{P}", ReleaseWithdrawn(P, 8))
    assert why(platform)["rule"]["rule"] == "nothing_released"


def test_an_intelligent_release_is_for_devices_that_are_online(platform: Any):  # FW-4
    imported(platform)
    online(platform)
    reported(platform, 7)
    released(platform, intelligent=True)
    assert why(platform)["rule"]["delivery"] == "offered"


def test_a_development_device_is_kept_from_the_release_by_its_mark(platform: Any):  # DEV-5
    imported(platform)
    released(platform)
    change(platform, development=True)
    answer = why(platform)
    assert (answer["rule"]["rule"], types(answer, "target")) == ("development", ["DevelopmentMarked"])


def test_a_device_that_reports_another_product_is_kept_from_the_release_by_its_report(platform: Any):  # DEV-3
    imported(platform)
    released(platform)
    reported(platform, 7, product=6, counts_as=None)
    answer = why(platform)
    assert (answer["rule"]["rule"], types(answer, "target")) == ("other_product", ["FirmwareReported"])


def test_a_team_sees_what_it_did_and_not_what_another_did_with_the_device_after(platform: Any):  # DEV-8
    imported(platform)
    change(platform, desired_firmware_version=3)
    platform.call("remove_device", context=by(ADA), product_id=P, device_id=A)
    imported(platform, product_id=OTHER, actor=EVE)
    online(platform)
    ours, theirs = why(platform), why(platform, OTHER)
    assert types(ours, "membership") == ["DeviceImported", "DeviceRemoved"]
    assert ours["rule"] is None
    assert all(one["value"] is None and one["chain"] == [] for one in ours["aspects"][1:])
    assert EVE not in str(ours)
    assert types(theirs, "membership") == ["DeviceImported"]
    assert types(theirs, "lock") == []
    assert types(theirs, "presence") == []  # it was P's when it came online, says the gateway
    assert aspect(theirs, "presence")["value"]["online"] is True
    assert ADA not in str(theirs)


def test_a_device_that_comes_back_begins_a_new_story(platform: Any):
    imported(platform)
    change(platform, desired_firmware_version=3)
    platform.call("remove_device", context=by(ADA), product_id=P, device_id=A)
    imported(platform)
    answer = why(platform)
    assert (types(answer, "membership"), types(answer, "lock")) == (["DeviceImported"], [])


@pytest.mark.parametrize("device_id", [B, "nonsense", A])
def test_a_device_that_was_never_a_member_is_not_found(platform: Any, device_id: str):
    imported(platform, product_id=OTHER)
    with pytest.raises(NotFound, match="Device not found for this product"):
        platform.call("why", product_id=P, device_id=device_id)


def test_an_answer_is_bounded_and_says_when_it_is_cut(platform: Any):
    imported(platform)
    locks = [DeviceLocked(A, P, number % 5, False) for number in range(MAX_LINKS + 1)]
    told(platform, ADA, f"device-{A}", *locks)
    answer = why(platform)
    assert answer["cut"] is True
    assert len(aspect(answer, "lock")["chain"]) == MAX_LINKS
    news = [
        CONTRACTS.encode(locks[0], 0, Context.new(ADA, "gateway:a", uuid4())) for _ in range(MAX_EVENTS - MAX_LINKS)
    ]
    platform.after = platform.store.append(f"device-{A}", ANY, news).position
    assert types(why(platform), "membership") == []  # the import is older than what is looked at


def test_a_fact_that_was_forgotten_is_said_to_be_missing(platform: Any):
    imported(platform)
    online(platform)
    assert why(platform)["cut"] is False
    platform.store.truncate(SEEN, 1)
    answer = why(platform)
    assert answer["cut"] is True
    assert (types(answer, "presence"), aspect(answer, "presence")["value"]["online"]) == ([], True)


def test_a_turn_in_a_rollout_tells_of_the_rollout(platform: Any):  # FW-6
    released(platform, 7)
    uploaded(platform, f"firmware-{P}", 8)
    imported(platform)
    reported(platform, 7)
    rollout_id, gates = "7" * 24, r.RolloutGates(5, 5, 600, None, 10, "pause")
    stage = r.RolloutStage(100, None, False, 0)
    planned = r.RolloutPlanned(P, rollout_id, 8, [], [stage], [], 9, None, gates, True)
    told(platform, ADA, f"firmware-{P}", planned, r.RolloutStageBegan(P, rollout_id, 8, 0, PLACES, None))
    waiting = why(platform)["rule"]
    assert (waiting["target_version"], waiting["delivery"], waiting["rollout"]["part"]) == (7, "runs", "waits")
    told(platform, "system:firmware", f"rollout-{rollout_id}", r.RolloutTurnsGiven(P, rollout_id, 8, 0, [A], []))
    answer = why(platform)
    assert (answer["rule"]["target_cause"], answer["rule"]["rollout"]["part"]) == ("rollout", "turn")
    assert types(answer, "target")[-3:] == ["RolloutPlanned", "RolloutStageBegan", "RolloutTurnsGiven"]
    updated(platform, 8, "rollout")
    answer = why(platform)
    assert types(answer, "update") == ["RolloutTurnsGiven", "UpdateStarted", "UpdateSucceeded"]
    told(platform, ADA, f"firmware-{P}", r.RolloutRolledBack(P, rollout_id, "dark", "gone"))
    back = why(platform)["rule"]
    assert (back["target_version"], back["target_cause"], back["rollout"]["part"]) == (7, "release", "goes_back")
    updated(platform, 7)
    answer = why(platform)
    assert types(answer, "update") == ["RolloutRolledBack", "UpdateStarted", "UpdateSucceeded"]
    assert types(answer, "version")[0] == "RolloutRolledBack"
    assert types(answer, "target")[-2:] == ["FirmwareReleased", "RolloutRolledBack"]
    told(platform, ADA, f"firmware-{P}", FirmwareReleased(P, 7, 7, False))
    updated(platform, 7)
    assert types(why(platform), "update")[0] == types(why(platform), "target")[-1] == "FirmwareReleased"


def test_a_device_that_says_not_now_tells_so_and_what_failed_is_tried_again_on_demand(platform: Any):  # FW-4, FW-7
    released(platform)
    imported(platform)
    reported(platform, 7)
    online(platform)
    told(platform, f"device:{A}", SEEN, g.UpdatesDeclared(A, P, False, False, "a", 1, 1))
    assert why(platform)["rule"]["delivery"] == "not_now"
    shown = platform.call("get_device", product_id=P, device_id=A)
    assert (shown["firmware_updates_enabled"], shown["firmware_updates_forced"]) == (False, False)
    retry = {"product_id": P, "device_id": A}
    assert platform.call("retry_update", **retry) == {"position": None}
    told(
        platform,
        f"device:{A}",
        SEEN,
        g.UpdateStarted(A, P, 8, 3, "release", 9),
        g.UpdateFailed(A, P, 8, 3, "stalled", "", 3, "release"),
    )
    assert why(platform)["rule"]["delivery"] == "failing"
    failed = platform.call("get_device", **retry)["firmware_update"]
    assert (failed["id"], failed["cause"], failed["failures"]) == (f"{A}-8-3", "release", 3)
    platform.after = platform.call("retry_update", context=by(ADA), **retry)["position"]
    assert why(platform)["rule"]["delivery"] == "not_now"
    with pytest.raises(NotFound):
        platform.call("retry_update", product_id=OTHER, device_id=A)
