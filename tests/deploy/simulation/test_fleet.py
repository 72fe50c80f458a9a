"""Simulated fleets on real sockets against the gateway's listeners."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.device import Device
from deploy.simulation.fleet import SimulatedFleet
from deploy.simulation.generations import NEW, OLD
from deploy.simulation.keys import SHARED_RSA_KEYS, SimulatedKeys, server_public
from deploy.simulation.modules import build_module
from deploy.simulation.particle import ParticleDevice, Surroundings
from deploy.simulation.particle_session import End
from deploy.simulation.particle_tcp import dial_tcp
from services.gateway.devices.calls import FunctionCall, VariableRead
from services.gateway.devices.particle import keys
from services.gateway.devices.particle.server_keys import load_or_make
from shared.errors import Refused
from tests.deploy.simulation.conftest import World, becomes_true, living, run
from tests.gateway.devices.conftest import PRODUCT

FAST = Conditions(telemetry_every_s=0.2, restart_s=0.05)
QUIET = Conditions(telemetry_every_s=1e6, restart_s=0.05)


def online(fleet: SimulatedFleet) -> bool:
    return all(device.online for device in fleet.devices)


def test_a_mixed_fleet_connects_publishes_and_takes_firmware(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet([*world.mqtt(20, FAST), *world.particle(20, FAST)], world.counts)
            async with living(fleet):
                await becomes_true(lambda: online(fleet))
                assert world.kinds()["DeviceConnected"] == 40
                await becomes_true(lambda: {one.device_id for one in world.recorder.published} == _ids(fleet.devices))
                world.release(2, build_module(PRODUCT, 2, bytes(3_000)))
                for device in fleet.devices:
                    device.reconnect()
                await becomes_true(lambda: all(device.updates and device.online for device in fleet.devices))
            assert {device.version for device in fleet.devices} == {2}
            assert world.kinds()["UpdateSucceeded"] == 40
            assert (world.counts.updates_begun, world.counts.updates_done) == (40, 40)
            assert not any(fleet.unwell().values())
            assert not online(fleet)
            await becomes_true(lambda: world.kinds()["DeviceDisconnected"] >= 40)

    run(scenario)


def _ids(devices: list[Device]) -> set[str]:
    return {device.device_id for device in devices}


def test_particle_devices_answer_calls(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet(world.particle(2, QUIET, [OLD, NEW]), world.counts)
            async with living(fleet):
                await becomes_true(lambda: online(fleet))
                ask = world.server.ask
                for device in fleet.devices:
                    assert await ask(device.device_id, FunctionCall("brew", "tea")) == 1
                    assert await ask(device.device_id, VariableRead("counter")) == {"value": 1}
                    assert await ask(device.device_id, VariableRead("on")) == {"value": True}
            assert (world.counts.functions_called, world.counts.variables_read) == (2, 4)

    run(scenario)


def test_devices_on_udp_do_the_same(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet(world.electrons(6, FAST), world.counts)
            async with living(fleet):
                await becomes_true(lambda: online(fleet))
                await becomes_true(lambda: {one.device_id for one in world.recorder.published} == _ids(fleet.devices))
                for device in fleet.devices:
                    assert await world.server.ask(device.device_id, FunctionCall("brew", "tea")) == 1
                world.release(2, build_module(PRODUCT, 2, bytes(3_000)))
                for device in fleet.devices:
                    device.reconnect()
                await becomes_true(lambda: all(device.updates and device.online for device in fleet.devices))
            assert world.kinds()["UpdateSucceeded"] == 6
            assert not any(fleet.unwell().values())
            await becomes_true(lambda: world.kinds()["DeviceDisconnected"] >= 6)  # each said that it leaves

    run(scenario)


def test_devices_on_udp_move_to_another_address_and_stay_connected(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.simulation.conditions.Conditions.link_fate", lambda *_: "goes half-open")
    monkeypatch.setattr("deploy.simulation.particle_session.BREAKS_AFTER_S", (0.05, 0.1))

    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet(world.electrons(3, FAST), world.counts)
            async with living(fleet):
                await becomes_true(lambda: world.counts.meant["moved to another address"] == 3)
                sent = world.counts.events_sent
                await becomes_true(lambda: len(world.recorder.published) >= sent + 6)
                for device in fleet.devices:
                    assert await world.server.ask(device.device_id, FunctionCall("brew", "tea")) == 1
            assert world.kinds()["DeviceConnected"] == 3
            assert not world.counts.lost

    run(scenario)


def test_updates_that_are_to_fail_are_not_held_against_the_fleet(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            conditions = Conditions(telemetry_every_s=1e6, restart_s=0.05, failing_updates=1.0)
            fleet = SimulatedFleet([*world.mqtt(10, conditions), *world.particle(10, conditions)], world.counts)
            world.release(2, build_module(PRODUCT, 2, bytes(3_000)))
            async with living(fleet):
                await becomes_true(lambda: len(world.counts.failed_on_purpose) == 3)
            assert {device.version for device in fleet.devices} == {1}
            assert world.counts.updates_done == 0
            assert not fleet.unwell()["an update failed"]

    run(scenario)


def test_in_a_storm_everybody_comes_back(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet([*world.mqtt(10, QUIET), *world.particle(10, QUIET)], world.counts)
            async with living(fleet, storm_every_s=0.5):
                await becomes_true(lambda: min(device.connections for device in fleet.devices) >= 3)
            assert world.counts.meant["a storm"] >= 40

    run(scenario)


def test_devices_whose_plug_is_pulled_come_back(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet([*world.mqtt(2, QUIET), *world.particle(2, QUIET)], world.counts)
            async with living(fleet):
                await becomes_true(lambda: online(fleet))
                await asyncio.gather(*(device.power_cycle(0.05) for device in fleet.devices))
                await becomes_true(lambda: online(fleet) and all(one.connections == 2 for one in fleet.devices))

    run(scenario)


def test_half_open_links_are_taken_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("particle_session", "mqtt"):
        monkeypatch.setattr(f"deploy.simulation.{module}.BREAKS_AFTER_S", (0.05, 0.1))
    silent = Conditions(telemetry_every_s=1e6, restart_s=0.05, flaky=1.0)

    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet([*world.mqtt(4, silent), *world.particle(4, silent)], world.counts)
            async with living(fleet):
                await becomes_true(lambda: min(device.connections for device in fleet.devices) >= 3)
            assert world.kinds()["SessionReplaced"] > 0
            assert world.counts.meant["a flaky link"] >= 16
            assert not world.counts.lost

    run(scenario)


def test_who_is_not_let_in_is_counted_with_the_reason(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            fleet = SimulatedFleet([*world.mqtt(1, QUIET), *world.particle(2, QUIET)], world.counts)
            world.directory.tokens.clear()
            world.directory.change(fleet.devices[1].device_id, member={"denied": True})
            async with living(fleet):
                await becomes_true(lambda: len(world.counts.refused) >= 2 and fleet.devices[2].online)
            assert world.counts.refused["closed after our Hello"] >= 1
            assert _ids(fleet.unwell()["never got in"]) == _ids(fleet.devices[:2])

    run(scenario)


def test_where_nobody_listens_is_a_reason(world: World) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            world.mqtt_port = world.tcp_port = taken.getsockname()[1]
            fleet = SimulatedFleet(world.particle(1, QUIET), world.counts)
            async with living(fleet):
                await becomes_true(lambda: world.counts.refused.total() > 1)
            assert fleet.unwell()["never got in"] == fleet.devices

    run(scenario)


def test_a_server_with_another_key_is_not_believed(world: World) -> None:
    async def scenario() -> None:
        async with world.running():
            [device] = world.particle(1, QUIET)
            other = keys.new_rsa().public_key()
            dial = dial_tcp(other, lambda _: keys.new_rsa(keys.DEVICE_RSA_BITS))
            around = Surroundings("particle", [("127.0.0.1", world.tcp_port)], QUIET, world.counts, dial)
            fleet = SimulatedFleet([ParticleDevice(device.unit, around)], world.counts)
            async with living(fleet):
                await becomes_true(lambda: bool(world.counts.refused))
            assert not fleet.devices[0].connections

    run(scenario)


def test_an_update_that_a_lost_link_interrupts_is_trouble_until_the_next_one_succeeds(world: World) -> None:
    link: Any = SimpleNamespace(session=SimpleNamespace(updating=True, online=True), cut=lambda: None)

    async def scenario() -> None:
        async with world.running():
            [device] = world.particle(1, QUIET)
            device.over(link, End("lost", "reset", meant=False))
            assert device.trouble == ""  # it was not the device's link
            device.linked(link)
            device.over(link, End("lost", "reset", meant=False))
            assert device.trouble == "interrupted: reset"
            world.release(2, build_module(PRODUCT, 2, bytes(3_000)))
            async with living(SimulatedFleet([device], Counts())):
                await becomes_true(lambda: device.updates == 1)
            assert device.trouble == ""

    run(scenario)


def test_devices_have_the_same_keys_in_every_run(tmp_path: Path) -> None:
    first, again = SimulatedKeys(tmp_path / "keys"), SimulatedKeys(tmp_path / "keys")
    ids = [f"{number:024x}" for number in range(2 * SHARED_RSA_KEYS)]
    for device_id in ids:
        assert keys.private_pem(first.rsa(device_id)) == keys.private_pem(again.rsa(device_id))
        assert keys.private_pem(first.ec(device_id)) == keys.private_pem(again.ec(device_id))
    assert len({keys.private_pem(first.rsa(device_id)) for device_id in ids}) == SHARED_RSA_KEYS
    assert len({keys.private_pem(first.ec(device_id)) for device_id in ids}) == len(ids)
    elsewhere = SimulatedKeys(tmp_path / "others")
    assert keys.private_pem(first.ec(ids[0])) != keys.private_pem(elsewhere.ec(ids[0]))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}


def test_the_keys_of_the_server_are_read_where_its_gateways_keep_them(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        server_public(tmp_path)
    assert refusal.value.code == "no_server_key"
    made = load_or_make(tmp_path)
    tcp, udp = server_public(tmp_path)
    assert keys.public_der(tcp) == keys.public_der(made.rsa.public_key())
    assert udp == keys.public_der(made.ec.public_key())
