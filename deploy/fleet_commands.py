"""``flotilla demo`` and ``flotilla devices``: simulated fleets."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.table import Table

from deploy.api import Api
from deploy.running import DataFolder, Process
from deploy.simulator import Endpoint, SimulatedFleet
from deploy.story import NotAsPromised, Story
from shared.errors import Refused, Unavailable
from shared.settings import Settings

devices = typer.Typer(help="Devices, simulated ones among them.", no_args_is_help=True)
console = Console()
READY_S = 90.0
WATCH_S = 20.0
"""How long the fleet view is shown after a gateway was killed: longer than its lease."""

Username = Annotated[str, typer.Option(prompt=True, help="A team member's email.")]
Password = Annotated[str, typer.Option(prompt=True, hide_input=True, envvar="PASSWORD", help="Better by PASSWORD.")]
Data = Annotated[Path | None, typer.Option(help="Data folder of the running platform (default: ./data).")]


def demo(
    mode: Annotated[
        Literal["embedded", "distributed"], typer.Option(help="Which platform to start for it.")
    ] = "embedded",
    count: Annotated[int, typer.Option("--devices", min=3, max=2_000)] = 50,
    running: Annotated[bool, typer.Option(help="Use the platform that runs on the data folder.")] = False,
    kill_gateway: Annotated[
        bool, typer.Option("--kill-gateway", help="End a gateway with kill -9 in the middle of the roll-out.")
    ] = False,
    data: Data = None,
) -> None:
    """The main job as a story with simulated devices; exits with 1 if any step is not as promised."""
    started = time.monotonic()
    if kill_gateway and mode == "embedded":
        raise Refused("one_process", "--kill-gateway needs a gateway of its own: --mode distributed")
    try:
        with _platform(mode, running, data) as gateways:
            urls = [str(gateway.http) for gateway in gateways]
            endpoints = [gateway.mqtt for gateway in gateways if gateway.mqtt]
            middle = partial(_kill_a_gateway, gateways) if kill_gateway else None
            with Story(urls, endpoints, console, devices=count, in_the_middle=middle) as story:
                story.tell()
    except NotAsPromised as failure:
        console.print(f"[red]✗ {failure}[/red]", highlight=False)
        raise typer.Exit(1) from None
    console.print(f"\n[green]All as promised[/green], in {time.monotonic() - started:.0f} s ({mode}).", highlight=False)


@devices.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="One device ID a line.")],
    product: Annotated[int, typer.Option(help="The product's ID.")],
    username: Username,
    password: Password,
    data: Data = None,
) -> None:
    """Import a file of device IDs, of any length, with progress; ends with 1 if a line was refused (DEV-1)."""
    with Api(str(_running(Settings.load(data=data).data)[0].http)) as api:
        api.log_in(username, password)
        job = api.start_import(product, file.read_bytes())
        with Progress(console=console) as progress:
            bar = progress.add_task("importing", total=job["lines_total"])
            while job["state"] != "done":
                time.sleep(0.2)
                job = api.import_state(product, job["id"])
                progress.update(bar, completed=job["lines_done"])
        console.print(f"{job['updated']} imported, {job['existing']} known already, {job['refused']} refused")
        for problem in api.import_problems(product, job["id"]):
            console.print(f"  {problem['reason']}: {problem['text']!r}", highlight=False, markup=False)
    raise typer.Exit(1 if job["refused"] else 0)


@devices.command()
def simulate(
    product: Annotated[int, typer.Option(help="The product's ID; its devices get fresh tokens.")],
    username: Username,
    password: Password,
    count: Annotated[int, typer.Option("--devices", min=1, max=10_000)] = 50,
    version: Annotated[int, typer.Option(min=0, max=65_534, help="What they run at first.")] = 1,
    import_new: Annotated[
        bool, typer.Option("--import", help="Import new devices instead of taking those of the product.")
    ] = False,
    publish_every_s: Annotated[float, typer.Option(min=0.1)] = 5.0,
    data: Data = None,
) -> None:
    """A simulated fleet on real MQTT connections: reports, publishes, takes firmware; until Ctrl-C."""
    gateways = _running(Settings.load(data=data).data)
    with Api(str(gateways[0].http)) as api:
        api.log_in(username, password)
        ids = _imported(api, product, count) if import_new else [one["id"] for one in api.devices(product)][:count]
        if not ids:
            raise Refused("no_devices", f"product {product} has no devices; import some, or use --import")
        with console.status(f"fetching tokens for {len(ids)} devices"):
            tokens = api.device_tokens(product, ids)
    endpoints: list[Endpoint] = [gateway.mqtt for gateway in gateways if gateway.mqtt]
    fleet = SimulatedFleet(tokens, product, version, endpoints, publish_every_s=publish_every_s)
    asyncio.run(_live(fleet))


async def _live(fleet: SimulatedFleet) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    with Live(console=console, refresh_per_second=2) as live:

        async def until() -> None:
            while not told.is_set():
                live.update(_fleet_table(fleet))
                try:
                    await asyncio.wait_for(told.wait(), 0.5)
                except TimeoutError:
                    continue

        await fleet.run(until)


def _fleet_table(fleet: SimulatedFleet) -> Table:
    table = Table(title=f"{len(fleet.devices)} simulated devices")
    for heading in ("version", "devices", "connections made", "published", "updates taken"):
        table.add_column(heading, justify="right")
    for version in sorted({device.version for device in fleet.devices}):
        those = [device for device in fleet.devices if device.version == version]
        table.add_row(
            str(version),
            str(len(those)),
            str(sum(device.connections for device in those)),
            str(sum(device.published for device in those)),
            str(sum(device.updates for device in those)),
        )
    return table


def _imported(api: Api, product: int, count: int) -> list[str]:
    ids = [secrets.token_hex(12) for _ in range(count)]
    report = api.import_devices(product, "\n".join(ids).encode())
    console.print(f"{report['updated']} devices imported", highlight=False)
    return ids


def _running(data: Path) -> list[Process]:
    gateways = DataFolder(data).gateways()
    if not gateways:
        raise Unavailable(f"no platform runs on {data}; start one with `flotilla run` or `flotilla up`, or give --data")
    return gateways


@contextmanager
def _platform(mode: str, running: bool, data: Path | None) -> Iterator[list[Process]]:
    """The gateways of the running platform, or of one started for the occasion in a folder of its own."""
    if running:
        yield _running(Settings.load(data=data).data)
        return
    with (
        tempfile.TemporaryDirectory(prefix="flotilla-demo-") as folder,
        started(mode, Path(folder), console) as gateways,
    ):
        yield gateways


@contextmanager
def started(
    mode: str, folder: Path, console: Console, extra: Mapping[str, str] | None = None
) -> Iterator[list[Process]]:
    """A platform of its own in a child process, on free ports; stopped in order at the end. ``extra``: settings as
    environment variables, instead of those of this process."""
    word = "run" if mode == "embedded" else "up"
    command = [sys.executable, "-m", "deploy.cli", word, "--data", str(folder), "--http-port", "0", "--mqtt-port", "0"]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("FLOTILLA_")}
    environment.update(extra or {})
    output = folder / "platform.log"
    with output.open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment)  # noqa: S603 - our own program
    try:
        with console.status(f"starting the platform ({mode})"):
            gateways = _await_ready(
                child, DataFolder(folder), "flotilla" if mode == "embedded" else "supervisor", output
            )
        console.print(f"the platform is up ({mode}): {', '.join(str(one.http) for one in gateways)}", highlight=False)
        yield gateways
    finally:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(40)
        except subprocess.TimeoutExpired:
            child.kill()
            raise NotAsPromised(f"the platform did not stop in order; see its log:\n{_tail(output)}") from None


def _await_ready(child: subprocess.Popen[bytes], folder: DataFolder, name: str, output: Path) -> list[Process]:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and child.poll() is None:
        if any(process.name == name for process in folder.processes()):
            return folder.gateways()
        time.sleep(0.1)
    raise Unavailable(f"the platform did not start; its last words:\n{_tail(output)}")


def _tail(output: Path) -> str:
    return "\n".join(output.read_text(errors="replace").splitlines()[-20:])


def _kill_a_gateway(gateways: list[Process], story: Story) -> None:
    """End the last gateway with kill -9, and show what the fleet view says before, during and after."""
    victim = gateways[-1]
    story.api = story.at(str(gateways[0].http))
    console.print(f"   before      {story.counters()}", highlight=False)
    os.kill(victim.pid, signal.SIGKILL)
    console.print(f"   [red]kill -9[/red]     {victim.name} (pid {victim.pid})", highlight=False)
    killed_at = time.monotonic()
    while time.monotonic() - killed_at < WATCH_S:
        time.sleep(1.0)
        console.print(f"   + {time.monotonic() - killed_at:4.1f} s    {story.counters()}", highlight=False)
