"""The words of ``flotilla devices simulate``: times, shares, who speaks what, and what it ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from deploy import simulate_command
from deploy.cli import app
from deploy.durations import duration_s
from deploy.simulate_command import share
from deploy.simulation.application import Unit
from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.enlisting import Plan, enlist, in_turns, keys_for
from deploy.simulation.fleet import SimulatedFleet
from deploy.simulation.generations import NEW, OLD
from deploy.simulation.keys import SimulatedKeys
from deploy.simulation.particle import ParticleDevice, Surroundings
from deploy.simulation.screen import MAX_ROWS, summary
from services.gateway.devices.particle import keys
from shared.errors import Refused, Unavailable


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("90s", 90.0), ("1.5m", 90.0), ("2h", 7_200.0), (" 250 ms ", 0.25), ("1d", 86_400.0)],
)
def test_times_are_read(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "5 weeks", "s"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no duration"):
        duration_s(text)


@pytest.mark.parametrize(("text", "part"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0), ("100%", 1.0), ("1", 1.0)])
def test_shares_are_read(text: str, part: float) -> None:
    assert share(text) == pytest.approx(part)


@pytest.mark.parametrize("text", ["", "101%", "2", "5", "-5%", "half"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no share"):
        share(text)


def test_protocols_go_round() -> None:
    assert in_turns(list("abcde"), ["mqtt", "particle"]) == {"mqtt": ["a", "c", "e"], "particle": ["b", "d"]}


def test_only_protocols_that_a_gateway_listens_for_are_mixed() -> None:
    endpoints: Any = {"mqtt": [("localhost", 1)], "particle": [("localhost", 2)], "particle-dtls": []}
    assert simulate_command._protocols("mixed", endpoints) == ["mqtt", "particle"]
    assert simulate_command._protocols("particle", endpoints) == ["particle"]
    with pytest.raises(Refused) as refusal:
        simulate_command._protocols("particle-dtls", endpoints)
    assert refusal.value.code == "no_listener"


class FakeApi:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.imported: list[bytes] = []

    def device_tokens(self, product: int, device_ids: list[str]) -> dict[str, str]:
        return {device_id: f"token-of-{device_id}" for device_id in device_ids}

    def set_device_key(self, product: int, device_id: str, public_key: str) -> None:
        self.keys[device_id] = public_key

    def import_devices(self, product: int, file: bytes) -> dict[str, Any]:
        self.imported.append(file)
        return {"updated": len(file.split())}


@pytest.mark.parametrize("trust", [False, True])
def test_a_fleet_is_made_known_to_the_platform(tmp_path: Path, trust: bool) -> None:
    api: Any = FakeApi()
    where = [("127.0.0.1", 1), ("127.0.0.1", 2)]
    endpoints: Any = dict.fromkeys(("mqtt", "particle", "particle-dtls"), where)
    plan = Plan(1000, 3, 65_535, endpoints, Conditions(), trust)
    made = SimulatedKeys(tmp_path)
    server = keys.new_rsa()
    known = keys_for(made, (server.public_key(), keys.public_der(keys.new_ec().public_key())))
    ids = [f"{number:024x}" for number in range(12)]
    told: list[int] = []
    turns = in_turns(ids, ["mqtt", "particle", "particle-dtls"])
    devices = enlist(api, plan, turns, known, Counts(), lambda _, more: told.append(more))
    assert [device.protocol for device in devices] == ["mqtt"] * 4 + ["particle"] * 4 + ["particle-dtls"] * 4
    assert {device.version for device in devices} == {3}
    units = [device.unit for device in devices if isinstance(device, ParticleDevice)]
    assert [unit.platform_id for unit in units] == [6] * 4 + [10] * 4
    assert {unit.generation for unit in units} == {OLD, NEW}
    if trust:
        assert api.keys == {}
        return
    assert sum(told) == 12
    assert api.keys == {
        **{one: keys.public_pem(made.rsa(one).public_key()) for one in turns["particle"]},
        **{one: keys.public_pem(made.ec(one).public_key()) for one in turns["particle-dtls"]},
    }


def test_the_same_seed_makes_the_same_devices() -> None:
    one, two, other = FakeApi(), FakeApi(), FakeApi()
    for api, seed in ((one, 1), (two, 1), (other, 2)):
        asked: Any = api
        simulate_command._imported(asked, 1000, 5, seed)
    assert one.imported == two.imported != other.imported


async def _no_dial(device: object, endpoint: object) -> None:
    raise AssertionError("nobody connects here")


def fleet(count: int, versions: int = 1) -> SimulatedFleet:
    counts = Counts()
    around = Surroundings("particle", [("127.0.0.1", 1)], Conditions(), counts, _no_dial)
    units = [Unit(f"{number:024x}", 1000, number % versions, 6, OLD) for number in range(count)]
    return SimulatedFleet([ParticleDevice(unit, around) for unit in units], counts)


def test_it_ends_with_one_if_a_device_never_got_in_or_an_update_failed() -> None:
    made = fleet(3)
    devices: list[Any] = made.devices
    assert simulate_command._verdict(made) == 1
    for device in devices:
        device.connections = 1
    assert simulate_command._verdict(made) == 0
    devices[0].unit.trouble = "no room"
    assert simulate_command._verdict(made) == 1


def test_the_screen_is_bounded() -> None:
    made = fleet(300, versions=100)
    made.counts.refused.update({f"reason {number}": number + 1 for number in range(30)})
    console = Console(width=120)
    with console.capture() as captured:
        console.print(summary(made, 12.0))
    text = captured.get()
    assert "300 simulated devices, 12 s" in text
    assert "others" in text
    assert "reason 29: 30" in text
    assert "reason 1:" not in text
    assert len(text.splitlines()) < MAX_ROWS + 15


def test_without_a_platform_it_says_how_to_start_one(tmp_path: Path) -> None:
    words = ["devices", "simulate", "--product", "1", "--username", "a", "--password", "b", "--data", str(tmp_path)]
    with pytest.raises(Unavailable, match="flotilla run"):
        CliRunner().invoke(app, words, catch_exceptions=False)


def test_nonsense_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    words = ["devices", "simulate", "--product", "1", "--username", "a", "--password", "b", "--data", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--fail-updates", "120%"])
    assert done.exit_code == 2
