"""What the events of a chain say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from services.devices.device import Event as DeviceEvent
from services.devices.why_links import Found, link, text
from services.devices.why_rule import rule_text
from shared.events import devices as d
from shared.events import firmware as f
from shared.events import gateway as g
from shared.events import rollouts as r
from shared.rollouts import Part, Rollout
from shared.targets import Membership, Way, explain

ID = "53ff6f066667574834212367"
P = 1000
NOW = datetime(2030, 1, 1, tzinfo=UTC)
MEMBER = Membership(P)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (d.DeviceImported(ID, P, False), "imported into product 1000 by ada (DEV-1)"),
        (d.DeviceLocked(ID, P, 7, True), "locked to version 7 by ada, to be flashed at once (FW-3)"),
        (d.DeviceLocked(ID, P, 7, False), "locked to version 7 by ada, to be flashed at its next connection (FW-3)"),
        (d.DeviceUnlocked(ID, P), "unlocked by ada: releases apply to it again (FW-3)"),
        (d.DeviceQuarantined(ID, P), "put back into quarantine by ada (DEV-4)"),
        (d.DevelopmentMarked(ID, P, True), "marked as a development device by ada (DEV-5)"),
        (f.FirmwareReleased(P, 8, 7, False), "version 8 released by ada (FW-4)"),
        (f.FirmwareReleasedToGroups(P, 8, ["hall", "lab"], [7], False), "version 8 released to hall, lab by ada"),
        (f.FirmwareReleasedToGroups(P, 8, [], [], False), "version 8 released to no group any more by ada"),
        (
            g.FlashAsked(ID, P, "f" * 24, 9, "0" * 64, 9, "trial.bin"),
            "the file trial.bin with version 9 was flashed to it by ada",
        ),
        (f.FirmwareReleased(P, 8, 7, True), "version 8 released by ada, to devices that are online at once (FW-4)"),
    ],
)
def test_what_a_person_did_is_said_with_the_person(event: Any, says: str):
    assert text(event, "ada") == says


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (
            d.DeviceQuarantined(ID, P),
            "put into quarantine: it reported product 1000 without being imported (DEV-4)",
        ),
        (f.VersionFirstRan(P, 8, ID), f"version 8 ran for the first time, on device {ID} (FW-5)"),
        (g.FirmwareReported(ID, P, P, 8, "", "", "a", 1, 1), "reported version 8 of product 1000"),
        (g.FirmwareReported(ID, P, None, None, "", "", "a", 1, 1), "reported no version"),
        (g.UpdateStarted(ID, P, 8, 1, "lock", 9), "attempt 1 at version 8 began, because it is locked to it (FW-3)"),
        (
            g.UpdateStarted(ID, P, 8, 1, "file", 9),
            "attempt 1 at version 8 began, because somebody flashes it a file that carries it",
        ),
        (
            g.UpdateFailed(ID, P, 8, 2, "came_back_unchanged", "", 1),
            "attempt 2 at version 8 failed (came back unchanged) (FW-7)",
        ),
        (g.ClaimPresented(ID, P, "d" * 64, "a", 1, 1), "showed the claim code of an account (CUS-5)"),
        (
            g.ClaimOpened(ID, P, "d" * 64, NOW, "a", 1, 1),
            "asked to be claimed by whoever states its ID and its secret, until 2030-01-01T00:00:00.000Z (CUS-5)",
        ),
        (
            g.ClaimOpened(ID, P, None, NOW, "a", 1, 1),
            "asked to be claimed by whoever states its ID, until 2030-01-01T00:00:00.000Z (CUS-5)",
        ),
        (g.GatewayLost("a", 3), "gateway a (epoch 3) was given up: it was silent for longer than its lease (DEV-7)"),
    ],
)
def test_what_nobody_did_names_nobody(event: Any, says: str):
    assert text(event, "system:devices") == says


ENDINGS = get_args(g.DeviceDisconnected.__annotations__["reason"]) or (
    "disconnected",
    "connection_lost",
    "keepalive",
    "kicked",
    "draining",
    "gateway_lost",
    "misbehaved",
)


@pytest.mark.parametrize("reason", ENDINGS)
def test_every_way_to_go_offline_has_words(reason: Any):
    event = g.DeviceDisconnected(ID, P, "a", 1, 1, reason, 12, 0, 0, 0, 0)
    assert text(event, "device:x").startswith("went offline after 12 s: ")


def test_a_link_says_who_did_it_by_name():
    event = d.DeviceUnlocked(ID, P)
    found = Found(event, "DeviceUnlocked", NOW, "s", 3, 17, "id", "account:1", "c", "k", None, None, "gateway:a")
    shown = link(found, {"account:1": "ada@example.com"})
    assert shown == {
        "at": "2030-01-01T00:00:00.000Z",
        "type": "DeviceUnlocked",
        "stream": "s",
        "version": 3,
        "position": 17,
        "event_id": "id",
        "actor": "ada@example.com",
        "command_id": "c",
        "correlation_id": "k",
        "cause": None,
        "source": "gateway:a",
        "text": "unlocked by ada@example.com: releases apply to it again (FW-3)",
    }
    assert link(found, {})["actor"] == "account:1"


def test_no_decision_about_a_device_is_without_words():
    untold = {"DeviceDescribed", "DeviceGrouped", "DeviceTokenReplaced", "DeviceKeySet", "DeviceCertificateSet"}
    untold |= {"DeviceProvisioned", "AttributesDesired"}  # all of no aspect
    sample: dict[str, Any] = {"product_id": P, "forced": True, "development": False, "version": 7, "flash": False}
    for kind in get_args(DeviceEvent):
        if kind.__name__ in untold:
            continue
        fields = {name: sample.get(name, ID) for name in kind.__struct_fields__}
        assert text(kind(**fields), "ada") != kind.__name__


@pytest.mark.parametrize(
    ("membership", "released", "way", "says"),
    [
        (Membership(None), 8, Way(), "It is a member of no product, so nothing is sent to it (DEV-1)."),
        (Membership(P, quarantined=True), 8, Way(), "It is in quarantine and gets no firmware until somebody approves"),
        (Membership(P, denied=True), 8, Way(), "It was denied and gets no firmware (DEV-4)."),
        (MEMBER, 8, Way(6, 8), "It reports product 6 and was not forced, so it gets none of ours (DEV-3)."),
        (Membership(P, development=True), 8, Way(P, 7), "It is a development device: no release reaches it (DEV-5)."),
        (Membership(P, development=True), 8, Way(P, 8), "now is the released version 8 all the same."),
        (Membership(P, locked_version=7), 8, Way(P, 7), "whatever is released (FW-3). It runs version 7."),
        (Membership(P, locked_version=8), 8, Way(P, 8), "version 8, which is also the released one (FW-3). It runs"),
        (Membership(P, locked_version=7), 8, Way(P, 8), "next connection (FW-3). What it runs now is the released"),
        (MEMBER, None, Way(P, 7), "No version of its product is released (FW-4)."),
        (MEMBER, 8, Way(P, 8), "no other rule keeps the device from it (FW-4). It runs version 8."),
        (MEMBER, 8, Way(P, 7), "It is offline and gets version 8 at its next connection (FW-4)."),
        (MEMBER, 8, Way(P, 7, online=True), "It is online since before and gets version 8 at its next connection"),
        (MEMBER, 8, Way(P, 7, online=True, applies_now=True), "It is online and is offered version 8"),
        (MEMBER, 8, Way(P, 7, update_version=8, failures=3), "It failed at version 8 3 times in a row"),
        (MEMBER, 8, Way(P, 7, online=True, update_version=8, update_state="started"), "It is taking version 8 now"),
    ],
)
def test_each_rule_is_said_in_a_sentence(membership: Membership, released: int | None, way: Way, says: str):
    assert says in rule_text(explain(membership, released, way), way.reported_product)


ROLLOUT = Rollout("a" * 24, 8, state="running", stage=1)
NAME = f"oll-out {ROLLOUT.rollout_id} of version 8"


@pytest.mark.parametrize(
    ("word", "change", "says"),
    [
        ("runs", {}, f"It runs the version of r{NAME} already"),
        ("turn", {}, f"It had its turn in r{NAME}, which is at stage 2"),
        ("waits", {}, f"It is in stage 2 of r{NAME}, and waits for its turn"),
        ("later", {}, f"It is in a later stage of r{NAME}, which is at stage 2"),
        ("paused", {"gate": "dark"}, "which is paused by gate dark: nobody is brought to it meanwhile"),
        ("paused", {}, "which is paused: nobody"),
        ("keeps", {"state": "cancelled"}, f"R{NAME} is over; whoever runs its version keeps it"),
        ("goes_back", {"state": "rolled_back"}, f"R{NAME} was rolled back, so it goes back to what is released"),
    ],
)
def test_its_part_in_a_rollout_is_said_in_a_sentence(word: Any, change: Any, says: str):  # FW-6
    part = Part(replace(ROLLOUT, **change), word)
    told = explain(MEMBER, 8, Way(P, 7), by_rollout=True)
    assert says in rule_text(told, P, part)
    assert says not in rule_text(explain(Membership(P, locked_version=7), 8, Way(P, 7)), P, part)  # FW-3


def test_a_version_that_is_rolled_out_and_a_device_that_says_not_now_have_words():
    way = Way(P, 7, online=True, applies_now=True)
    assert "Version 8 is rolled out" in rule_text(explain(MEMBER, 8, way, by_rollout=True), P)
    assert "is offered version 8 in this connection (FW-6)" in rule_text(explain(MEMBER, 8, way, by_rollout=True), P)
    refuses = replace(way, takes_updates=False)
    assert "It says that it takes no updates now" in rule_text(explain(MEMBER, 8, refuses), P)


GATES = r.RolloutGates(5, None, 600, None, 10, "pause")


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (r.RolloutPlanned(P, ID, 8, [], [], [], 9, None, GATES, False), "of version 8 to all was planned by ada"),
        (r.RolloutPlanned(P, ID, 8, ["lab"], [], [], 9, None, GATES, False), "to devices in lab was planned by ada"),
        (r.RolloutApproved(P, ID, 1), "stage 2 of roll-out"),
        (r.RolloutStageBegan(P, ID, 8, 0, 1, None), f"stage 1 of roll-out {ID} began (FW-6)"),
        (r.RolloutPaused(P, ID, None, "a look"), "was paused by ada: a look"),
        (r.RolloutPaused(P, ID, "failed", "6 of 100"), "was paused by gate failed: 6 of 100"),
        (r.RolloutResumed(P, ID), "goes on by ada"),
        (r.RolloutCancelled(P, ID, ""), "was cancelled by ada: whoever runs its version keeps it"),
        (r.RolloutRolledBack(P, ID, "dark", ""), "was rolled back by gate dark"),
        (r.RolloutCompleted(P, ID), "is complete: its version is a release"),
        (r.RolloutTurnsGiven(P, ID, 8, 2, [ID], []), f"it had its turn in roll-out {ID}, in stage 3 (FW-6)"),
    ],
)
def test_what_was_decided_of_a_rollout_has_words(event: Any, says: str):
    assert says in text(event, "ada")
