"""A simulated Photon that is switched on: a kettle with functions and variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.api import Api
from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.device import Endpoint
from deploy.simulation.enlisting import PHOTON, Keys, Plan, enlist
from deploy.simulation.fleet import SimulatedFleet
from deploy.story import FleetThread


@contextmanager
def switched_on(
    api: Api, endpoint: Endpoint, keys: Keys, product: int, device_id: str, claim_code: str | None = None
) -> Iterator[None]:
    """The device runs version 1 of the product, speaks twice a second, and connects soon."""
    conditions = Conditions(telemetry_every_s=0.5)
    plan = Plan(product, 1, PHOTON, {"particle": [endpoint]}, conditions, claim_code=claim_code)
    counts = Counts()
    devices = enlist(api, plan, {"particle": [device_id]}, keys, counts, lambda _what, _more: None)
    thread = FleetThread(SimulatedFleet(devices, counts))
    thread.start()
    try:
        yield
    finally:
        thread.stop()
