"""Makes simulated devices known to a running platform, through its API: tokens, public keys, and which speaks what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, get_args

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from deploy.api import Api
from deploy.simulation.application import Unit
from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.device import Device, Endpoint
from deploy.simulation.fleet import in_turn, mqtt_devices
from deploy.simulation.generations import generations_of
from deploy.simulation.keys import SimulatedKeys
from deploy.simulation.particle import Dial, ParticleDevice, Surroundings
from deploy.simulation.particle_dtls import dial_dtls
from deploy.simulation.particle_tcp import dial_tcp
from services.gateway.devices.particle.keys import PublicKey, public_pem
from shared.errors import Refused

SimulatedProtocol = Literal["mqtt", "particle", "particle-dtls"]
PROTOCOLS: tuple[SimulatedProtocol, ...] = get_args(SimulatedProtocol)
CALLERS = 4
"""Calls of the API at the same time."""
PHOTON, ELECTRON = 6, 10
PARTICLE_PLATFORMS = range(255)


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet of one product, before any of it is known to the platform. ``trust``: its devices show their keys at
    first use; otherwise these are registered."""

    product_id: int
    version: int
    platform_id: int
    endpoints: Mapping[SimulatedProtocol, Sequence[Endpoint]]
    conditions: Conditions
    trust: bool = False
    claim_code: str | None = None


@dataclass(frozen=True, slots=True)
class Keys:
    """Those of the devices, and ways to connect with them to the server that has its own."""

    devices: SimulatedKeys
    tcp_dial: Dial
    udp_dial: Dial


def keys_for(devices: SimulatedKeys, server: tuple[RSAPublicKey, bytes]) -> Keys:
    """With the server's keys for TCP, and for UDP in DER."""
    tcp, udp = server
    return Keys(devices, dial_tcp(tcp, devices.rsa), dial_dtls(udp, devices.ec))


def in_turns(ids: Sequence[str], protocols: Sequence[SimulatedProtocol]) -> dict[SimulatedProtocol, list[str]]:
    """Who speaks what: the protocols go round."""
    return {protocol: list(ids[start :: len(protocols)]) for start, protocol in enumerate(protocols)}


def enlist(
    api: Api,
    plan: Plan,
    turns: Mapping[SimulatedProtocol, Sequence[str]],
    keys: Keys | None,
    counts: Counts,
    progress: Callable[[str, int], None],
) -> list[Device]:
    """The devices, known to the platform. ``progress`` hears what is done to how many more of them."""
    devices: list[Device] = []
    for protocol, ids in turns.items():
        if protocol == "mqtt":
            tokens = api.device_tokens(plan.product_id, list(ids))
            progress("tokens", len(ids))
            devices += mqtt_devices(
                tokens, plan.product_id, plan.version, plan.endpoints[protocol], plan.conditions, counts
            )
        elif keys is not None:
            if not plan.trust:
                _register(api, plan.product_id, protocol, ids, keys.devices, progress)
            devices += _particle(plan, protocol, ids, keys, counts)
    return devices


def _register(
    api: Api,
    product_id: int,
    protocol: SimulatedProtocol,
    ids: Sequence[str],
    keys: SimulatedKeys,
    progress: Callable[[str, int], None],
) -> None:
    def register(device_id: str) -> None:
        key: PublicKey = (keys.rsa(device_id) if protocol == "particle" else keys.ec(device_id)).public_key()
        api.set_device_key(product_id, device_id, public_pem(key))
        progress("keys", 1)

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(register, ids))


def _particle(
    plan: Plan, protocol: SimulatedProtocol, ids: Sequence[str], keys: Keys, counts: Counts
) -> list[ParticleDevice]:
    tcp = protocol == "particle"
    platform_id = plan.platform_id if plan.platform_id in PARTICLE_PLATFORMS else PHOTON if tcp else ELECTRON
    generations = generations_of(platform_id)
    arounds = [
        Surroundings(protocol, turn, plan.conditions, counts, keys.tcp_dial if tcp else keys.udp_dial)
        for turn in (in_turn(plan.endpoints[protocol], index) for index in range(len(plan.endpoints[protocol])))
    ]
    made = []
    for number, device_id in enumerate(ids):
        generation = generations[number % len(generations)]
        unit = Unit(device_id, plan.product_id, plan.version, platform_id, generation, plan.claim_code)
        made.append(ParticleDevice(unit, arounds[number % len(arounds)]))
    return made


def check_trust(api: Api, product_id: int) -> None:
    """Raises ``Refused`` if the product does not let devices in with the first key that they show."""
    if not api.trusts_first_key(product_id):
        reason = (
            f"product {product_id} does not trust the first key that a device shows; leave out --trust, or allow it"
        )
        raise Refused("no_trust", f"{reason} with PUT /v1/products/{product_id}/device_access")
