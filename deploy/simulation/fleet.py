"""Many simulated devices in this process: switched on at a rate, now and then all reconnecting at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiomqtt

from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.device import Device, Endpoint
from deploy.simulation.mqtt import LONG, SHORT, MqttDevice

CONNECT_RATE = 200.0
"""Devices switched on a second, unless said otherwise."""


class SimulatedFleet:
    """The devices, and what they have done together."""

    def __init__(self, devices: Sequence[Device], counts: Counts | None = None) -> None:
        self.devices = list(devices)
        self.counts = counts or Counts()

    async def run(
        self,
        until: Callable[[], Awaitable[None]],
        *,
        per_second: float = CONNECT_RATE,
        storm_every_s: float | None = None,
    ) -> None:
        """Start all devices, at most ``per_second``, and keep them running until ``until`` returns."""
        asyncio.get_running_loop().set_exception_handler(_unheard)
        logging.getLogger("mqtt").setLevel(logging.CRITICAL)  # the library's word on each broken connection
        tasks = [asyncio.create_task(self._start(per_second))]
        if storm_every_s is not None:
            tasks.append(asyncio.create_task(self._storm(storm_every_s)))
        try:
            await until()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *(device.stop() for device in self.devices), return_exceptions=True)

    async def _start(self, per_second: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, device in enumerate(self.devices):
            if (wait_s := began + number / per_second - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            device.start()

    async def _storm(self, every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            for device in self.devices:
                device.reconnect()

    def unwell(self) -> dict[str, list[Device]]:
        """What did not happen that should have: devices that never got in, updates that failed and were not to."""
        return {
            "never got in": [device for device in self.devices if not device.connections],
            "an update failed": [device for device in self.devices if device.trouble],
        }


def mqtt_devices(
    tokens: dict[str, str],
    product_id: int,
    version: int,
    endpoints: Sequence[Endpoint],
    conditions: Conditions,
    counts: Counts,
) -> list[MqttDevice]:
    """MQTT devices with these tokens, alternating between the dialects and the gateways."""
    return [
        MqttDevice(
            device_id,
            token,
            product_id,
            version,
            in_turn(endpoints, index),
            LONG if index % 2 else SHORT,
            conditions,
            counts,
        )
        for index, (device_id, token) in enumerate(tokens.items())
    ]


def in_turn(endpoints: Sequence[Endpoint], index: int) -> list[Endpoint]:
    """The same in another order, so that a fleet spreads over all."""
    first = index % len(endpoints)
    return [*endpoints[first:], *endpoints[:first]]


def _unheard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A connection that breaks leaves a future in the MQTT library that nobody asks; the device has noticed anyway."""
    if not isinstance(context.get("exception"), aiomqtt.MqttError):
        loop.default_exception_handler(context)
