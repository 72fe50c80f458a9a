"""``flotilla devices simulate``: a fleet on real connections to the running platform."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import Progress

from deploy.api import Api
from deploy.durations import duration_s
from deploy.process import allow_open_files
from deploy.running import DataFolder, Process
from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.device import Endpoint
from deploy.simulation.enlisting import (
    PROTOCOLS,
    Keys,
    Plan,
    SimulatedProtocol,
    check_trust,
    enlist,
    in_turns,
    keys_for,
)
from deploy.simulation.fleet import CONNECT_RATE, SimulatedFleet
from deploy.simulation.keys import SimulatedKeys, server_public
from deploy.simulation.screen import summary
from shared.errors import Refused
from shared.settings import Settings

console = Console()

SEED_BITS = 32
MAX_DEVICES = 20_000
IMPORT_AT_ONCE = 10_000
"""Lines of one import that is answered at once."""
LOOK_EVERY_S = 0.5
SHOWN = 5


def share(text: str) -> float:
    """A part of 1, from "5%" or "0.05"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    value = float(found[1]) / (100 if found[2] else 1) if found is not None else 2.0
    if value > 1:
        raise typer.BadParameter(f"{text!r} is no share; write 5% or 0.05")
    return value


Username = Annotated[str, typer.Option(prompt=True, help="A team member's email.")]
Password = Annotated[str, typer.Option(prompt=True, hide_input=True, envvar="PASSWORD", help="Better by PASSWORD.")]
Data = Annotated[Path | None, typer.Option(help="Data folder of the running platform (default: ./data).")]


def simulate(
    product: Annotated[int, typer.Option(help="The product's ID; its devices get fresh tokens, or keys.")],
    username: Username,
    password: Password,
    protocol: Annotated[
        Literal["mqtt", "particle", "particle-dtls", "mixed"],
        typer.Option(help="particle: over TCP, as Photons; particle-dtls: over UDP, as Electrons; mixed: in turn."),
    ] = "mqtt",
    count: Annotated[int, typer.Option("--devices", min=1, max=MAX_DEVICES, help="How many.")] = 50,
    version: Annotated[int, typer.Option(min=0, max=65_534, help="What they run at first.")] = 1,
    import_new: Annotated[
        bool, typer.Option("--import", help="Import new devices instead of taking those of the product.")
    ] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Register no keys of Particle devices: the product trusts those they show first."),
    ] = False,
    claim_code: Annotated[str | None, typer.Option(help="Particle devices show this claim code.")] = None,
    telemetry_every: Annotated[
        float, typer.Option(parser=duration_s, metavar="TIME", help="Between two readings of a device, on average.")
    ] = "5s",  # type: ignore[assignment]  # the parser is given it
    fail_updates: Annotated[
        float,
        typer.Option(
            parser=share,
            metavar="SHARE",
            help="So many updates fail: are refused, end with the device going out, or leave it with its old version.",
        ),
    ] = "0%",  # type: ignore[assignment]
    reboot_every: Annotated[
        float | None, typer.Option(parser=duration_s, metavar="TIME", help="Each device restarts so often, on average.")
    ] = None,
    flaky: Annotated[
        float,
        typer.Option(
            parser=share,
            metavar="SHARE",
            help="So many connections break within 30 s: closed, half-open, or on UDP moved to another port.",
        ),
    ] = "0%",  # type: ignore[assignment]
    storm: Annotated[
        float | None, typer.Option(parser=duration_s, metavar="TIME", help="So often all reconnect at once.")
    ] = None,
    connect_rate: Annotated[float, typer.Option(min=0.1, help="Devices switched on a second.")] = CONNECT_RATE,
    lasting: Annotated[
        float | None, typer.Option("--for", parser=duration_s, metavar="TIME", help="How long (default: until Ctrl-C).")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Repeats the chances of the run that printed it.")] = None,
    data: Data = None,
) -> None:
    """A simulated fleet on real connections: reports, publishes, answers calls, takes firmware.

    Particle devices run 0.6 and 3.3 in turn and take firmware modules only. Their keys are in DATA/simulated-devices:
    one of its own for each device on UDP; sixteen that they share on TCP, where the ID tells devices apart.

    Ends with 1 if a device never got in, or if the last update of a device failed and was not meant to; else with 0.
    """
    allow_open_files()
    settings = Settings.load(data=data)
    gateways = DataFolder(settings.data).running_gateways()
    seed = secrets.randbits(SEED_BITS) if seed is None else seed
    console.print(f"seed {seed}", highlight=False)
    conditions = Conditions(telemetry_every, fail_updates, flaky, reboot_every, seed=seed)
    endpoints = _endpoints(gateways)
    protocols = _protocols(protocol, endpoints)
    counts = Counts()
    with Api(str(gateways[0].http)) as api:
        api.log_in(username, password)
        platform_id = api.product(product)["platform_id"]
        if trust:
            check_trust(api, product)
        plan = Plan(product, version, platform_id, endpoints, conditions, trust, claim_code)
        keys = None
        if set(protocols) - {"mqtt"}:
            keys = keys_of(settings)
        ids = (
            _imported(api, product, count, seed) if import_new else [one["id"] for one in api.devices(product)][:count]
        )
        if not ids:
            raise Refused("no_devices", f"product {product} has no devices; import some, or use --import")
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("making the devices known", total=len(ids))
            devices = enlist(
                api, plan, in_turns(ids, protocols), keys, counts, lambda _, more: progress.advance(bar, more)
            )
    fleet = SimulatedFleet(devices, counts)
    asyncio.run(_live(fleet, lasting, connect_rate, storm))
    raise typer.Exit(_verdict(fleet))


def keys_of(settings: Settings) -> Keys:
    """The simulated devices' keys of this installation, and those of its gateways. Raises ``Refused``."""
    return keys_for(SimulatedKeys(settings.data / "simulated-devices"), server_public(Path(settings.device_keys)))


def _endpoints(gateways: Sequence[Process]) -> dict[SimulatedProtocol, list[Endpoint]]:
    return {
        "mqtt": [one.mqtt for one in gateways if one.mqtt],
        "particle": [one.particle for one in gateways if one.particle],
        "particle-dtls": [one.particle_udp for one in gateways if one.particle_udp],
    }


def _protocols(
    wanted: SimulatedProtocol | Literal["mixed"], endpoints: Mapping[SimulatedProtocol, Sequence[Endpoint]]
) -> list[SimulatedProtocol]:
    if wanted == "mixed":
        return [protocol for protocol in PROTOCOLS if endpoints[protocol]]
    if not endpoints[wanted]:
        raise Refused("no_listener", f"no running gateway listens for {wanted}; see the ports in docs/settings.md")
    return [wanted]


async def _live(fleet: SimulatedFleet, lasting_s: float | None, connect_rate: float, storm_s: float | None) -> None:
    loop = asyncio.get_running_loop()
    began, told = loop.time(), asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, told.set)
    if lasting_s is not None:
        loop.call_later(lasting_s, told.set)
    with Live(console=console, refresh_per_second=2) as live:

        async def until() -> None:
            while not told.is_set():
                live.update(summary(fleet, loop.time() - began))
                try:
                    await asyncio.wait_for(told.wait(), LOOK_EVERY_S)
                except TimeoutError:
                    continue
            live.update(summary(fleet, loop.time() - began), refresh=True)

        await fleet.run(until, per_second=connect_rate, storm_every_s=storm_s)
    console.print()


def _verdict(fleet: SimulatedFleet) -> int:
    unwell = {what: those for what, those in fleet.unwell().items() if those}
    for what, those in unwell.items():
        some = ", ".join(device.device_id for device in those[:SHOWN])
        more = f" and {len(those) - SHOWN} more" if len(those) > SHOWN else ""
        console.print(f"[red]✗[/red] {what}: {some}{more}", highlight=False)
    if not unwell:
        console.print(
            "[green]✓[/green] every device got in, and no update failed that was not meant to", highlight=False
        )
    return 1 if unwell else 0


def _imported(api: Api, product: int, count: int, seed: int) -> list[str]:
    """The same seed makes the same devices."""
    ids = [hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=12).hexdigest() for number in range(count)]
    for start in range(0, count, IMPORT_AT_ONCE):
        report = api.import_devices(product, "\n".join(ids[start : start + IMPORT_AT_ONCE]).encode())
        console.print(f"{report['updated']} devices imported", highlight=False)
    return ids
